import DustinSupport

/// One `key = value` with its places.
struct ParsedAttribute {
  let key: String
  let keyRange: SourceRange
  let value: Attribute
  let valueRange: SourceRange
}

// MARK: Types

extension Parser {
  mutating func parseType() throws -> TensorType {
    let first = token
    guard let word else { throw expected("a type as in 'f32[T, 64]'") }
    guard let element = ElementType(rawValue: word) else {
      let names = ElementType.allCases.map(\.rawValue)
      let notes = didYouMean(word, names)
      report(
        "unknown-type", "'\(word)' is not an element type; it must be one of \(names.joined(separator: ", "))",
        at: range(token), notes: notes)
      throw ParseAbort()
    }
    advance()
    try expect(.leftBracket)
    var shape: [Dim] = []
    if !accept(.rightBracket) {
      repeat { shape.append(try parseExtent()) } while accept(.comma)
      try expect(.rightBracket, "',' or ']'")
    }
    let type = TensorType(element, shape)
    if DimRules.elementCount(type, bound: { dimBounds[$0] }) == nil {
      report("type-size", DimRules.sizeMessage(type), at: range(from: first, through: tokens[position - 1]))
      throw ParseAbort()
    }
    return type
  }

  private mutating func parseExtent() throws -> Dim {
    if let name = word {
      if dimBounds[name] == nil, !hasUnknownDims {
        let names = dimBounds.keys
        let notes = didYouMean(name, names.sorted())
        report("unknown-dim", "the dim '\(name)' is not declared", at: range(token), notes: notes)
        throw ParseAbort()
      }
      advance()
      return .named(name)
    }
    let (value, range) = try integer("an extent")
    guard DimRules.bounds.contains(value) else {
      report("extent", "an extent must be from 1 to \(DimRules.largestBound), not \(value)", at: range)
      throw ParseAbort()
    }
    return .fixed(value)
  }
}

// MARK: Attributes

extension Parser {
  /// `{key = value, …}`; the current token is the brace.
  mutating func parseAttributes() throws -> [ParsedAttribute] {
    try expect(.leftBrace)
    var entries: [ParsedAttribute] = []
    repeat {
      let keyToken = try expect(.word, "the name of an attribute")
      let key = text(keyToken)
      if entries.contains(where: { $0.key == key }) {
        report("duplicate-attribute", "the attribute '\(key)' is given twice", at: range(keyToken))
        throw ParseAbort()
      }
      try expect(.equal)
      let first = token
      let value = try parseAttribute(depth: 0)
      entries.append(
        ParsedAttribute(
          key: key, keyRange: range(keyToken), value: value,
          valueRange: range(from: first, through: tokens[position - 1])))
    } while accept(.comma)
    try expect(.rightBrace, "',' or '}'")
    return entries
  }

  private mutating func parseAttribute(depth: Int) throws -> Attribute {
    let token = token
    let text = text(token)
    switch token.kind {
    case .number:
      advance()
      if text == "-inf" { return .float(-.infinity) }
      if !text.contains(where: { $0 == "." || $0 == "e" || $0 == "E" }) {
        if let value = Int(text) { return .int(value) }
        report("number-range", "'\(text)' does not fit into 64 bits", at: range(token))
      } else {
        if let value = Double(text), value.isFinite { return .float(value) }
        report("number-range", "'\(text)' is outside the range of 64-bit floats", at: range(token))
      }
      throw ParseAbort()
    case .word:
      advance()
      switch text {
      case "true": return .bool(true)
      case "false": return .bool(false)
      case "inf": return .float(.infinity)
      case "nan": return .float(.nan)
      default: return .word(text)
      }
    case .string:
      advance()
      return .string(name(token))
    case .leftBracket:
      // Arrays recurse: the depth is limited so that no text can exhaust the stack.
      guard depth < 8 else {
        report("syntax", "arrays may be nested at most 8 deep", at: range(token))
        throw ParseAbort()
      }
      advance()
      var values: [Attribute] = []
      if accept(.rightBracket) { return .array(values) }
      repeat { values.append(try parseAttribute(depth: depth + 1)) } while accept(.comma)
      try expect(.rightBracket, "',' or ']'")
      return .array(values)
    default: throw expected("a number, word, string or array")
    }
  }

  /// The only thing in braces that may follow an argument or a result type.
  mutating func parseRole() throws -> ValueRole {
    guard accept(.leftBrace) else { return .plain }
    guard let key = word else { throw expected("'role'") }
    guard key == "role" else { throw unknownKey(key, ["role"], of: "an argument or result") }
    advance()
    try expect(.equal)
    let role = try keyword(ValueRole.self, "role")
    try expect(.rightBrace)
    return role
  }

  /// Reports the word at the current token as an unknown attribute.
  mutating func unknownKey(_ key: String, _ known: [String], of what: String) -> ParseAbort {
    let notes = didYouMean(key, known)
    report("unknown-attribute", "'\(key)' is not an attribute of \(what)", at: range(token), notes: notes)
    return ParseAbort()
  }

  /// `{fidelity = exact | approximate("pass"), numerics = …}` behind a signature.
  mutating func parseFunctionAttributes(_ function: Function) throws {
    try expect(.leftBrace)
    var seen: Set<String> = []
    repeat {
      guard let key = word else { throw expected("'fidelity' or 'numerics'") }
      guard key == "fidelity" || key == "numerics" else {
        throw unknownKey(key, ["fidelity", "numerics"], of: "a function")
      }
      guard seen.insert(key).inserted else {
        report("duplicate-attribute", "the attribute '\(key)' is given twice", at: range(token))
        throw ParseAbort()
      }
      advance()
      try expect(.equal)
      if key == "numerics" {
        function.numerics = try keyword(Numerics.self, "numerics")
      } else {
        function.fidelity = try parseFidelity()
      }
    } while accept(.comma)
    try expect(.rightBrace, "',' or '}'")
  }

  private mutating func parseFidelity() throws -> Fidelity {
    guard let word else { throw expected("'exact' or 'approximate(\"pass\")'") }
    guard word == "exact" || word == "approximate" else {
      let notes = didYouMean(word, ["exact", "approximate"])
      report(
        "unknown-word", "'\(word)' is not a fidelity; it must be exact or approximate(\"pass\")", at: range(token),
        notes: notes)
      throw ParseAbort()
    }
    advance()
    guard word == "approximate" else { return .exact }
    try expect(.leftParen)
    let pass = try expect(.string, "the name of the pass as a string")
    try expect(.rightParen)
    return .approximate(name(pass))
  }
}
