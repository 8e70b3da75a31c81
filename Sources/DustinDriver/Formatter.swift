import DustinIR
import DustinSupport

/// The canonical text of a module with the comments of its source.
///
/// The canonical text has one statement a line. The statements of the source, brought into the same order (header, dims,
/// globals, functions), correspond to its lines one by one; comments follow their statement.
enum Formatter {
  /// Throws the errors of a text that does not parse.
  static func format(_ source: SourceBuffer) throws -> String {
    let canonical = try ModuleParser.parse(source).text()
    let scan = Scan(source.utf8)
    guard scan.hasComments else { return canonical }
    let statements = scan.statements.enumerated().sorted { a, b in
      (a.element.category.rawValue, a.offset) < (b.element.category.rawValue, b.offset)
    }.map(\.element)
    let lines = canonical.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    guard lines.filter({ !$0.isEmpty }).count == statements.count else {
      throw DiagnosticError(
        "format", "'\(source.name)' cannot be brought into the canonical form without losing a comment",
        notes: [.note("write every statement on a line of its own")])
    }
    var output: [String] = []
    var next = 0
    for line in lines.dropLast() {
      if line.isEmpty {
        output.append(line)
        continue
      }
      let statement = statements[next]
      next += 1
      let indentation = line.prefix { $0 == " " }
      for comment in statement.leading where !statement.leading.allSatisfy(\.isEmpty) {
        if comment.isEmpty {
          if let last = output.last, !last.isEmpty { output.append("") }
        } else {
          output.append(indentation + comment)
        }
      }
      output.append(statement.trailing.map { "\(line)  \($0)" } ?? line)
    }
    for comment in scan.rest where !(comment.isEmpty && output.last?.isEmpty ?? true) { output.append(comment) }
    while output.last?.isEmpty == true { output.removeLast() }
    return output.joined(separator: "\n") + "\n"
  }
}

/// Statements of a text that is known to parse, with the comments above and behind each.
private struct Scan {
  enum Category: Int { case header, dim, global, function }
  struct Statement {
    let category: Category
    /// Comment lines above; an empty one is a blank line between comments.
    let leading: [String]
    let trailing: String?
  }
  private(set) var statements: [Statement] = []
  /// Comments below the last statement.
  private(set) var rest: [String] = []
  private(set) var hasComments = false

  init(_ bytes: [UInt8]) {
    var leading: [String] = []
    var code: [UInt8] = []
    var behind: [String] = []
    var isInFunction = false
    for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
      let (text, comment) = Self.split(line)
      if let comment {
        hasComments = true
        if code.isEmpty, text.isEmpty { leading.append(comment) } else { behind.append(comment) }
      }
      if code.isEmpty, text.isEmpty {
        if comment == nil, leading.last != "" { leading.append("") }
        continue
      }
      code += text + [UInt8(ascii: " ")]
      guard Self.isComplete(code) else { continue }
      let word = code.prefix { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") }
      let category = isInFunction ? .function : Self.category(String(decoding: word, as: UTF8.self))
      if category == .function { isInFunction = word.first != UInt8(ascii: "}") }
      statements.append(
        Statement(
          category: category, leading: leading, trailing: behind.isEmpty ? nil : behind.joined(separator: " ")))
      (leading, code, behind) = ([], [], [])
    }
    rest = leading
  }

  private static func category(_ word: String) -> Category {
    switch word {
    case "dustin", "stage": .header
    case "dim": .dim
    case "weight", "constant": .global
    default: .function
    }
  }

  /// Code and comment of a line, both without spaces around them.
  private static func split(_ line: ArraySlice<UInt8>) -> (code: [UInt8], comment: String?) {
    var isQuoted = false
    var index = line.startIndex
    var end = line.endIndex
    while index < line.endIndex {
      let byte = line[index]
      if byte == UInt8(ascii: "\"") { isQuoted.toggle() }
      if isQuoted, byte == UInt8(ascii: "\\") { index += 1 }
      if !isQuoted, byte == UInt8(ascii: "/"), index + 1 < line.endIndex, line[index + 1] == byte {
        end = index
        break
      }
      index += 1
    }
    let comment = end < line.endIndex ? String(decoding: trimmed(line[end...]), as: UTF8.self) : nil
    return (Array(trimmed(line[..<end])), comment)
  }

  private static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0D }
    var bytes = bytes.drop(while: isSpace)
    while let last = bytes.last, isSpace(last) { bytes.removeLast() }
    return bytes
  }

  /// Whether all brackets are closed; the one that opens a function's body ends the statement.
  private static func isComplete(_ code: [UInt8]) -> Bool {
    var depth = 0
    var isQuoted = false
    var isEscaped = false
    for byte in code {
      if isEscaped {
        isEscaped = false
      } else if isQuoted, byte == UInt8(ascii: "\\") {
        isEscaped = true
      } else if byte == UInt8(ascii: "\"") {
        isQuoted.toggle()
      } else if !isQuoted {
        switch byte {
        case UInt8(ascii: "("), UInt8(ascii: "["), UInt8(ascii: "{"): depth += 1
        case UInt8(ascii: ")"), UInt8(ascii: "]"), UInt8(ascii: "}"): depth -= 1
        default: break
        }
      }
    }
    let opensBody = depth == 1 && code.starts(with: Array("func".utf8)) && code.dropLast().last == UInt8(ascii: "{")
    return depth <= 0 || opensBody
  }
}
