import DustinIR
import DustinSupport
import XCTest

/// Broken texts neither trap nor hang, and whatever reads prints to a text that reads and prints the same.
final class FuzzTests: XCTestCase {
  /// Small and fast, and the same on every machine.
  struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
  }

  func testMutatedTexts() throws {
    var random = SplitMix(state: 20_260_101)
    let seeds =
      [Texts.tensor, Texts.kernel, Texts.planned, Texts.sparse]
      + OpRegistry.standard.definitions.map(ExampleTests.module)
    let seedBytes = seeds.map { Array($0.utf8) }
    var read = 0
    var verified = 0
    for round in 0..<20_000 {
      var bytes = seedBytes[Int.random(in: 0..<seedBytes.count, using: &random)]
      for _ in 0..<Int.random(in: 1...4, using: &random) { mutate(&bytes, seedBytes, &random) }
      let buffer = SourceBuffer(name: "fuzz", utf8: bytes)
      let module: Module
      do {
        module = try ModuleParser.parse(buffer)
      } catch {
        let diagnostics = (error as? DiagnosticError)?.diagnostics ?? []
        XCTAssertFalse(diagnostics.isEmpty, "round \(round) failed without a diagnostic")
        for diagnostic in diagnostics {
          XCTAssertNotNil(diagnostic.range, "round \(round): '\(diagnostic.message)' has no place")
        }
        if round % 50 == 0 { XCTAssertFalse("\(error)".isEmpty) }
        // The rules also run over the functions that could be read.
        XCTAssertThrowsError(try ModuleParser.parseVerified(buffer))
        continue
      }
      read += 1
      if Verifier.diagnostics(for: module).isEmpty { verified += 1 }
      let text = module.text()
      do {
        let again = try ModuleParser.parse(SourceBuffer(name: "again", text: text))
        XCTAssertEqual(again.text(), text, "round \(round)")
        XCTAssertEqual(module.copy().text(), text, "round \(round)")
      } catch {
        XCTFail("round \(round): the printed text does not read:\n\(error)\n\(text)")
      }
    }
    // The mutations must leave something to test on both sides.
    XCTAssertGreaterThan(read, 500)
    XCTAssertLessThan(read, 15_000)
    XCTAssertGreaterThan(verified, 100)
  }

  private func mutate(_ bytes: inout [UInt8], _ seeds: [[UInt8]], _ random: inout SplitMix) {
    guard !bytes.isEmpty else { return }
    let place = Int.random(in: 0..<bytes.count, using: &random)
    switch Int.random(in: 0..<9, using: &random) {
    case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
    case 1: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
    case 2:
      // An interesting byte.
      let choice = Array("(){}[],:=<>-%@\"\\/\n 0919.eE_inf".utf8)
      bytes.insert(choice[Int.random(in: 0..<choice.count, using: &random)], at: place)
    case 3: bytes.removeSubrange(token(bytes, place))
    case 4:
      let range = token(bytes, place)
      bytes.insert(contentsOf: Array(bytes[range]), at: range.upperBound)
    case 5:
      // One token in the place of another.
      let other = seeds[Int.random(in: 0..<seeds.count, using: &random)]
      let source = token(other, Int.random(in: 0..<other.count, using: &random))
      bytes.replaceSubrange(token(bytes, place), with: other[source])
    case 6: if Int.random(in: 0..<4, using: &random) == 0 { bytes.removeSubrange(place...) }
    case 7:
      // A line twice, or gone.
      let start = bytes[..<place].lastIndex(of: 10).map { $0 + 1 } ?? 0
      let end = bytes[place...].firstIndex(of: 10).map { $0 + 1 } ?? bytes.count
      if Bool.random(using: &random) {
        bytes.insert(contentsOf: Array(bytes[start..<end]), at: end)
      } else {
        bytes.removeSubrange(start..<end)
      }
    default:
      let digits = ["0", "1", "2147483648", "9223372036854775807", "-1", "1e308", "99999999999999999999"]
      let number = digits[Int.random(in: 0..<digits.count, using: &random)]
      let numbers = bytes.indices.filter { bytes[$0] >= 48 && bytes[$0] <= 57 }
      guard !numbers.isEmpty else { return }
      let index = numbers[Int.random(in: 0..<numbers.count, using: &random)]
      bytes.replaceSubrange(token(bytes, index), with: Array(number.utf8))
    }
  }

  /// The run of letters and digits, or of anything else, around a byte.
  private func token(_ bytes: [UInt8], _ place: Int) -> Range<Int> {
    func isWord(_ byte: UInt8) -> Bool {
      (byte >= 48 && byte <= 57) || (byte >= 65 && byte <= 90) || (byte >= 97 && byte <= 122) || byte == 95
    }
    guard place < bytes.count else { return place..<place }
    var start = place
    var end = place + 1
    guard isWord(bytes[place]) else { return start..<end }
    while start > 0, isWord(bytes[start - 1]) { start -= 1 }
    while end < bytes.count, isWord(bytes[end]) { end += 1 }
    return start..<end
  }
}
