/// Tokens that stand outside the vocabulary's merges and are cut out of the text before everything else.
struct AddedToken: Sendable {
  var id: Int32
  var content: String
  /// Only where no word character touches it.
  var singleWord: Bool
  /// Swallows the white space before it.
  var stripsLeft: Bool
  /// Swallows the white space behind it.
  var stripsRight: Bool
  /// Sought in the normalised text, else in the text as given.
  var isNormalized: Bool
  var isSpecial: Bool
}

/// Finds added tokens in a text: the leftmost, of those the longest.
struct AddedTokenMatcher: Sendable {
  let tokens: [AddedToken]
  /// The bytes that are sought for each.
  let patterns: [[UInt8]]
  /// Tree of the tokens' bytes: (node, byte) to node; the root is 0.
  private var edges: [UInt32: UInt32] = [:]
  /// Index of the token that ends at a node, or -1.
  private var ends: [Int] = [-1]
  /// First bytes of tokens: most bytes of a text are none.
  private var begins = [Bool](repeating: false, count: 256)

  /// - Parameter patterns: The bytes to seek for each token; the loader refuses so many that a node's number would need
  ///   more than 24 bits.
  init(_ tokens: [AddedToken], patterns: [[UInt8]]) {
    self.tokens = tokens
    self.patterns = patterns
    for (index, pattern) in patterns.enumerated() {
      guard let first = pattern.first else { continue }
      begins[Int(first)] = true
      var node: UInt32 = 0
      for byte in pattern {
        let edge = node << 8 | UInt32(byte)
        if let next = edges[edge] {
          node = next
        } else {
          node = UInt32(truncatingIfNeeded: ends.count)
          edges[edge] = node
          ends.append(-1)
        }
      }
      // Of two tokens with the same pattern the first is found.
      if ends[Int(node)] < 0 { ends[Int(node)] = index }
    }
  }

  var isEmpty: Bool { tokens.isEmpty }

  /// The parts that tile `bytes[range]`: a token's number, or nil for text.
  ///
  /// - Parameter findsSpecial: False leaves special tokens in the text.
  func split(
    _ bytes: [UInt8], _ range: Range<Int>, findsSpecial: Bool, _ body: (Int32?, Range<Int>) -> Void
  ) {
    var done = range.lowerBound
    var position = range.lowerBound
    while position < range.upperBound {
      guard begins[Int(bytes[position])], let (token, end) = longest(bytes, position, range.upperBound) else {
        position += 1
        continue
      }
      var start = position
      var stop = end
      position = end
      if token.isSpecial, !findsSpecial { continue }
      if token.singleWord, touchesWord(bytes, start, stop, range) { continue }
      // What an earlier token has swallowed is not swallowed again.
      if token.stripsLeft { start = skipSpaceBackwards(bytes, start, max(done, range.lowerBound)) }
      if token.stripsRight { stop = skipSpace(bytes, stop, range.upperBound) }
      if done < start { body(nil, done..<start) }
      body(token.id, start..<stop)
      done = stop
    }
    if done < range.upperBound { body(nil, done..<range.upperBound) }
  }

  private func longest(_ bytes: [UInt8], _ start: Int, _ limit: Int) -> (AddedToken, Int)? {
    var node: UInt32 = 0
    var position = start
    var found: (AddedToken, Int)?
    while position < limit, let next = edges[node << 8 | UInt32(bytes[position])] {
      node = next
      position += 1
      if ends[Int(node)] >= 0 { found = (tokens[ends[Int(node)]], position) }
    }
    return found
  }

  private func touchesWord(_ bytes: [UInt8], _ start: Int, _ stop: Int, _ range: Range<Int>) -> Bool {
    if start > range.lowerBound, isWord(UTF8Scalar.readBackwards(bytes, before: start).scalar) { return true }
    return stop < range.upperBound && isWord(UTF8Scalar.read(bytes, stop).scalar)
  }

  /// `\w` of Unicode's regular expressions (UTS #18, annex C).
  private func isWord(_ scalar: Unicode.Scalar) -> Bool {
    if scalar.properties.isAlphabetic || scalar.properties.isJoinControl { return true }
    switch scalar.properties.generalCategory {
    case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: return true
    default: return false
    }
  }

  private func skipSpace(_ bytes: [UInt8], _ start: Int, _ limit: Int) -> Int {
    var position = start
    while position < limit {
      let (scalar, count) = UTF8Scalar.read(bytes, position)
      guard ScalarClass(scalar) == .space else { break }
      position += count
    }
    return position
  }

  private func skipSpaceBackwards(_ bytes: [UInt8], _ end: Int, _ limit: Int) -> Int {
    var position = end
    while position > limit {
      let (scalar, count) = UTF8Scalar.readBackwards(bytes, before: position)
      guard ScalarClass(scalar) == .space, position - count >= limit else { break }
      position -= count
    }
    return position
  }
}
