import DustinSupport
import DustinText

/// One text to continue, as the user gave it.
struct Prompt {
  /// What `--prompts` calls it; printed back as it came. Nil for a prompt of another source.
  var id: JSON?
  var tokens: [Int32]
  /// Overrides `-n`.
  var maxNewTokens: Int?
}

/// Where the prompts come from.
enum PromptSource {
  case text(String)
  case file(String)
  /// A JSON array of token ids.
  case ids(String)
  /// Objects with `prompt` or `prompt_ids`, `id` and `max_new_tokens`, one a line.
  case lines(String)

  /// - Parameter missing: why there is no tokenizer, if a text needs one.
  func read(_ tokenizer: Tokenizer?, missing: DiagnosticError) throws -> [Prompt] {
    func encode(_ bytes: [UInt8]) throws -> [Int32] {
      guard let tokenizer else { throw missing }
      return tokenizer.encode(bytes)
    }
    switch self {
    case .text(let text):
      return [Prompt(tokens: try encode(Array(text.utf8)))]
    case .file(let path):
      return [Prompt(tokens: try encode(try readSource(path).utf8))]
    case .ids(let path):
      return [Prompt(tokens: try Self.ids(JSONValue.parse(readSource(path)), "the file of --prompt-ids"))]
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
    let lines = buffer.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    for (index, line) in lines.enumerated() {
      if line.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }) { continue }
      let name = "\(buffer.name), line \(index + 1)"
      prompts.append(
        try prompt(JSONValue.parse(SourceBuffer(name: name, utf8: Array(line))), number: prompts.count, encode))
    }
    guard !prompts.isEmpty else { throw DiagnosticError("prompts", "'\(buffer.name)' holds no prompts") }
    return prompts
  }

  private static func prompt(
    _ value: JSONValue, number: Int, _ encode: ([UInt8]) throws -> [Int32]
  ) throws -> Prompt {
    func fail(_ message: String, _ value: JSONValue) -> DiagnosticError {
      // The text of a prompt may be long: the caret stands below its first character.
      DiagnosticError("prompts", message, at: SourceRange(value.range.buffer, value.range.start, value.range.start + 1))
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
    case (nil, let list?): prompt.tokens = try ids(list, "'prompt_ids'")
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
private func shown(_ value: JSONValue) -> String { value.intValue.map { "\($0)" } ?? value.kindDescription }
