import DustinSupport
import DustinText

/// One text to continue, as the user gave it.
package struct Prompt {
  /// What `--prompts` calls it; printed back as it came. Nil for a prompt of another source.
  package var id: JSON?
  package var tokens: [Int32]
  /// Overrides `-n`.
  package var maxNewTokens: Int?
  /// Where it stands in its file, and where each of its ids does; for messages.
  package var range: SourceRange?
  package var idRanges: [SourceRange] = []
  /// The first byte, counted from 1, of a text that is not UTF-8.
  package var brokenByte: Int?

  package init(id: JSON? = nil, tokens: [Int32], maxNewTokens: Int? = nil) {
    self.id = id
    self.tokens = tokens
    self.maxNewTokens = maxNewTokens
  }
}

/// Where the prompts come from.
package enum PromptSource: Sendable {
  case text(String)
  case file(String)
  /// A JSON array of token ids.
  case ids(String)
  /// Objects with `prompt` or `prompt_ids`, `id` and `max_new_tokens`, one a line.
  case lines(String)

  /// - Parameter missing: why there is no tokenizer, if a text needs one.
  package func read(_ tokenizer: Tokenizer?, missing: DiagnosticError) throws -> [Prompt] {
    func encode(_ bytes: [UInt8]) throws -> [Int32] {
      guard let tokenizer else { throw missing }
      return tokenizer.encode(bytes)
    }
    switch self {
    case .text(let text):
      return [Prompt(tokens: try encode(Array(text.utf8)))]
    case .file(let path):
      let bytes = try readSource(path).utf8
      var prompt = Prompt(tokens: try encode(bytes))
      prompt.brokenByte = firstBrokenByte(bytes)
      return [prompt]
    case .ids(let path):
      let value = try JSONValue.parse(readSource(path))
      var prompt = Prompt(tokens: try Self.ids(value, "the file of --prompt-ids"))
      prompt.range = firstByte(value.range)
      prompt.idRanges = (value.arrayValue ?? []).map(\.range)
      return [prompt]
    case .lines(let path):
      return try Self.lines(readSource(path), encode)
    }
  }

  private static func ids(_ value: JSONValue, _ what: String) throws -> [Int32] {
    guard let values = value.arrayValue else {
      throw DiagnosticError(
        "prompt-ids", "\(what) must be an array of token ids, not \(value.kindDescription)", at: value.range)
    }
    return try values.map { value in
      guard let id = value.intValue, id >= 0, id <= Int(Int32.max) else {
        throw DiagnosticError(
          "prompt-ids", "a token id must be a whole number from 0 up, not \(shown(value))", at: value.range)
      }
      return Int32(id)
    }
  }

  private static func lines(_ buffer: SourceBuffer, _ encode: ([UInt8]) throws -> [Int32]) throws -> [Prompt] {
    var prompts: [Prompt] = []
    for line in buffer.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
      if line.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }) { continue }
      // A line is read by itself; what is said of it must point into the file.
      func inFile(_ range: SourceRange) -> SourceRange {
        SourceRange(buffer, line.startIndex + range.start, line.startIndex + range.end)
      }
      do {
        let value = try JSONValue.parse(SourceBuffer(name: buffer.name, utf8: Array(line)))
        var prompt = try prompt(value, number: prompts.count, encode)
        prompt.range = prompt.range.map(inFile)
        prompt.idRanges = prompt.idRanges.map(inFile)
        prompts.append(prompt)
      } catch let error as DiagnosticError {
        func moved(_ one: Diagnostic) -> Diagnostic {
          Diagnostic(
            one.id, one.message, at: one.range.map(inFile), severity: one.severity, notes: one.notes.map(moved))
        }
        // The tokenizer's own errors are about another file.
        guard error.diagnostics.allSatisfy({ $0.range.map { $0.buffer.name == buffer.name } ?? true }) else {
          throw error
        }
        throw DiagnosticError(error.diagnostics.map(moved))
      }
    }
    guard !prompts.isEmpty else { throw DiagnosticError("prompts", "'\(buffer.name)' holds no prompts") }
    return prompts
  }

  private static func prompt(
    _ value: JSONValue, number: Int, _ encode: ([UInt8]) throws -> [Int32]
  ) throws -> Prompt {
    func fail(_ message: String, _ value: JSONValue) -> DiagnosticError {
      DiagnosticError("prompts", message, at: firstByte(value.range))
    }
    guard value.objectEntries != nil else {
      throw fail("a line must be an object, not \(value.kindDescription)", value)
    }
    var prompt = Prompt(id: .int(number), tokens: [])
    switch (value["prompt"], value["prompt_ids"]) {
    case (let text?, nil):
      guard let string = text.stringValue else {
        throw fail("'prompt' must be a string, not \(text.kindDescription)", text)
      }
      prompt.tokens = try encode(Array(string.utf8))
      prompt.range = firstByte(text.range)
    case (nil, let list?):
      prompt.tokens = try ids(list, "'prompt_ids'")
      prompt.range = firstByte(list.range)
      prompt.idRanges = (list.arrayValue ?? []).map(\.range)
    case (nil, nil): throw fail("the object has neither 'prompt' nor 'prompt_ids'", value)
    case (let text?, _?): throw fail("the object has both 'prompt' and 'prompt_ids'", text)
    }
    switch value["id"]?.kind {
    case nil, .null: break
    case .string(let id): prompt.id = .string(id)
    case .int(let id): prompt.id = .int(id)
    default: throw fail("'id' must be a string or a whole number", value["id"] ?? value)
    }
    if let count = value["max_new_tokens"] {
      guard let number = count.intValue, number >= 0 else {
        throw fail("'max_new_tokens' must be a whole number from 0 up, not \(shown(count))", count)
      }
      prompt.maxNewTokens = number
    }
    return prompt
  }
}

/// The number itself, or what kind of value stands there instead.
private func shown(_ value: JSONValue) -> String {
  let range = value.range
  guard value.doubleValue != nil, range.end - range.start <= 40 else { return value.kindDescription }
  return String(decoding: range.buffer.utf8[range.start..<range.end], as: UTF8.self)
}

/// A prompt may be long: the caret stands below its first character.
private func firstByte(_ range: SourceRange) -> SourceRange {
  SourceRange(range.buffer, range.start, range.start + 1)
}

/// The first byte, counted from 1, that belongs to no UTF-8 sequence; nil when there is none.
private func firstBrokenByte(_ bytes: [UInt8]) -> Int? {
  var position = 0
  while position < bytes.count {
    let (count, state) = UTF8Sequence.read(at: position, in: bytes, end: bytes.count)
    guard case .valid = state else { return position + 1 }
    position += count
  }
  return nil
}
