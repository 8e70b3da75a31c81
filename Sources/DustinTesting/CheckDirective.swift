import DustinSupport

/// One CHECK line.
struct CheckDirective {
  enum Kind: String, CaseIterable {
    case plain = ""
    case next = "-NEXT"
    case same = "-SAME"
    case not = "-NOT"
    case dag = "-DAG"
    case label = "-LABEL"
  }
  let kind: Kind
  let pattern: CheckPattern

  /// The directives of a text, in order.
  static func all(in buffer: SourceBuffer, prefix: String) throws -> [CheckDirective] {
    var directives: [CheckDirective] = []
    var errors: [Diagnostic] = []
    let bytes = buffer.utf8
    let wanted = Array(prefix.utf8)
    var offset = 0
    while offset < bytes.count {
      let lineEnd = bytes[offset...].firstIndex(of: UInt8(ascii: "\n")) ?? bytes.count
      if let (kindText, start) = head(bytes, offset..<lineEnd, wanted) {
        var (first, last) = (start, lineEnd)
        while first < last, isBlank(bytes[first]) { first += 1 }
        while first < last, isBlank(bytes[last - 1]) { last -= 1 }
        let range = SourceRange(buffer, first, last)
        if let kind = Kind(rawValue: kindText) {
          do {
            let text = String(decoding: bytes[first..<last], as: UTF8.self)
            let pattern = try CheckPattern(text, range)
            if kind == .label, !pattern.usedVariables.isEmpty {
              errors.append(Diagnostic("check-variable", "a label is matched first and knows no variables", at: range))
            }
            directives.append(CheckDirective(kind: kind, pattern: pattern))
          } catch let error as DiagnosticError {
            errors += error.diagnostics
          }
        } else {
          let kinds = Kind.allCases.map(\.rawValue)
          let hint = closestName(to: kindText, in: kinds).map { "; did you mean '\(prefix)\($0)'?" } ?? ""
          errors.append(Diagnostic("check-kind", "there is no directive '\(prefix)\(kindText)'\(hint)", at: range))
        }
      }
      offset = lineEnd + 1
    }
    if !errors.isEmpty { throw DiagnosticError(errors) }
    return directives
  }

  /// `-NEXT` and the offset behind the colon, if the line is a comment that begins with the prefix.
  private static func head(_ bytes: [UInt8], _ line: Range<Int>, _ prefix: [UInt8]) -> (String, Int)? {
    var offset = line.lowerBound
    while offset < line.upperBound, isBlank(bytes[offset]) { offset += 1 }
    guard bytes[offset..<line.upperBound].starts(with: Array("//".utf8)) else { return nil }
    offset += 2
    while offset < line.upperBound, isBlank(bytes[offset]) { offset += 1 }
    guard bytes[offset..<line.upperBound].starts(with: prefix) else { return nil }
    offset += prefix.count
    let kind = offset
    while offset < line.upperBound, bytes[offset] == UInt8(ascii: "-") || isLetter(bytes[offset]) { offset += 1 }
    guard offset < line.upperBound, bytes[offset] == UInt8(ascii: ":"),
      offset == kind || bytes[kind] == UInt8(ascii: "-")
    else { return nil }
    return (String(decoding: bytes[kind..<offset], as: UTF8.self), offset + 1)
  }

  private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0d }
  private static func isLetter(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
  }
}

/// Literal text, `{{regex}}`, `[[NAME:regex]]` and `[[NAME]]`.
struct CheckPattern {
  enum Part {
    case literal(String)
    case regex(String)
    case capture(String, String)
    case use(String)
  }
  let text: String
  let range: SourceRange
  let parts: [Part]

  init(_ text: String, _ range: SourceRange) throws {
    self.text = text
    self.range = range
    var parts: [Part] = []
    var rest = Self.canonical(text)[...]
    var literal = ""
    func close(_ end: String) throws -> Substring {
      rest.removeFirst(2)
      guard let found = rest.firstRange(of: end) else {
        throw DiagnosticError("check-pattern", "this pattern has a bracket without '\(end)'", at: range)
      }
      // `[[A:[a-z]]]`: the last of several brackets closes.
      var stop = found.lowerBound
      while rest[stop...].dropFirst().starts(with: end) { stop = rest.index(after: stop) }
      defer { rest = rest[rest.index(stop, offsetBy: 2)...] }
      return rest[..<stop]
    }
    while !rest.isEmpty {
      if rest.starts(with: "{{") {
        if !literal.isEmpty { parts.append(.literal(literal)) }
        literal = ""
        parts.append(.regex(String(try close("}}"))))
      } else if rest.starts(with: "[["), rest.dropFirst(2).first.map({ $0.isLetter || $0 == "_" }) == true {
        if !literal.isEmpty { parts.append(.literal(literal)) }
        literal = ""
        let inside = try close("]]")
        if let colon = inside.firstIndex(of: ":") {
          parts.append(.capture(String(inside[..<colon]), String(inside[inside.index(after: colon)...])))
        } else {
          parts.append(.use(String(inside)))
        }
      } else {
        literal.append(rest.removeFirst())
      }
    }
    if !literal.isEmpty { parts.append(.literal(literal)) }
    self.parts = parts
    if parts.isEmpty { throw DiagnosticError("check-pattern", "this directive has no pattern", at: range) }
    // A regex with a mistake is reported where it is written, not where it is first tried.
    if !isLiteral { _ = try regex(usedVariables.reduce(into: [:]) { $0[$1] = "" }) }
  }

  var usedVariables: [String] {
    parts.compactMap { if case .use(let name) = $0 { name } else { nil } }
  }

  private var isLiteral: Bool {
    parts.allSatisfy {
      switch $0 {
      case .literal, .use: true
      case .regex, .capture: false
      }
    }
  }

  /// The first match in a line; captures go into the variables.
  func match(_ line: Substring, _ variables: inout [String: String]) throws -> Range<String.Index>? {
    if isLiteral {
      let wanted = parts.map { part -> String? in
        switch part {
        case .literal(let text): return text
        case .use(let name): return variables[name]
        case .regex, .capture: return nil
        }
      }
      if let unknown = usedVariables.first(where: { variables[$0] == nil }) { throw unknownVariable(unknown) }
      return line.firstRange(of: wanted.compactMap { $0 }.joined())
    }
    guard let match = try regex(variables).firstMatch(in: line) else { return nil }
    var group = 0
    for part in parts {
      guard case .capture(let name, _) = part else { continue }
      if let range = match["capture\(group)"]?.range { variables[name] = String(line[range]) }
      group += 1
    }
    return match.range
  }

  private func regex(_ variables: [String: String]) throws -> Regex<AnyRegexOutput> {
    var own: [String] = []
    var text = ""
    for part in parts {
      switch part {
      case .literal(let literal): text += Self.escaped(literal)
      case .regex(let regex): text += "(?:\(regex))"
      case .capture(let name, let regex):
        text += "(?<capture\(own.count)>\(regex))"
        own.append(name)
      case .use(let name):
        // A variable that the same line captures further left is a back reference.
        if let index = own.firstIndex(of: name) {
          text += "\\k<capture\(index)>"
        } else if let value = variables[name] {
          text += Self.escaped(value)
        } else {
          throw unknownVariable(name)
        }
      }
    }
    do {
      return try Regex(text)
    } catch {
      throw DiagnosticError("check-pattern", "this is not a regular expression: \(error)", at: range)
    }
  }

  private func unknownVariable(_ name: String) -> DiagnosticError {
    DiagnosticError("check-variable", "no line above captures [[\(name)]]", at: range)
  }

  private static func escaped(_ text: String) -> String {
    var result = ""
    for character in text {
      if "\\^$.|?*+()[]{}/-#&~".contains(character) { result.append("\\") }
      result.append(character)
    }
    return result
  }

  /// Every run of spaces and tabs as one space.
  static func canonical(_ line: String) -> String {
    var result = ""
    var isBlank = false
    for character in line where character != "\r" {
      if character == " " || character == "\t" {
        if !isBlank { result.append(" ") }
        isBlank = true
      } else {
        result.append(character)
        isBlank = false
      }
    }
    return result
  }

  /// Names and numbers of a line.
  static func words(_ line: String) -> [String] {
    line.split { !($0.isLetter || $0.isNumber || $0 == "_" || $0 == "@" || $0 == "%") }.map(String.init)
  }
}
