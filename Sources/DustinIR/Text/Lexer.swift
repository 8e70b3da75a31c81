import DustinSupport

/// What a token is and which bytes it covers.
struct Token {
  enum Kind {
    case word, value, symbol, number, string
    case leftParen, rightParen, leftBracket, rightBracket, leftBrace, rightBrace
    case comma, colon, equal, lessEqual, arrow
    case newline, end
    /// Has been reported; the parser stays silent about it.
    case invalid

    var description: String {
      switch self {
      case .word: "a word"
      case .value: "a value '%name'"
      case .symbol: "a name '@name'"
      case .number: "a number"
      case .string: "a string"
      case .leftParen: "'('"
      case .rightParen: "')'"
      case .leftBracket: "'['"
      case .rightBracket: "']'"
      case .leftBrace: "'{'"
      case .rightBrace: "'}'"
      case .comma: "','"
      case .colon: "':'"
      case .equal: "'='"
      case .lessEqual: "'<='"
      case .arrow: "'->'"
      case .newline: "the end of the line"
      case .end: "the end of the text"
      case .invalid: "something else"
      }
    }
  }
  let kind: Kind
  let start: Int
  let end: Int
}

/// Splits a text into tokens; comments and spaces vanish, line ends are tokens. Never fails: what cannot be read becomes
/// an `invalid` token and a diagnostic.
struct Lexer {
  private let buffer: SourceBuffer
  private let bytes: [UInt8]
  private var offset = 0
  private(set) var tokens: [Token] = []
  private(set) var diagnostics: [Diagnostic] = []

  init(_ buffer: SourceBuffer) {
    self.buffer = buffer
    bytes = buffer.utf8
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { offset = 3 }
    while offset < bytes.count { step() }
    add(.newline, from: bytes.count)
    add(.end, from: bytes.count)
  }

  private mutating func step() {
    let start = offset
    let byte = bytes[offset]
    offset += 1
    switch byte {
    case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"): break
    case UInt8(ascii: "\n"): add(.newline, from: start)
    case UInt8(ascii: "/"):
      guard peek == UInt8(ascii: "/") else { return unexpected(start) }
      while offset < bytes.count, bytes[offset] != UInt8(ascii: "\n") { offset += 1 }
    case UInt8(ascii: "("): add(.leftParen, from: start)
    case UInt8(ascii: ")"): add(.rightParen, from: start)
    case UInt8(ascii: "["): add(.leftBracket, from: start)
    case UInt8(ascii: "]"): add(.rightBracket, from: start)
    case UInt8(ascii: "{"): add(.leftBrace, from: start)
    case UInt8(ascii: "}"): add(.rightBrace, from: start)
    case UInt8(ascii: ","): add(.comma, from: start)
    case UInt8(ascii: ":"): add(.colon, from: start)
    case UInt8(ascii: "="): add(.equal, from: start)
    case UInt8(ascii: "<"):
      guard peek == UInt8(ascii: "=") else { return unexpected(start) }
      offset += 1
      add(.lessEqual, from: start)
    case UInt8(ascii: "%"):
      while let next = peek, Lexical.isValueByte(next) { offset += 1 }
      if offset == start + 1 {
        return fault("a value needs a name behind '%'", from: start)
      }
      add(.value, from: start)
    case UInt8(ascii: "@"): symbol(from: start)
    case UInt8(ascii: "\""): string(from: start, kind: .string)
    case UInt8(ascii: "-"):
      if peek == UInt8(ascii: ">") {
        offset += 1
        add(.arrow, from: start)
      } else if let next = peek, Lexical.isDigit(next) {
        number(from: start)
      } else if bytes[offset...].starts(with: "inf".utf8), Lexical.wordEnd(bytes, from: offset) == offset + 3 {
        offset += 3
        add(.number, from: start)
      } else {
        unexpected(start)
      }
    default:
      if Lexical.isDigit(byte) {
        number(from: start)
      } else if Lexical.isLetter(byte) {
        offset = Lexical.wordEnd(bytes, from: start)
        add(.word, from: start)
      } else {
        unexpected(start)
      }
    }
  }

  private var peek: UInt8? { offset < bytes.count ? bytes[offset] : nil }

  private mutating func add(_ kind: Token.Kind, from start: Int) {
    tokens.append(Token(kind: kind, start: start, end: offset))
  }

  private mutating func fault(_ message: String, from start: Int, at place: Int? = nil) {
    diagnostics.append(Diagnostic("syntax", message, at: SourceRange(buffer, place ?? start, offset)))
    add(.invalid, from: start)
  }

  private mutating func unexpected(_ start: Int) {
    if bytes[start] >= 0x80 {
      while let next = peek, next >= 0x80 { offset += 1 }
    }
    let isVisible = bytes[start] > 0x20 && bytes[start] != 0x7F
    let text =
      isVisible
      ? "'\(String(decoding: bytes[start..<offset], as: UTF8.self))'" : "byte 0x\(String(bytes[start], radix: 16))"
    fault("unexpected \(text)", from: start)
  }

  private mutating func symbol(from start: Int) {
    if peek == UInt8(ascii: "\"") {
      offset += 1
      return string(from: start, kind: .symbol)
    }
    while let next = peek, Lexical.isSymbolByte(next) {
      let isComment =
        next == UInt8(ascii: "/") && offset + 1 < bytes.count && bytes[offset + 1] == UInt8(ascii: "/")
      if isComment { break }
      offset += 1
    }
    if offset == start + 1 { return fault("a global or function needs a name behind '@'", from: start) }
    add(.symbol, from: start)
  }

  /// `offset` stands behind the opening quote.
  private mutating func string(from start: Int, kind: Token.Kind) {
    let content = offset
    while let next = peek, next != UInt8(ascii: "\""), next != UInt8(ascii: "\n") {
      let isEscape = next == UInt8(ascii: "\\") && offset + 1 < bytes.count && bytes[offset + 1] != UInt8(ascii: "\n")
      offset += isEscape ? 2 : 1
    }
    guard peek == UInt8(ascii: "\"") else { return fault("the string has no closing quote", from: start) }
    let text = bytes[content..<offset]
    offset += 1
    if case .failure(let error) = Lexical.unquoted(text) {
      return fault(error.message, from: start, at: error.offset)
    }
    add(kind, from: start)
  }

  private mutating func number(from start: Int) {
    digits()
    if peek == UInt8(ascii: "."), offset + 1 < bytes.count, Lexical.isDigit(bytes[offset + 1]) {
      offset += 1
      digits()
    }
    if peek == UInt8(ascii: "e") || peek == UInt8(ascii: "E") {
      let mark = offset
      offset += 1
      if peek == UInt8(ascii: "+") || peek == UInt8(ascii: "-") { offset += 1 }
      if let next = peek, Lexical.isDigit(next) { digits() } else { offset = mark }
    }
    guard let next = peek, Lexical.isValueByte(next) else { return add(.number, from: start) }
    while let next = peek, Lexical.isValueByte(next) { offset += 1 }
    fault("'\(String(decoding: bytes[start..<offset], as: UTF8.self))' is not a number", from: start)
  }

  private mutating func digits() {
    while let next = peek, Lexical.isDigit(next) { offset += 1 }
  }
}
