import DustinSupport

/// Recursive descent over
///
///     pipeline = element { "," element }
///     element  = name [ "{" { key "=" value } "}" ]
///     value    = bare characters | "[" … "]" | '"' … '"'
///
/// White space may stand anywhere between the parts. Errors of form stop at once; misspelt names and wrong values are
/// collected, so that one run shows them all.
struct PipelineParser {
  let buffer: SourceBuffer
  let registry: PassRegistry
  /// Named pipelines that are being expanded, to stop one that contains itself.
  let open: [String]
  private var offset = 0
  private var found: [Diagnostic] = []

  init(buffer: SourceBuffer, registry: PassRegistry, open: [String]) {
    self.buffer = buffer
    self.registry = registry
    self.open = open
  }

  mutating func parse() throws -> [any Pass] {
    var passes: [any Pass] = []
    skipSpace()
    if peek == nil { return [] }
    while true {
      passes += try element()
      skipSpace()
      guard let byte = peek else { break }
      guard byte == UInt8(ascii: ",") else {
        throw form("expected ',' or the end of the pipeline, found '\(character)'")
      }
      offset += 1
    }
    if !found.isEmpty { throw DiagnosticError(found) }
    return passes
  }

  private mutating func element() throws -> [any Pass] {
    skipSpace()
    let start = offset
    let name = word()
    if name.isEmpty { throw form(peek == nil ? "expected a pass name" : "expected a pass name, found '\(character)'") }
    let range = SourceRange(buffer, start, offset)
    let pass = registry.make(name)
    var expansion: [any Pass] = []
    if pass == nil {
      if let pipeline = registry.pipeline(name) {
        expansion = try expand(pipeline, range)
      } else {
        let names = registry.names + registry.pipelines.map(\.name)
        let hint = suggestion(for: name, in: names)
        found.append(Diagnostic("unknown-pass", "there is no pass or pipeline '\(name)'\(hint)", at: range))
      }
    }
    skipSpace()
    if peek == UInt8(ascii: "{") {
      let brace = offset
      try options(of: pass)
      if pass == nil, !expansion.isEmpty {
        found.append(
          Diagnostic(
            "pipeline-options", "the named pipeline '\(name)' takes no options", at: SourceRange(buffer, brace, offset))
        )
      }
    }
    guard let pass else { return expansion }
    // A wrong value has already been reported; what follows from it is noise.
    if found.isEmpty, let sentence = pass.validate() {
      found.append(Diagnostic("pass-options", sentence, at: SourceRange(buffer, start, offset)))
    }
    return [pass]
  }

  private mutating func expand(_ pipeline: NamedPipeline, _ range: SourceRange) throws -> [any Pass] {
    if open.contains(pipeline.name) {
      throw DiagnosticError("recursive-pipeline", "the named pipeline '\(pipeline.name)' contains itself", at: range)
    }
    let inner = SourceBuffer(name: "<pipeline \(pipeline.name)>", text: pipeline.text)
    var parser = PipelineParser(buffer: inner, registry: registry, open: open + [pipeline.name])
    return try parser.parse()
  }

  /// `{key=value key=value}`; `pass` is nil when its name is unknown, and then only the form counts.
  private mutating func options(of pass: (any Pass)?) throws {
    let brace = SourceRange(buffer, offset, offset + 1)
    let options = pass?.options ?? []
    var seen: Set<String> = []
    offset += 1
    while true {
      skipSpace()
      guard let byte = peek else {
        throw DiagnosticError("pipeline-syntax", "this '{' has no matching '}'", at: brace)
      }
      if byte == UInt8(ascii: "}") {
        offset += 1
        return
      }
      let start = offset
      let key = word()
      let keyRange = SourceRange(buffer, start, offset)
      if key.isEmpty { throw form("expected an option name or '}', found '\(character)'") }
      skipSpace()
      guard peek == UInt8(ascii: "=") else {
        throw DiagnosticError("pipeline-syntax", "expected '=' and a value after the option '\(key)'", at: keyRange)
      }
      offset += 1
      skipSpace()
      let valueStart = offset
      let value = try self.value(of: key)
      guard let pass else { continue }
      let valueRange = SourceRange(buffer, valueStart, max(offset, valueStart + 1))
      guard let option = options.first(where: { $0.name == key }) else {
        let hint: String
        if let close = closestName(to: key, in: options.map(\.name)) {
          hint = "; did you mean '\(close)'?"
        } else if options.isEmpty {
          hint = "; it takes none"
        } else {
          hint = "; it has " + options.map { "'\($0.name)'" }.joined(separator: ", ")
        }
        found.append(Diagnostic("unknown-option", "'\(pass.name)' has no option '\(key)'\(hint)", at: keyRange))
        continue
      }
      if !seen.insert(key).inserted {
        found.append(Diagnostic("repeated-option", "the option '\(key)' is given twice", at: keyRange))
      } else if !option.read(value) {
        let hint = suggestion(for: value, in: option.words)
        found.append(
          Diagnostic("option-value", "'\(key)' must be \(option.kind), not '\(value)'\(hint)", at: valueRange))
      }
    }
  }

  private mutating func value(of key: String) throws -> String {
    let start = offset
    switch peek {
    case UInt8(ascii: "\""):
      offset += 1
      while let byte = peek, byte != UInt8(ascii: "\"") { offset += 1 }
      guard peek != nil else {
        throw DiagnosticError("pipeline-syntax", "this quote is not closed", at: SourceRange(buffer, start, start + 1))
      }
      offset += 1
      return String(decoding: buffer.utf8[(start + 1)..<(offset - 1)], as: UTF8.self)
    case UInt8(ascii: "["):
      while let byte = peek, byte != UInt8(ascii: "]") { offset += 1 }
      guard peek != nil else {
        throw DiagnosticError(
          "pipeline-syntax", "this '[' has no matching ']'", at: SourceRange(buffer, start, start + 1))
      }
      offset += 1
      return String(decoding: buffer.utf8[start..<offset], as: UTF8.self)
    default:
      while let byte = peek, !Self.isSpace(byte), !Self.special.contains(byte) { offset += 1 }
      if offset == start { throw form("expected a value for the option '\(key)'") }
      return String(decoding: buffer.utf8[start..<offset], as: UTF8.self)
    }
  }

  /// A value in the form that `value(of:)` reads back.
  static func quoted(_ text: String) -> String {
    if text.first == "[" && text.last == "]" { return text }
    let isBare = !text.utf8.contains { isSpace($0) || special.contains($0) }
    return isBare ? text : "\"\(text)\""
  }

  private static let special: Set<UInt8> = Set("{}[],=\"".utf8)
  private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }

  private var peek: UInt8? { offset < buffer.utf8.count ? buffer.utf8[offset] : nil }
  /// The character at the offset, whole, for messages.
  private var character: String {
    String(String(decoding: buffer.utf8[offset...].prefix(4), as: UTF8.self).prefix(1))
  }

  private mutating func skipSpace() {
    while let byte = peek, Self.isSpace(byte) { offset += 1 }
  }

  private mutating func word() -> String {
    let start = offset
    while let byte = peek, !Self.isSpace(byte), !Self.special.contains(byte) { offset += 1 }
    return String(decoding: buffer.utf8[start..<offset], as: UTF8.self)
  }

  private func form(_ message: String) -> DiagnosticError {
    let end = offset + (peek == nil ? 1 : character.utf8.count)
    return DiagnosticError("pipeline-syntax", message, at: SourceRange(buffer, offset, end))
  }
}
