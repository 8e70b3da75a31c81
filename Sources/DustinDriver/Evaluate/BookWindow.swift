import DustinRunner
import DustinSupport

/// A part of a book to read, and what comes behind it.
struct BookWindow {
  let book: String
  /// Of its first token in the book.
  let start: Int
  let context: [Int32]
  let continuation: [Int32]
  /// Words of the continuation, divided by white space.
  let words: Int

  /// Windows spread evenly over the books, each from the start of a paragraph on.
  ///
  /// - Parameters:
  ///   - length: Tokens to read.
  ///   - continuation: Tokens behind them.
  /// - Throws: `DiagnosticError` with id `books` when no book is long enough.
  static func spread(
    over books: [Book], count: Int, length: Int, continuation: Int, decode: ([Int32]) -> [UInt8]
  ) throws -> [BookWindow] {
    let long = books.filter { $0.tokenCount >= length + continuation }
    guard !long.isEmpty, length > 0 else {
      throw DiagnosticError(
        "books", "no book has the \(grouped(length + continuation)) tokens that a window of \(grouped(length)) needs")
    }
    // In proportion to what each book has room for, so that continuations overlap as little as can be.
    let room = long.map { $0.tokenCount - length - continuation }
    let total = room.reduce(0, +)
    return (0..<count).compactMap { number in
      var place = count > 1 ? total * number / (count - 1) : total / 2
      var index = 0
      while index + 1 < long.count, place > room[index] {
        place -= room[index]
        index += 1
      }
      let book = long[index]
      let paragraph = book.starts.lastIndex { $0 <= min(place, room[index]) } ?? 0
      let tokens = book.tokens(from: paragraph, count: length + continuation)
      guard tokens.count == length + continuation else { return nil }
      let text = decode(Array(tokens[length...]))
      let words = text.split { $0 == 0x20 || 0x09...0x0D ~= $0 }.count
      return BookWindow(
        book: book.title, start: book.starts[paragraph], context: Array(tokens[..<length]),
        continuation: Array(tokens[length...]), words: words)
    }
  }
}
