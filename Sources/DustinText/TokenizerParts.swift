import DustinSupport

/// What a tokenizer file comes to.
struct TokenizerParts: Sendable {
  /// Text goes to normalisation form C first.
  var composes: Bool
  /// GPT-2's `add_prefix_space`: each piece of text begins with a space.
  var addsPrefixSpace: Bool
  /// Each splits the words of the one before.
  var preTokenizers: [PreTokenizer]
  var encoder: BytePairEncoder
  var rawTokens: AddedTokenMatcher
  var normalizedTokens: AddedTokenMatcher
  /// Ids that the template puts before and behind a text.
  var prefix: [Int32]
  var suffix: [Int32]
  /// The bytes of each id; nil where the vocabulary has a gap.
  var tokenBytes: [[UInt8]?]
  var specialTokens: Set<Int32>
  /// Tokens that the file spells as they are, not in the byte alphabet.
  var plainTokens: Set<Int32>
  /// Every token as the file spells it; nil where nobody read a file.
  var spellings: (table: ByteStringTable, tokens: [Int32])?

  /// FNV-1a over id, kind, length and bytes of each token.
  func fingerprint() -> UInt64 {
    var hash = ByteHash()
    for (id, bytes) in tokenBytes.enumerated() {
      guard let bytes else { continue }
      hash.add(low32: id)
      hash.add(specialTokens.contains(Int32(truncatingIfNeeded: id)) ? 1 : 0)
      hash.add(low32: bytes.count)
      hash.add(bytes)
    }
    return hash.value
  }
}
