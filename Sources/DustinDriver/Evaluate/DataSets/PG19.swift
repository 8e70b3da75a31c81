import DustinModels
import DustinRunner
import DustinSupport
import DustinText

/// PG-19 (Rae et al. 2019): a folder of books as `ID.txt`, and a `metadata.csv` with a book's id, title, year and link.
enum PG19 {
  struct Entry: Equatable {
    let id: String
    let title: String
    let year: String
  }

  /// The books of a folder, or of its part `test`, with the titles of the `metadata.csv` there or above.
  ///
  /// - Throws: `DiagnosticError` with id `pg19` or `file`.
  static func read(_ folder: String, tokenizer: Tokenizer) throws -> [Book] {
    var place = folder
    var names = try namesInFolder(folder).filter { $0.hasSuffix(".txt") }
    if names.isEmpty, isFolder("\(folder)/test") {
      place = "\(folder)/test"
      names = try namesInFolder(place).filter { $0.hasSuffix(".txt") }
    }
    guard !names.isEmpty else { throw DiagnosticError("pg19", "'\(folder)' has no .txt files") }
    let lists = [place, folder, "\(folder)/.."].map { "\($0)/metadata.csv" }
    let list = try lists.first { fileExists($0) }.map { try entries(of: readSource($0)) } ?? []
    return try names.map { name in
      let id = String(name.dropLast(".txt".count))
      let text = String(decoding: try readFile("\(place)/\(name)"), as: UTF8.self)
      let title = list.first { $0.id == id }.map { $0.year.isEmpty ? $0.title : "\($0.title) (\($0.year))" } ?? id
      return Book(title: title, text: text, tokenizer: tokenizer)
    }
  }

  /// Rows of a `metadata.csv`, which has no header; one is left out all the same.
  static func entries(of buffer: SourceBuffer) throws -> [Entry] {
    try commaSeparated(buffer).compactMap { row in
      guard row.count >= 2, row[0].utf8.allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }) else { return nil }
      return Entry(id: row[0], title: row[1], year: row.count > 2 ? row[2] : "")
    }
  }

  /// Values that commas divide, in quotes where they hold commas, quotes (doubled) or line ends (RFC 4180).
  ///
  /// - Throws: `DiagnosticError` with id `csv` for a quote without an end.
  static func commaSeparated(_ buffer: SourceBuffer) throws -> [[String]] {
    var rows: [[String]] = []
    var row: [String] = []
    var value: [UInt8] = []
    var quote: Int?
    let bytes = buffer.utf8
    var index = 0
    func endValue() {
      row.append(String(decoding: value, as: UTF8.self))
      value = []
    }
    func endRow() {
      endValue()
      if row != [""] { rows.append(row) }
      row = []
    }
    while index < bytes.count {
      let byte = bytes[index]
      if quote != nil {
        if byte == UInt8(ascii: "\"") {
          if index + 1 < bytes.count, bytes[index + 1] == byte {
            value.append(byte)
            index += 1
          } else {
            quote = nil
          }
        } else {
          value.append(byte)
        }
      } else {
        switch byte {
        case UInt8(ascii: "\"") where value.isEmpty: quote = index
        case UInt8(ascii: ","): endValue()
        case UInt8(ascii: "\n"): endRow()
        case UInt8(ascii: "\r"): break
        default: value.append(byte)
        }
      }
      index += 1
    }
    if let quote {
      throw DiagnosticError("csv", "a quoted value has no end", at: SourceRange(buffer, quote, quote + 1))
    }
    endRow()
    return rows
  }
}
