/// Recursive descent over the bytes of a JSON text; recursion is bounded by `depthLimit`.
struct JSONParser {
  private let buffer: SourceBuffer
  private let bytes: [UInt8]
  private let depthLimit: Int
  private var offset = 0
  private var depth = 0

  init(buffer: SourceBuffer, depthLimit: Int) {
    self.buffer = buffer
    self.bytes = buffer.utf8
    self.depthLimit = depthLimit
  }

  mutating func parseText() throws -> JSONValue {
    guard bytes.count < UInt32.max else { throw error("the text is longer than 4 GiB", 0) }
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) {
      throw error("a JSON text must not begin with a byte order mark", 0, 3)
    }
    skipSpace()
    let value = try parseValue()
    skipSpace()
    guard offset == bytes.count else { throw error("unexpected text behind the JSON value", offset) }
    return value
  }

  // MARK: Values

  private mutating func parseValue() throws -> JSONValue {
    guard offset < bytes.count else { throw error("the JSON text ends where a value is expected", offset) }
    let start = offset
    switch bytes[offset] {
    case UInt8(ascii: "{"): return try parseObject()
    case UInt8(ascii: "["): return try parseArray()
    case UInt8(ascii: "\""): return JSONValue(.string(try parseString()), in: buffer, start, offset)
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try parseNumber()
    default: break
    }
    while offset < bytes.count, isWord(bytes[offset]) { offset += 1 }
    switch String(decoding: bytes[start..<offset], as: UTF8.self) {
    case "true": return JSONValue(.bool(true), in: buffer, start, offset)
    case "false": return JSONValue(.bool(false), in: buffer, start, offset)
    case "null": return JSONValue(.null, in: buffer, start, offset)
    default: throw error("a JSON value is expected here", start, offset)
    }
  }

  private mutating func enter() throws {
    depth += 1
    guard depth <= depthLimit else { throw error("nested deeper than \(depthLimit) levels", offset) }
    offset += 1
    skipSpace()
  }

  private mutating func parseArray() throws -> JSONValue {
    let start = offset
    try enter()
    var values: [JSONValue] = []
    if !skip(UInt8(ascii: "]")) {
      while true {
        values.append(try parseValue())
        skipSpace()
        if skip(UInt8(ascii: "]")) { break }
        let comma = offset
        guard skip(UInt8(ascii: ",")) else { throw expected("',' or ']'", opened: start) }
        skipSpace()
        guard peek() != UInt8(ascii: "]") else { throw error("trailing comma in an array", comma) }
      }
    }
    depth -= 1
    return JSONValue(.array(values), in: buffer, start, offset)
  }

  private mutating func parseObject() throws -> JSONValue {
    let start = offset
    try enter()
    var entries: [(key: String, value: JSONValue)] = []
    // The keys of a small object are compared one by one, those of a large one through a table.
    var seen: ByteStringTable?
    if !skip(UInt8(ascii: "}")) {
      while true {
        let keyStart = offset
        guard peek() == UInt8(ascii: "\"") else { throw expected("a key in quotes", opened: start) }
        let key = try parseString()
        if isDuplicate(key, entries, &seen) {
          throw error("duplicate key '\(shortened(key))'", keyStart, offset)
        }
        skipSpace()
        guard skip(UInt8(ascii: ":")) else { throw expected("':'", opened: start) }
        skipSpace()
        entries.append((key, try parseValue()))
        skipSpace()
        if skip(UInt8(ascii: "}")) { break }
        let comma = offset
        guard skip(UInt8(ascii: ",")) else { throw expected("',' or '}'", opened: start) }
        skipSpace()
        guard peek() != UInt8(ascii: "}") else { throw error("trailing comma in an object", comma) }
      }
    }
    depth -= 1
    return JSONValue(.object(entries), in: buffer, start, offset)
  }

  /// Keys are compared by their bytes: Swift's `==` takes canonically equivalent strings for equal, JSON does not.
  private func isDuplicate(
    _ key: String, _ entries: [(key: String, value: JSONValue)], _ seen: inout ByteStringTable?
  ) -> Bool {
    if entries.count < 16 { return entries.contains { $0.key.utf8.elementsEqual(key.utf8) } }
    func insert(_ key: String, into table: inout ByteStringTable) -> Bool {
      let bytes = Array(key.utf8)
      return table.insert(bytes, 0..<bytes.count).isNew
    }
    var table = seen ?? ByteStringTable()
    // Else there would be two of it, and each insertion would copy all keys.
    seen = nil
    if table.count == 0 { for entry in entries { _ = insert(entry.key, into: &table) } }
    let isNew = insert(key, into: &table)
    seen = table
    return !isNew
  }

  // MARK: Numbers

  private mutating func parseNumber() throws -> JSONValue {
    let start = offset
    let isNegative = skip(UInt8(ascii: "-"))
    let firstDigit = offset
    var magnitude = 0
    var overflows = false
    while let byte = peek(), isDigit(byte) {
      let digit = Int(byte - UInt8(ascii: "0"))
      let (product, first) = magnitude.multipliedReportingOverflow(by: 10)
      // Negative from the start, so that Int.min is an Int.
      let (sum, second) =
        isNegative ? product.subtractingReportingOverflow(digit) : product.addingReportingOverflow(digit)
      overflows = overflows || first || second
      magnitude = sum
      offset += 1
    }
    guard offset > firstDigit else { throw badNumber("a digit is expected behind '-'", start) }
    if bytes[firstDigit] == UInt8(ascii: "0"), offset > firstDigit + 1 {
      throw badNumber("a number must not begin with 0", start)
    }
    var isWhole = true
    if skip(UInt8(ascii: ".")) {
      isWhole = false
      guard skipDigits() else { throw badNumber("a digit is expected behind the decimal point", start) }
    }
    if peek() == UInt8(ascii: "e") || peek() == UInt8(ascii: "E") {
      isWhole = false
      offset += 1
      if !skip(UInt8(ascii: "+")) { _ = skip(UInt8(ascii: "-")) }
      guard skipDigits() else { throw badNumber("a digit is expected in the exponent", start) }
    }
    if let byte = peek(), isWord(byte) || byte == UInt8(ascii: ".") { throw badNumber("this is not a number", start) }
    if isWhole, !overflows { return JSONValue(.int(magnitude), in: buffer, start, offset) }
    guard let value = Double(String(decoding: bytes[start..<offset], as: UTF8.self)), value.isFinite else {
      throw error("the number is too large", start, offset)
    }
    return JSONValue(.double(value), in: buffer, start, offset)
  }

  private mutating func skipDigits() -> Bool {
    let start = offset
    while let byte = peek(), isDigit(byte) { offset += 1 }
    return offset > start
  }

  private mutating func badNumber(_ message: String, _ start: Int) -> DiagnosticError {
    while let byte = peek(), isWord(byte) || byte == UInt8(ascii: ".") { offset += 1 }
    return error(message, start, offset)
  }

  // MARK: Strings

  private mutating func parseString() throws -> String {
    let start = offset
    offset += 1
    var runStart = offset
    var unescaped: [UInt8] = []
    while offset < bytes.count {
      switch bytes[offset] {
      case UInt8(ascii: "\""):
        let run = bytes[runStart..<offset]
        // The escapes are ASCII or whole scalars, so that the runs between them must be valid on their own.
        let text = unescaped.isEmpty ? String(validating: run, as: UTF8.self) : joined(unescaped, run)
        guard let text else { throw invalidUTF8(start + 1, offset) }
        offset += 1
        return text
      case UInt8(ascii: "\\"):
        unescaped.append(contentsOf: bytes[runStart..<offset])
        try parseEscape(into: &unescaped)
        runStart = offset
      case 0..<0x20:
        throw error("a control character in a string must be escaped", offset)
      default:
        offset += 1
      }
    }
    throw error("the string is not closed", start, start + 1)
  }

  private func joined(_ first: [UInt8], _ second: ArraySlice<UInt8>) -> String? {
    var all = first
    all.append(contentsOf: second)
    return String(validating: all, as: UTF8.self)
  }

  private mutating func parseEscape(into text: inout [UInt8]) throws {
    let start = offset
    offset += 1
    guard let byte = peek() else { throw error("the string is not closed", start) }
    offset += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
    case UInt8(ascii: "b"): text.append(0x08)
    case UInt8(ascii: "f"): text.append(0x0C)
    case UInt8(ascii: "n"): text.append(0x0A)
    case UInt8(ascii: "r"): text.append(0x0D)
    case UInt8(ascii: "t"): text.append(0x09)
    case UInt8(ascii: "u"):
      var code = try parseHex(start)
      if code >= 0xD800, code < 0xDC00, bytes.count - offset >= 6, bytes[offset] == UInt8(ascii: "\\"),
        bytes[offset + 1] == UInt8(ascii: "u")
      {
        offset += 2
        let low = try parseHex(start)
        guard low >= 0xDC00, low < 0xE000 else { throw error("half of a surrogate pair", start, offset) }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(code) else { throw error("half of a surrogate pair", start, offset) }
      text.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
    default:
      throw error("unknown escape in a string", start, offset)
    }
  }

  private mutating func parseHex(_ start: Int) throws -> UInt32 {
    var code: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = peek(), let digit = hexDigit(byte) else {
        throw error("four hexadecimal digits are expected behind '\\u'", start, offset)
      }
      code = code << 4 | digit
      offset += 1
    }
    return code
  }

  private func hexDigit(_ byte: UInt8) -> UInt32? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): return UInt32(byte - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): return UInt32(byte - UInt8(ascii: "a")) + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): return UInt32(byte - UInt8(ascii: "A")) + 10
    default: return nil
    }
  }

  // MARK: Bytes and errors

  private func peek() -> UInt8? { offset < bytes.count ? bytes[offset] : nil }

  private mutating func skip(_ byte: UInt8) -> Bool {
    guard offset < bytes.count, bytes[offset] == byte else { return false }
    offset += 1
    return true
  }

  private mutating func skipSpace() {
    while offset < bytes.count {
      switch bytes[offset] {
      case 0x20, 0x0A, 0x0D, 0x09: offset += 1
      default: return
      }
    }
  }

  private func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }

  private func isWord(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): return true
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "+"), UInt8(ascii: "-"): return true
    default: return false
    }
  }

  private func shortened(_ key: String) -> String { key.count > 40 ? key.prefix(40) + "…" : key }

  private func expected(_ what: String, opened: Int) -> DiagnosticError {
    let isObject = bytes[opened] == UInt8(ascii: "{")
    let note = Diagnostic.note(
      "the \(isObject ? "object" : "array") begins here", at: SourceRange(buffer, opened, opened + 1))
    let message = offset < bytes.count ? "\(what) is expected here" : "the JSON text ends where \(what) is expected"
    return error(message, offset, notes: [note])
  }

  private func error(_ message: String, _ start: Int, _ end: Int? = nil, notes: [Diagnostic] = []) -> DiagnosticError {
    DiagnosticError("json", message, at: SourceRange(buffer, start, end ?? min(start + 1, bytes.count)), notes: notes)
  }

  /// The first byte of `start..<end` that does not continue valid UTF-8.
  private func invalidUTF8(_ start: Int, _ end: Int) -> DiagnosticError {
    var position = start
    while position < end {
      let (count, state) = UTF8Sequence.read(at: position, in: bytes, end: end)
      guard state == .valid else { return error("invalid UTF-8 in a string", position, position + count) }
      position += count
    }
    return error("invalid UTF-8 in a string", start, end)
  }
}
