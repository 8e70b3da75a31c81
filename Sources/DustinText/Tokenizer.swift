import DustinSupport

/// Text to token ids and back, as a `tokenizer.json` of Hugging Face's `tokenizers` states it.
///
/// Byte-level byte-pair encoding with the pre-tokenisers of GPT-2, Qwen 2 and Llama 3. A file that asks for anything else
/// is refused by name; its `truncation` and `padding` are left to the caller. Immutable: threads may share it.
public final class Tokenizer: Sendable {
  let parts: TokenizerParts

  /// One more than the highest token id.
  public var vocabularySize: Int { parts.tokenBytes.count }

  /// A hash of every token's id, bytes and kind. A draft model fits a target if the two are equal.
  public let fingerprint: UInt64

  /// - Parameter path: A `tokenizer.json`.
  /// - Throws: `DiagnosticError` with id `file`, `json` or `tokenizer`.
  public convenience init(file path: String) throws {
    try self.init(SourceBuffer(name: path, utf8: readFile(path, limit: 1 << 30)))
  }

  /// - Parameter buffer: The text of a `tokenizer.json`.
  /// - Throws: `DiagnosticError` with id `json` or `tokenizer` that points at what is wrong or not supported.
  public init(_ buffer: SourceBuffer) throws {
    parts = try TokenizerFile(JSONValue.parse(buffer)).read()
    fingerprint = parts.fingerprint()
  }

  init(_ parts: TokenizerParts, fingerprint: UInt64) {
    self.parts = parts
    self.fingerprint = fingerprint
  }

  // MARK: Encoding

  /// The ids of a text.
  ///
  /// - Parameters:
  ///   - utf8: Any bytes; each maximal subpart of a broken sequence counts as U+FFFD.
  ///   - addSpecialTokens: Adds what the file's template wants around a text, such as `<|begin_of_text|>`.
  ///   - parseSpecial: Takes the text of a special token for that token; false takes it for ordinary text.
  public func encode(_ utf8: [UInt8], addSpecialTokens: Bool = true, parseSpecial: Bool = true) -> [Int32] {
    let text = UTF8Scalar.replacingBroken(utf8)
    var session = BytePairEncoder.Session(parts.encoder)
    var tokens: [Int32] = addSpecialTokens ? parts.prefix : []
    parts.rawTokens.split(text, 0..<text.count, findsSpecial: parseSpecial) { token, range in
      if let token {
        tokens.append(token)
      } else if parts.composes, let normal = CanonicalComposition.normalize(text, range) {
        encodeNormal(normal, 0..<normal.count, parseSpecial, &session, &tokens)
      } else {
        encodeNormal(text, range, parseSpecial, &session, &tokens)
      }
    }
    if addSpecialTokens { tokens.append(contentsOf: parts.suffix) }
    return tokens
  }

  public func encode(_ text: String, addSpecialTokens: Bool = true, parseSpecial: Bool = true) -> [Int32] {
    encode(Array(text.utf8), addSpecialTokens: addSpecialTokens, parseSpecial: parseSpecial)
  }

  /// A piece of normalised text without raw added tokens.
  private func encodeNormal(
    _ text: [UInt8], _ range: Range<Int>, _ parseSpecial: Bool, _ session: inout BytePairEncoder.Session,
    _ tokens: inout [Int32]
  ) {
    if parts.normalizedTokens.isEmpty { return encodeWords(text, range, 0, &session, &tokens) }
    parts.normalizedTokens.split(text, range, findsSpecial: parseSpecial) { token, range in
      if let token {
        tokens.append(token)
      } else {
        encodeWords(text, range, 0, &session, &tokens)
      }
    }
  }

  /// Through the pre-tokenisers from number `stage` on.
  private func encodeWords(
    _ text: [UInt8], _ range: Range<Int>, _ stage: Int, _ session: inout BytePairEncoder.Session,
    _ tokens: inout [Int32]
  ) {
    guard stage < parts.preTokenizers.count else {
      return session.encode(text, range, into: &tokens)
    }
    if parts.addsPrefixSpace, stage == 0, text[range.lowerBound] != UInt8(ascii: " ") {
      let spaced = [UInt8(ascii: " ")] + text[range]
      parts.preTokenizers[0].forEachWord(spaced, 0..<spaced.count) {
        encodeWords(spaced, $0, 1, &session, &tokens)
      }
      return
    }
    parts.preTokenizers[stage].forEachWord(text, range) {
      encodeWords(text, $0, stage + 1, &session, &tokens)
    }
  }

  // MARK: Decoding

  /// The bytes of a token; nil for an id that the vocabulary lacks.
  public func bytes(of id: Int32) -> [UInt8]? {
    guard id >= 0, Int(id) < parts.tokenBytes.count else { return nil }
    return parts.tokenBytes[Int(id)]
  }

  /// Whether the file marks a token as special: it steers and is no text.
  public func isSpecial(_ id: Int32) -> Bool { parts.specialTokens.contains(id) }

  /// The id of a token as the file spells it: `<|im_end|>`, `Ġthe`.
  public func id(of token: String) -> Int32? {
    parts.id(of: token)
  }

  /// The bytes of all tokens, one behind the other; ids that the vocabulary lacks add none.
  ///
  /// The result may begin or end inside a character.
  public func decode(_ ids: [Int32], skipSpecial: Bool) -> [UInt8] {
    var result: [UInt8] = []
    for id in ids where !(skipSpecial && isSpecial(id)) { result.append(contentsOf: bytes(of: id) ?? []) }
    return result
  }
}
