import DustinSupport

// A tokenizer as bytes that are read in a few passes: parsing a `tokenizer.json` takes longer than starting a program may.

extension Tokenizer {
  /// What `init(serialized:)` reads.
  public func serialized() -> [UInt8] {
    var writer = ByteWriter()
    parts.write(to: &writer)
    writer.add(fingerprint)
    return writer.bytes
  }

  /// - Parameter what: how messages call the bytes.
  /// - Throws: `DiagnosticError` with id `damaged`.
  public convenience init(serialized bytes: [UInt8], _ what: String) throws {
    var reader = ByteReader(bytes, what)
    let parts = try TokenizerParts(from: &reader)
    let fingerprint = try reader.read(UInt64.self)
    try reader.finish()
    self.init(parts, fingerprint: fingerprint)
  }
}

extension TokenizerParts {
  private static let formatVersion: UInt32 = 1

  fileprivate func write(to writer: inout ByteWriter) {
    writer.add(Self.formatVersion)
    writer.add(composes)
    writer.add(addsPrefixSpace)
    writer.add(preTokenizers) { $0.write(to: &$1) }
    encoder.write(to: &writer)
    rawTokens.write(to: &writer)
    normalizedTokens.write(to: &writer)
    writer.add(prefix)
    writer.add(suffix)
    // A gap of the vocabulary is -1 bytes long.
    writer.add(tokenBytes.map { Int32(truncatingIfNeeded: $0?.count ?? -1) })
    writer.add(tokenBytes.flatMap { $0 ?? [] })
    writer.add(specialTokens.sorted())
    writer.add(plainTokens.sorted())
  }

  fileprivate init(from reader: inout ByteReader) throws {
    let version = try reader.read(UInt32.self)
    guard version == Self.formatVersion else { throw reader.damaged("its format \(version) is not known") }
    composes = try reader.bool()
    addsPrefixSpace = try reader.bool()
    preTokenizers = try reader.elements { try PreTokenizer(from: &$0) }
    encoder = try BytePairEncoder(from: &reader)
    rawTokens = try AddedTokenMatcher(from: &reader)
    normalizedTokens = try AddedTokenMatcher(from: &reader)
    prefix = try reader.integers(Int32.self)
    suffix = try reader.integers(Int32.self)
    let counts = try reader.integers(Int32.self)
    let all = try reader.integers(UInt8.self)
    guard counts.count <= TokenizerFile.idLimit else { throw reader.damaged("it has too many tokens") }
    var tokens: [[UInt8]?] = []
    tokens.reserveCapacity(counts.count)
    var start = 0
    for count in counts {
      guard count <= all.count - start else { throw reader.damaged("a token is longer than all of them") }
      tokens.append(count < 0 ? nil : Array(all[start..<start + Int(count)]))
      start += max(0, Int(count))
    }
    guard addsPrefixSpace == false || !preTokenizers.isEmpty else { throw reader.damaged("nothing splits its words") }
    tokenBytes = tokens
    specialTokens = Set(try reader.integers(Int32.self))
    plainTokens = Set(try reader.integers(Int32.self))
    spellings = nil
  }

  /// The id of a token as the file spells it. Without a table of the spellings they follow from the bytes.
  func id(of token: String) -> Int32? {
    let spelling = Array(token.utf8)
    if let spellings {
      return spellings.table.find(spelling, 0..<spelling.count).map { spellings.tokens[$0] }
    }
    let decoded = ByteAlphabet.decode(token)
    return tokenBytes.indices.lazy.map { Int32(truncatingIfNeeded: $0) }.first { id in
      tokenBytes[Int(id)].map { $0 == (plainTokens.contains(id) ? spelling : decoded) } ?? false
    }
  }
}

extension PreTokenizer {
  fileprivate func write(to writer: inout ByteWriter) {
    switch self {
    case .modern(let digits):
      writer.add(0 as UInt8)
      writer.add(digits)
    case .gpt2: writer.add(1 as UInt8)
    case .digits(let individual):
      writer.add(2 as UInt8)
      writer.add(individual)
    }
  }

  fileprivate init(from reader: inout ByteReader) throws {
    switch try reader.read(UInt8.self) {
    case 0:
      let digits = try reader.read(Int.self)
      guard 1...1024 ~= digits else { throw reader.damaged("words cannot have \(digits) digits") }
      self = .modern(digits: digits)
    case 1: self = .gpt2
    case 2: self = .digits(individual: try reader.bool())
    default: throw reader.damaged("a pre-tokenizer is not known")
    }
  }
}

extension BytePairEncoder {
  fileprivate func write(to writer: inout ByteWriter) {
    writer.add(byteTokens)
    // In the order of their ranks: the same tokenizer always gives the same bytes.
    let pairs = merges.sorted { $0.value.rank < $1.value.rank }
    writer.add(pairs.map(\.key))
    writer.add(pairs.map(\.value.rank))
    writer.add(pairs.map(\.value.merged))
    writer.add(mergedByRank)
    writer.add(wholeWords != nil)
    if let (table, tokens) = wholeWords {
      writer.add(tokens)
      writer.add(Array(tokens.indices)) { number, writer in writer.add(Array(table.key(number))) }
    }
  }

  fileprivate init(from reader: inout ByteReader) throws {
    byteTokens = try reader.integers(Int32.self)
    let keys = try reader.integers(UInt64.self)
    let ranks = try reader.integers(Int32.self)
    let merged = try reader.integers(Int32.self)
    let byRank = try reader.integers(Int32.self)
    mergedByRank = byRank
    guard byteTokens.count == 256, ranks.count == keys.count, merged.count == keys.count,
      byRank.count < TokenizerFile.mergeLimit, ranks.allSatisfy({ byRank.indices.contains(Int($0)) })
    else { throw reader.damaged("its merges do not fit together") }
    var table: [UInt64: Merge] = [:]
    table.reserveCapacity(keys.count)
    for (index, key) in keys.enumerated() { table[key] = Merge(rank: ranks[index], merged: merged[index]) }
    merges = table
    guard try reader.bool() else {
      wholeWords = nil
      return
    }
    let tokens = try reader.integers(Int32.self)
    var words = ByteStringTable(capacity: min(tokens.count, TokenizerFile.idLimit))
    let all = try reader.elements { try $0.integers(UInt8.self) }
    guard all.count == tokens.count, all.allSatisfy({ words.insert($0, 0..<$0.count).isNew }) else {
      throw reader.damaged("its whole words do not fit together")
    }
    wholeWords = (words, tokens)
  }
}

extension AddedTokenMatcher {
  fileprivate func write(to writer: inout ByteWriter) {
    writer.add(Array(zip(tokens, patterns))) { pair, writer in
      let (token, pattern) = pair
      writer.add(token.id)
      writer.add(token.content)
      for flag in [token.singleWord, token.stripsLeft, token.stripsRight, token.isNormalized, token.isSpecial] {
        writer.add(flag)
      }
      writer.add(pattern)
    }
  }

  fileprivate init(from reader: inout ByteReader) throws {
    var patterns: [[UInt8]] = []
    let tokens = try reader.elements { reader in
      let token = AddedToken(
        id: try reader.read(Int32.self), content: try reader.text(), singleWord: try reader.bool(),
        stripsLeft: try reader.bool(), stripsRight: try reader.bool(), isNormalized: try reader.bool(),
        isSpecial: try reader.bool())
      patterns.append(try reader.integers(UInt8.self))
      return token
    }
    guard patterns.reduce(0, { $0 + $1.count }) < TokenizerFile.addedBytesLimit else {
      throw reader.damaged("its added tokens are too long")
    }
    self.init(tokens, patterns: patterns)
  }
}
