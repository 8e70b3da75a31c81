import DustinSupport
import DustinText
import XCTest

/// The files that `Golden/make_golden.py` writes.
enum Golden {
  static let folder = String(#filePath.prefix(upTo: #filePath.lastIndex(of: "/") ?? #filePath.endIndex)) + "/Golden/"
  static let bundledPath = folder + "../../../examples/models/target/tokenizer.json"

  static func lines() throws -> [[UInt8]] {
    var reader = Reader(bytes: try readFile(folder + "lines.bin"))
    return try (0..<reader.number(4)).map { _ in try reader.bytes(reader.number(2)) }
  }

  static func ids(_ name: String) throws -> [[Int32]] { try lists(name + ".ids") }

  /// The bytes of each word of each line.
  static func words(_ name: String) throws -> [[Int32]] { try lists(name + ".words") }

  private static func lists(_ file: String) throws -> [[Int32]] {
    var reader = Reader(bytes: try readFile(folder + file))
    return try (0..<reader.number(4)).map { _ in
      try (0..<reader.number(2)).map { _ in Int32(try reader.number(2)) }
    }
  }

  static func tokenizer(_ name: String) throws -> Tokenizer {
    try Tokenizer(file: name == "bundled" ? bundledPath : folder + name + ".json")
  }

  static func source(_ name: String) throws -> [UInt8] { try readFile(folder + name + ".json") }

  private struct Reader {
    struct TooShort: Error {}
    let bytes: [UInt8]
    var offset = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func bytes(_ count: Int) throws -> [UInt8] {
      guard offset + count <= bytes.count else { throw TooShort() }
      defer { offset += count }
      return Array(bytes[offset..<offset + count])
    }

    mutating func number(_ size: Int) throws -> Int {
      try bytes(size).enumerated().reduce(0) { $0 | Int($1.element) << (8 * $1.offset) }
    }
  }
}

typealias SeededGenerator = SplitMix

/// The message and position of the error that a body throws.
func diagnostic(_ body: () throws -> Void) -> (message: String, line: Int, column: Int)? {
  do {
    try body()
    return nil
  } catch let error as DiagnosticError {
    guard let first = error.diagnostics.first else { return nil }
    guard let range = first.range else { return (first.message, 0, 0) }
    let (line, column) = range.buffer.position(of: range.start)
    return (first.message, line, column)
  } catch {
    return nil
  }
}
