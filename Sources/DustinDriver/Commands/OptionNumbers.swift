import ArgumentParser
import DustinRunner

/// The value of an option such as `512,4096,8k`: whole numbers in the order given; `8k` is 8192.
///
/// - Parameter option: how messages call it.
/// - Throws: `ValidationError` when there is no number, or one outside of the range.
func numberList(_ text: String, _ option: String, in range: ClosedRange<Int>) throws -> [Int] {
  let list = try text.split(separator: ",").map { part -> Int in
    let isThousands = part.hasSuffix("k") || part.hasSuffix("K")
    let number = Int(isThousands ? part.dropLast() : part)?.multipliedReportingOverflow(by: isThousands ? 1024 : 1)
    guard let number, !number.overflow, range.contains(number.partialValue) else {
      throw ValidationError(
        "\(option) takes numbers from \(range.lowerBound) to \(range.upperBound) such as 4096 or 4k, separated by commas, "
          + "not '\(part)'.")
    }
    return number.partialValue
  }
  if list.isEmpty { throw ValidationError("\(option) is empty.") }
  return list
}

/// Lengths of texts in tokens, ascending, each once.
/// - Throws: as `numberList`.
func lengthList(_ text: String, _ option: String) throws -> [Int] {
  Set(try numberList(text, option, in: 1...1 << 24)).sorted()
}

/// Refuses a number that an option cannot have.
/// - Throws: `ValidationError` that names the option and the range.
func check(_ option: String, _ value: Int?, in range: ClosedRange<Int>) throws {
  guard let value, !range.contains(value) else { return }
  throw ValidationError("\(option) must be from \(range.lowerBound) to \(range.upperBound), not \(value).")
}
