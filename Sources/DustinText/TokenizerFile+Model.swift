import DustinSupport

extension TokenizerFile {
  // MARK: Model

  func readModel(_ vocabulary: inout Vocabulary) throws -> BytePairEncoder {
    guard let model = root["model"] else { throw error("the file lacks a 'model'", root) }
    guard model.objectEntries != nil else { throw error("the model must be an object", model) }
    // Old files leave the type of a BPE model out.
    if let type = model["type"] {
      guard let name = type.stringValue else { throw error("the type of the model must be a string", type) }
      if name == "Unigram" { throw sentencePiece("the model 'Unigram'", type) }
      guard name == "BPE" else { throw error("the model '\(name)' is not supported; known is BPE", type) }
    }
    if try flag("byte_fallback", of: model, default: false), let value = model["byte_fallback"] {
      throw sentencePiece("'byte_fallback'", value)
    }
    if let dropout = model["dropout"], !dropout.isNull, dropout.doubleValue != 0 {
      throw error("'dropout' is for training; with it a text has no fixed tokens", dropout)
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
      if let value = model[key], !value.isNull, value.stringValue != "" {
        throw error("'\(key)' is not supported in a byte-level model", value)
      }
    }
    let wordTokens = try readVocabulary(model, &vocabulary)
    let byteTokens = try readByteTokens(model, vocabulary)
    let (merges, mergedByRank) = try readMerges(model, vocabulary)
    var wholeWords: (ByteStringTable, [Int32])?
    if try flag("ignore_merges", of: model, default: false) {
      var table = ByteStringTable(capacity: wordTokens.count)
      for id in wordTokens {
        let bytes = vocabulary.tokenBytes[Int(id)] ?? []
        _ = table.insert(bytes, 0..<bytes.count)
      }
      wholeWords = (table, wordTokens)
    }
    return BytePairEncoder(
      byteTokens: byteTokens, merges: merges, mergedByRank: mergedByRank, wholeWords: wholeWords)
  }

  /// Fills the vocabulary; returns the ids of the tokens that are spelt in the byte alphabet.
  private func readVocabulary(_ model: JSONValue, _ vocabulary: inout Vocabulary) throws -> [Int32] {
    guard let value = model["vocab"] else { throw error("the model lacks 'vocab'", model) }
    guard let entries = value.objectEntries else {
      // Unigram models of old files are told apart by their list of pairs.
      if value.arrayValue != nil { throw sentencePiece("a vocabulary in a list", value) }
      throw error("'vocab' must be an object", value)
    }
    var wordTokens: [Int32] = []
    wordTokens.reserveCapacity(entries.count)
    vocabulary.spellings = ByteStringTable(capacity: entries.count + 1024)
    for (spelling, idValue) in entries {
      let id = try tokenID(idValue)
      let decoded = ByteAlphabet.decode(spelling)
      // A token beyond the byte alphabet is never made by merges, yet a template or a model may name it.
      guard vocabulary.insert(Array(spelling.utf8), id, bytes: decoded ?? Array(spelling.utf8)) else {
        throw error("two tokens have the id \(id)", idValue)
      }
      if decoded != nil {
        wordTokens.append(Int32(truncatingIfNeeded: id))
      } else {
        vocabulary.plainTokens.insert(Int32(truncatingIfNeeded: id))
      }
    }
    return wordTokens
  }

  private func readByteTokens(_ model: JSONValue, _ vocabulary: Vocabulary) throws -> [Int32] {
    try (UInt8.min...UInt8.max).map { byte in
      let scalar = ByteAlphabet.scalars[Int(byte)]
      if let id = vocabulary.id(of: Array(String(scalar).utf8)) { return id }
      // Bytes that no UTF-8 text contains may be missing.
      if byte == 0xC0 || byte == 0xC1 || byte >= 0xF5 { return -1 }
      // With a token for each byte, an unknown token never comes into play, so that `unk_token` may be ignored.
      throw error(
        "the vocabulary has no token for the byte \(byte), spelt '\(scalar)'; "
          + "texts would lose it or need an unknown token",
        model["vocab"] ?? model)
    }
  }

  private func readMerges(
    _ model: JSONValue, _ vocabulary: Vocabulary
  ) throws -> ([UInt64: BytePairEncoder.Merge], [Int32]) {
    let values = try array("merges", of: model, "model")
    guard values.count < TokenizerFile.mergeLimit else {
      throw error("there are more than \(TokenizerFile.mergeLimit) merges", model["merges"] ?? model)
    }
    var merges: [UInt64: BytePairEncoder.Merge] = [:]
    merges.reserveCapacity(values.count)
    var mergedByRank: [Int32] = []
    mergedByRank.reserveCapacity(values.count)
    for (rank, value) in values.enumerated() {
      let (left, right) = try mergeParts(value)
      guard let leftID = vocabulary.id(of: left) else { throw unknownPart(left, value) }
      guard let rightID = vocabulary.id(of: right) else { throw unknownPart(right, value) }
      guard let merged = vocabulary.id(of: left + right) else { throw unknownPart(left + right, value) }
      // Of two equal merges the last one counts.
      merges[BytePairEncoder.pairKey(leftID, rightID)] = .init(
        rank: Int32(truncatingIfNeeded: rank), merged: merged)
      mergedByRank.append(merged)
    }
    return (merges, mergedByRank)
  }

  private func unknownPart(_ part: [UInt8], _ value: JSONValue) -> DiagnosticError {
    error("the merge names '\(String(decoding: part, as: UTF8.self))', which is not in the vocabulary", value)
  }

  /// `"a b"` of older files or `["a", "b"]` of newer ones.
  private func mergeParts(_ value: JSONValue) throws -> (left: [UInt8], right: [UInt8]) {
    if let pair = value.arrayValue, pair.count == 2, let left = pair[0].stringValue, let right = pair[1].stringValue {
      return (Array(left.utf8), Array(right.utf8))
    }
    if let text = value.stringValue {
      let parts = text.utf8.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
      if parts.count == 2 { return (Array(parts[0]), Array(parts[1])) }
    }
    throw error("a merge must be two tokens, in an array or in a string with one space between them", value)
  }

  // MARK: Added tokens

  func readAddedTokens(_ vocabulary: inout Vocabulary) throws -> [AddedToken] {
    guard let list = root["added_tokens"], !list.isNull else { return [] }
    guard let values = list.arrayValue else { throw error("'added_tokens' must be an array", list) }
    var result: [AddedToken] = []
    var seen: Set<Int32> = []
    var totalBytes = 0
    for value in values {
      let token = try readAddedToken(value)
      totalBytes += token.content.utf8.count
      guard totalBytes < TokenizerFile.addedBytesLimit else { throw error("the added tokens are too long", list) }
      let spelling = Array(token.content.utf8)
      if let known = vocabulary.id(of: spelling) {
        guard known == token.id else {
          throw error("the added token '\(token.content)' has the id \(token.id) but \(known) in the vocabulary", value)
        }
        guard seen.insert(token.id).inserted else {
          throw error("the added token '\(token.content)' is listed twice", value)
        }
        // Cut out of the text as it stands, it is no longer spelt in the byte alphabet.
        vocabulary.tokenBytes[Int(token.id)] = spelling
      } else {
        guard vocabulary.insert(spelling, Int(token.id), bytes: spelling) else {
          throw error("the added token '\(token.content)' has the id \(token.id) of another token", value)
        }
        seen.insert(token.id)
      }
      result.append(token)
    }
    return result
  }

  private func readAddedToken(_ value: JSONValue) throws -> AddedToken {
    guard value.objectEntries != nil else { throw error("an added token must be an object", value) }
    guard let idValue = value["id"] else { throw error("the added token lacks an 'id'", value) }
    guard let content = value["content"]?.stringValue else { throw error("the added token lacks its 'content'", value) }
    guard !content.isEmpty else { throw error("the content of an added token is empty", value) }
    let isSpecial = try flag("special", of: value, default: false)
    return AddedToken(
      id: Int32(truncatingIfNeeded: try tokenID(idValue)), content: content,
      singleWord: try flag("single_word", of: value, default: false),
      stripsLeft: try flag("lstrip", of: value, default: false),
      stripsRight: try flag("rstrip", of: value, default: false),
      isNormalized: try flag("normalized", of: value, default: !isSpecial), isSpecial: isSpecial)
  }
}
