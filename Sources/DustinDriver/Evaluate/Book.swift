import DustinModels
import DustinRunner
import DustinSupport
import DustinText

/// A text to read: tokens, and where its paragraphs are.
struct Book {
  let title: String
  /// Paragraphs without the blank lines between them, in order.
  let paragraphs: [String]
  /// Tokens of each paragraph with the blank line behind it.
  let tokens: [[Int32]]
  /// Tokens before each paragraph, and in all.
  let starts: [Int]

  init(title: String, text: String, tokenizer: Tokenizer) {
    self.title = title
    paragraphs = Self.paragraphs(of: text)
    tokens = paragraphs.map { tokenizer.encode(Array(($0 + "\n\n").utf8), addSpecialTokens: false) }
    starts = tokens.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.count) }
  }

  var tokenCount: Int { starts[starts.count - 1] }

  /// `count` tokens from a paragraph on; fewer at the end of the book.
  func tokens(from paragraph: Int, count: Int) -> [Int32] {
    var result: [Int32] = []
    result.reserveCapacity(count)
    for piece in tokens[paragraph...] {
      if result.count >= count { break }
      result += piece.prefix(count - result.count)
    }
    return result
  }

  /// Blocks of lines that blank lines divide.
  private static func paragraphs(of text: String) -> [String] {
    var paragraphs: [String] = []
    var current: [Substring] = []
    for line in text.replacingLineEnds().split(separator: "\n", omittingEmptySubsequences: false) {
      if line.allSatisfy(\.isWhitespace) {
        if !current.isEmpty { paragraphs.append(current.joined(separator: "\n")) }
        current = []
      } else {
        current.append(line)
      }
    }
    if !current.isEmpty { paragraphs.append(current.joined(separator: "\n")) }
    return paragraphs
  }
}

extension String {
  /// Swift takes "\r\n" for one character, which is no "\n".
  fileprivate func replacingLineEnds() -> String {
    utf8.contains(0x0D) ? String(decoding: utf8.filter { $0 != 0x0D }, as: UTF8.self) : self
  }
}

/// Which books of a folder to read.
enum BookUse: String {
  /// The ones that `dustin calibrate` does not look at.
  case judge
  case calibrate
}

/// Reads the books of a folder with a `books.json`: an array of objects with `file`, `title` and, in books that a
/// calibration reads, `"use": "calibrate"`. Without that file every `.txt` is a book to judge by.
///
/// - Throws: `DiagnosticError` with id `books` or `file`.
func readBooks(_ folder: String, use: BookUse, tokenizer: Tokenizer) throws -> [Book] {
  let list = "\(folder)/books.json"
  var books: [Book] = []
  if fileExists(list) {
    let value = try JSONValue.parse(readSource(list))
    guard let entries = value.arrayValue else {
      throw DiagnosticError("books", "'\(list)' must be an array, not \(value.kindDescription)", at: value.range)
    }
    for entry in entries {
      let fields = JSONFields(entry, id: "books")
      let named = try fields.string("use") ?? BookUse.judge.rawValue
      guard let itsUse = BookUse(rawValue: named) else {
        throw DiagnosticError("books", "'use' must be 'judge' or 'calibrate', not '\(named)'", at: fields.place)
      }
      if itsUse != use { continue }
      let file = try fields.required("file")
      let text = String(decoding: try readFile("\(folder)/\(file)"), as: UTF8.self)
      books.append(Book(title: try fields.string("title") ?? file, text: text, tokenizer: tokenizer))
    }
  } else {
    for name in try namesInFolder(folder) where name.hasSuffix(".txt") {
      let text = String(decoding: try readFile("\(folder)/\(name)"), as: UTF8.self)
      books.append(Book(title: String(name.dropLast(4)), text: text, tokenizer: tokenizer))
    }
  }
  guard books.contains(where: { $0.tokenCount > 0 }) else {
    throw DiagnosticError("books", "'\(folder)' has no books to \(use.rawValue)")
  }
  return books
}
