/// A text that diagnostics can point into: a file, standard input or a command-line option.
public final class SourceBuffer: Sendable {
  /// What a reader calls the text: a path, `<stdin>`, `--passes`.
  public let name: String
  public let utf8: [UInt8]
  /// Byte offset of the first byte of every line; never empty.
  private let lineStarts: [Int]

  public init(name: String, utf8: [UInt8]) {
    self.name = name
    self.utf8 = utf8
    var starts = [0]
    for (offset, byte) in utf8.enumerated() where byte == UInt8(ascii: "\n") { starts.append(offset + 1) }
    lineStarts = starts
  }

  public convenience init(name: String, text: String) {
    self.init(name: name, utf8: Array(text.utf8))
  }

  public var text: String { String(decoding: utf8, as: UTF8.self) }

  /// Line and column, both counted from 1, the column in characters (not bytes).
  public func position(of offset: Int) -> (line: Int, column: Int) {
    let clamped = min(max(offset, 0), utf8.count)
    var low = 0
    var high = lineStarts.count
    while high - low > 1 {
      let middle = (low + high) / 2
      if lineStarts[middle] <= clamped { low = middle } else { high = middle }
    }
    let prefix = String(decoding: utf8[lineStarts[low]..<clamped], as: UTF8.self)
    return (low + 1, prefix.count + 1)
  }

  /// The text of a line (counted from 1) without its line end.
  public func line(_ number: Int) -> String {
    guard number >= 1, number <= lineStarts.count else { return "" }
    let start = lineStarts[number - 1]
    let end = number < lineStarts.count ? lineStarts[number] - 1 : utf8.count
    var slice = utf8[start..<max(start, end)]
    if slice.last == UInt8(ascii: "\r") { slice.removeLast() }
    return String(decoding: slice, as: UTF8.self)
  }
}

/// A half-open range of bytes in a source buffer.
public struct SourceRange: Sendable {
  public let buffer: SourceBuffer
  public let start: Int
  public let end: Int

  public init(_ buffer: SourceBuffer, _ start: Int, _ end: Int) {
    self.buffer = buffer
    self.start = start
    self.end = max(start, end)
  }

  public var text: String { String(decoding: buffer.utf8[start..<end], as: UTF8.self) }
}
