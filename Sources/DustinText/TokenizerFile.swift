import DustinSupport

/// Reads the parts of a `tokenizer.json`; refuses, with the place, what would change ids if it were ignored.
struct TokenizerFile {
  let root: JSONValue

  init(_ root: JSONValue) { self.root = root }

  /// Ids stay below this, so that a table of all ids fits into memory whatever a file says.
  static let idLimit = 1 << 22
  /// Ranks stay below this: `BytePairEncoder` keeps them in 24 bits.
  static let mergeLimit = 1 << 24
  /// Bytes of all added tokens together: `AddedTokenMatcher` numbers them in 24 bits.
  static let addedBytesLimit = 1 << 24

  func read() throws -> TokenizerParts {
    guard root.objectEntries != nil else {
      throw error("a tokenizer file must be an object, this is \(root.kindDescription)", root)
    }
    let composes = try readNormalizer(root["normalizer"])
    let (preTokenizers, addsPrefixSpace) = try readPreTokenizers()
    try checkDecoder(root["decoder"])
    var vocabulary = Vocabulary()
    let encoder = try readModel(&vocabulary)
    let added = try readAddedTokens(&vocabulary)
    let raw = added.filter { !$0.isNormalized }
    let normalized = added.filter { $0.isNormalized }
    let (prefix, suffix) = try readTemplate(root["post_processor"], vocabulary)
    return TokenizerParts(
      composes: composes, addsPrefixSpace: addsPrefixSpace, preTokenizers: preTokenizers, encoder: encoder,
      rawTokens: AddedTokenMatcher(raw, patterns: raw.map { Array($0.content.utf8) }),
      normalizedTokens: AddedTokenMatcher(
        normalized,
        patterns: normalized.map {
          let bytes = Array($0.content.utf8)
          return composes ? CanonicalComposition.normalize(bytes, 0..<bytes.count) ?? bytes : bytes
        }),
      prefix: prefix, suffix: suffix, tokenBytes: vocabulary.tokenBytes,
      specialTokens: Set(added.lazy.filter { $0.isSpecial }.map { $0.id }),
      plainTokens: vocabulary.plainTokens.union(added.lazy.map { $0.id }),
      spellings: (vocabulary.spellings, vocabulary.spellingTokens))
  }

  /// All tokens read so far, by spelling and by id.
  struct Vocabulary {
    var spellings = ByteStringTable()
    var spellingTokens: [Int32] = []
    var tokenBytes: [[UInt8]?] = []
    /// Tokens of the vocabulary that are not spelt in the byte alphabet.
    var plainTokens: Set<Int32> = []

    func id(of bytes: [UInt8]) -> Int32? { spellings.find(bytes, 0..<bytes.count).map { spellingTokens[$0] } }

    /// False if the spelling or the id is taken.
    mutating func insert(_ spelling: [UInt8], _ id: Int, bytes: [UInt8]) -> Bool {
      if tokenBytes.count <= id { tokenBytes.append(contentsOf: repeatElement(nil, count: id + 1 - tokenBytes.count)) }
      guard tokenBytes[id] == nil, spellings.insert(spelling, 0..<spelling.count).isNew else { return false }
      spellingTokens.append(Int32(truncatingIfNeeded: id))
      tokenBytes[id] = bytes
      return true
    }
  }

  // MARK: Fields

  func error(_ message: String, _ value: JSONValue, notes: [Diagnostic] = []) -> DiagnosticError {
    DiagnosticError("tokenizer", message, at: value.range, notes: notes)
  }

  func sentencePiece(_ what: String, _ value: JSONValue) -> DiagnosticError {
    error(
      "\(what) belongs to SentencePiece-style tokenizers, which are not supported yet", value,
      notes: [.note("give token ids with --prompt-ids instead of text")])
  }

  /// The `type` of a part.
  func type(of part: JSONValue, _ what: String) throws -> String {
    guard part.objectEntries != nil else { throw error("the \(what) must be an object", part) }
    guard let type = part["type"] else { throw error("the \(what) lacks a 'type'", part) }
    guard let name = type.stringValue else { throw error("the type of the \(what) must be a string", type) }
    return name
  }

  func array(_ key: String, of part: JSONValue, _ what: String) throws -> [JSONValue] {
    guard let value = part[key] else { throw error("the \(what) lacks '\(key)'", part) }
    guard let values = value.arrayValue else { throw error("'\(key)' must be an array", value) }
    return values
  }

  func flag(_ key: String, of part: JSONValue, default fallback: Bool) throws -> Bool {
    guard let value = part[key], !value.isNull else { return fallback }
    guard let flag = value.boolValue else { throw error("'\(key)' must be true or false", value) }
    return flag
  }

  func tokenID(_ value: JSONValue) throws -> Int {
    guard let id = value.intValue else { throw error("a token id must be an integer", value) }
    guard id >= 0, id < TokenizerFile.idLimit else {
      throw error("the token id \(id) is not in 0..<\(TokenizerFile.idLimit)", value)
    }
    return id
  }

  // MARK: Normaliser

  /// Whether text goes to normalisation form C.
  private func readNormalizer(_ value: JSONValue?) throws -> Bool {
    guard let value, !value.isNull else { return false }
    let type = try type(of: value, "normalizer")
    switch type {
    case "NFC": return true
    case "Sequence":
      var composes = false
      for part in try array("normalizers", of: value, "normalizer") {
        if try readNormalizer(part) { composes = true }
      }
      return composes
    case "Prepend", "Replace", "Precompiled": throw sentencePiece("the normalizer '\(type)'", value)
    default: throw error("the normalizer '\(type)' is not supported; known are NFC and Sequence", value)
    }
  }

  // MARK: Pre-tokeniser

  private static let modernHead = #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"#
  private static let modernTail = #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
  private static let expressions: [String: PreTokenizer] = [
    modernHead + #"\p{N}"# + modernTail: .modern(digits: 1),
    modernHead + #"\p{N}{1,3}"# + modernTail: .modern(digits: 3),
    #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#: .gpt2,
    #"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#: .gpt2,
  ]

  private func readPreTokenizers() throws -> ([PreTokenizer], addsPrefixSpace: Bool) {
    guard let value = root["pre_tokenizer"], !value.isNull else {
      throw error(
        "the file has no pre-tokenizer; byte-level tokenizers have 'ByteLevel'", root["pre_tokenizer"] ?? root)
    }
    var parts = [value]
    if try type(of: value, "pre-tokenizer") == "Sequence" {
      parts = try array("pretokenizers", of: value, "pre-tokenizer")
    }
    var result: [PreTokenizer] = []
    var isByteLevel = false
    var addsPrefixSpace = false
    for part in parts {
      let type = try type(of: part, "pre-tokenizer")
      if isByteLevel { throw error("the pre-tokenizer '\(type)' behind 'ByteLevel' is not supported", part) }
      switch type {
      case "Split": result.append(try readSplit(part))
      case "Digits": result.append(.digits(individual: try flag("individual_digits", of: part, default: false)))
      case "ByteLevel":
        isByteLevel = true
        addsPrefixSpace = try flag("add_prefix_space", of: part, default: true)
        if try flag("use_regex", of: part, default: true) { result.append(.gpt2) }
        if addsPrefixSpace, parts.count > 1 || result.isEmpty {
          throw error("'add_prefix_space' is supported only where 'ByteLevel' is alone and uses its expression", part)
        }
      case "Metaspace": throw sentencePiece("the pre-tokenizer 'Metaspace'", part)
      default:
        throw error("the pre-tokenizer '\(type)' is not supported; known are Split, Digits, ByteLevel, Sequence", part)
      }
    }
    guard isByteLevel else {
      throw error("the pre-tokenizer lacks 'ByteLevel'; only byte-level tokenizers work", value)
    }
    return (result, addsPrefixSpace)
  }

  private func readSplit(_ part: JSONValue) throws -> PreTokenizer {
    guard let pattern = part["pattern"] else { throw error("the pre-tokenizer 'Split' lacks 'pattern'", part) }
    guard let expression = pattern["Regex"]?.stringValue else {
      throw error("'Split' is supported only with a 'Regex' pattern", pattern)
    }
    guard let known = TokenizerFile.expressions[expression] else {
      throw error(
        "the regular expression of 'Split' is not supported; known are those of GPT-2, Qwen 2 and Llama 3", pattern)
    }
    if let behavior = part["behavior"], behavior.stringValue != "Isolated" {
      throw error("'Split' is supported only with the behavior 'Isolated'", behavior)
    }
    if let invert = part["invert"], try flag("invert", of: part, default: false) {
      throw error("'Split' with 'invert' is not supported", invert)
    }
    return known
  }

  // MARK: Decoder

  /// Byte-level tokens are decoded by their bytes; another decoder would give another text.
  private func checkDecoder(_ value: JSONValue?) throws {
    guard let value, !value.isNull else { return }
    let type = try type(of: value, "decoder")
    switch type {
    case "ByteLevel": return
    case "Sequence":
      for part in try array("decoders", of: value, "decoder") { try checkDecoder(part) }
    case "Metaspace", "Replace", "ByteFallback", "Fuse", "Strip": throw sentencePiece("the decoder '\(type)'", value)
    default: throw error("the decoder '\(type)' is not supported; known is ByteLevel", value)
    }
  }

  // MARK: Template

  /// Ids before and behind a text, from `TemplateProcessing`, alone or in a sequence.
  private func readTemplate(_ value: JSONValue?, _ vocabulary: Vocabulary) throws -> (prefix: [Int32], suffix: [Int32])
  {
    guard let value, !value.isNull else { return ([], []) }
    let type = try type(of: value, "post-processor")
    switch type {
    case "ByteLevel": return ([], [])
    case "Sequence":
      var prefix: [Int32] = []
      var suffix: [Int32] = []
      for part in try array("processors", of: value, "post-processor") {
        let (before, behind) = try readTemplate(part, vocabulary)
        prefix = before + prefix
        suffix += behind
      }
      return (prefix, suffix)
    case "TemplateProcessing": break
    default:
      throw error(
        "the post-processor '\(type)' is not supported; known are ByteLevel, TemplateProcessing, Sequence", value)
    }
    var prefix: [Int32] = []
    var suffix: [Int32] = []
    var isBehind = false
    for piece in try array("single", of: value, "template") {
      if let sequence = piece["Sequence"] {
        if isBehind { throw error("the template for one text names the text twice", sequence) }
        isBehind = true
      } else if let token = piece["SpecialToken"] {
        let ids = try templateIDs(token, value, vocabulary)
        if isBehind { suffix += ids } else { prefix += ids }
      } else {
        throw error("a template's piece must be a 'Sequence' or a 'SpecialToken'", piece)
      }
    }
    guard isBehind else { throw error("the template for one text does not name the text", value["single"] ?? value) }
    return (prefix, suffix)
  }

  private func templateIDs(_ token: JSONValue, _ template: JSONValue, _ vocabulary: Vocabulary) throws -> [Int32] {
    guard let name = token["id"]?.stringValue else { throw error("a template's special token lacks an 'id'", token) }
    guard let entry = template["special_tokens"]?[name] else {
      throw error("the template's special token '\(name)' is not listed in 'special_tokens'", token)
    }
    return try array("ids", of: entry, "template's special token '\(name)'").map { value in
      let id = try tokenID(value)
      guard id < vocabulary.tokenBytes.count, vocabulary.tokenBytes[id] != nil else {
        throw error("the template's token id \(id) is not in the vocabulary", value)
      }
      return Int32(truncatingIfNeeded: id)
    }
  }
}
