import DustinSupport

/// The spelling of names, words, numbers and strings: what the lexer accepts and the printer writes.
enum Lexical {
  static func isLetter(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"): true
    default: false
    }
  }

  static func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }

  static func isWordByte(_ byte: UInt8) -> Bool { isLetter(byte) || isDigit(byte) }

  /// Bytes of `%name`.
  static func isValueByte(_ byte: UInt8) -> Bool {
    isWordByte(byte) || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "-")
  }

  /// Bytes of a bare `@name`; two slashes in a row begin a comment and end the name.
  static func isSymbolByte(_ byte: UInt8) -> Bool { isValueByte(byte) || byte == UInt8(ascii: "/") }

  /// A letter, then letters and digits, with single `.` or `-` inside.
  static func isWord(_ text: String) -> Bool {
    let bytes = Array(text.utf8)
    guard let first = bytes.first, isLetter(first) else { return false }
    return wordEnd(bytes, from: 0) == bytes.count
  }

  /// The end of the word that begins at `start`: `.` and `-` belong to it only in front of a letter or digit.
  static func wordEnd(_ bytes: [UInt8], from start: Int) -> Int {
    var end = start
    while end < bytes.count {
      if isWordByte(bytes[end]) {
        end += 1
      } else if isValueByte(bytes[end]), end + 1 < bytes.count, isWordByte(bytes[end + 1]) {
        end += 2
      } else {
        break
      }
    }
    return end
  }

  /// Words that stand for numbers and truth values and so cannot be the value of an attribute.
  static let reservedWords: Set<String> = ["true", "false", "inf", "nan"]

  /// `@name`, in quotes where the bare form would not read back.
  static func symbol(_ name: String) -> String {
    let bytes = Array(name.utf8)
    let hasComment = zip(bytes, bytes.dropFirst()).contains { $0 == UInt8(ascii: "/") && $1 == UInt8(ascii: "/") }
    return "@" + (!bytes.isEmpty && bytes.allSatisfy(isSymbolByte) && !hasComment ? name : quoted(name))
  }

  /// A value's name with every byte that `%name` cannot hold replaced; never empty.
  static func valueName(_ name: String) -> String {
    if name.isEmpty { return "v" }
    if name.utf8.allSatisfy(isValueByte) { return name }
    return String(decoding: name.utf8.map { isValueByte($0) ? $0 : UInt8(ascii: "_") }, as: UTF8.self)
  }

  static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\t": result += "\\t"
      case "\r": result += "\\r"
      default:
        if scalar.value < 0x20 || scalar.value == 0x7F {
          result += "\\u{" + String(scalar.value, radix: 16) + "}"
        } else {
          result.unicodeScalars.append(scalar)
        }
      }
    }
    return result + "\""
  }

  /// The text between the quotes of a string token with its escapes resolved, or what is wrong and at which offset.
  static func unquoted(_ bytes: ArraySlice<UInt8>) -> Result<String, StringFault> {
    var result: [UInt8] = []
    var index = bytes.startIndex
    while index < bytes.endIndex {
      let byte = bytes[index]
      guard byte == UInt8(ascii: "\\") else {
        result.append(byte)
        index += 1
        continue
      }
      let escape = index + 1 < bytes.endIndex ? bytes[index + 1] : 0
      switch escape {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"): result.append(escape)
      case UInt8(ascii: "n"): result.append(UInt8(ascii: "\n"))
      case UInt8(ascii: "t"): result.append(UInt8(ascii: "\t"))
      case UInt8(ascii: "r"): result.append(UInt8(ascii: "\r"))
      case UInt8(ascii: "u"):
        guard let close = bytes[index...].prefix(12).firstIndex(of: UInt8(ascii: "}")),
          index + 2 < close, bytes[index + 2] == UInt8(ascii: "{"),
          let number = UInt32(String(decoding: bytes[(index + 3)..<close], as: UTF8.self), radix: 16),
          let scalar = Unicode.Scalar(number)
        else { return .failure(StringFault(offset: index, message: "'\\u' needs a Unicode scalar as in '\\u{1f}'")) }
        result.append(contentsOf: String(Character(scalar)).utf8)
        index = close - 1
      default:
        return .failure(
          StringFault(offset: index, message: "a string knows the escapes \\\" \\\\ \\n \\t \\r and \\u{…}"))
      }
      index += 2
    }
    guard let text = String(validating: result, as: UTF8.self) else {
      return .failure(StringFault(offset: bytes.startIndex, message: "the string is not UTF-8"))
    }
    return .success(text)
  }

  struct StringFault: Error {
    let offset: Int
    let message: String
  }
}
