import DustinSupport

/// Byte-pair encoding of words: bytes are merged, the pair with the lowest rank first, the leftmost of equals.
///
/// Plain data; `Session` carries the scratch and the cache of one text.
struct BytePairEncoder: Sendable {
  struct Merge: Sendable {
    var rank: Int32
    var merged: Int32
  }

  /// Token of each byte; -1 for bytes without one, which only broken UTF-8 contains (the loader sees to that).
  let byteTokens: [Int32]
  /// By `pairKey`.
  let merges: [UInt64: Merge]
  /// Token that each merge makes, by rank.
  let mergedByRank: [Int32]
  /// Words that are tokens as they stand, whatever the merges would make of them (Llama 3's `ignore_merges`).
  let wholeWords: (table: ByteStringTable, tokens: [Int32])?

  static func pairKey(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
  }

  /// Encodes the words of one text: most words of a text have been seen before.
  struct Session {
    private let encoder: BytePairEncoder
    private var cache = ByteStringTable(capacity: 1024)
    /// The tokens of cached word i: `cachedTokens[cacheEnds[i - 1]..<cacheEnds[i]]`.
    private var cachedTokens: [Int32] = []
    private var cacheEnds: [Int] = []

    // Bounds of the cache's memory; texts of the usual kind reach neither.
    private static let longestCachedWord = 64
    private static let mostCachedWords = 1 << 18

    init(_ encoder: BytePairEncoder) { self.encoder = encoder }

    /// Appends the tokens of the word `bytes[range]`.
    mutating func encode(_ bytes: [UInt8], _ range: Range<Int>, into tokens: inout [Int32]) {
      guard range.count <= Session.longestCachedWord else {
        return encoder.encode(bytes, range, into: &tokens)
      }
      if cache.count >= Session.mostCachedWords {
        if let key = cache.find(bytes, range) {
          append(key, to: &tokens)
        } else {
          encoder.encode(bytes, range, into: &tokens)
        }
        return
      }
      let (key, isNew) = cache.insert(bytes, range)
      if isNew {
        encoder.encode(bytes, range, into: &cachedTokens)
        cacheEnds.append(cachedTokens.count)
      }
      append(key, to: &tokens)
    }

    private func append(_ key: Int, to tokens: inout [Int32]) {
      tokens.append(contentsOf: cachedTokens[(key == 0 ? 0 : cacheEnds[key - 1])..<cacheEnds[key]])
    }
  }

  private func encode(_ bytes: [UInt8], _ range: Range<Int>, into tokens: inout [Int32]) {
    if let (table, ids) = wholeWords, let key = table.find(bytes, range) {
      tokens.append(ids[key])
      return
    }
    var symbols: [Int32] = []
    symbols.reserveCapacity(range.count)
    for index in range where byteTokens[Int(bytes[index])] >= 0 { symbols.append(byteTokens[Int(bytes[index])]) }
    if symbols.count <= 32 { mergeShort(&symbols) } else { mergeLong(&symbols) }
    tokens.append(contentsOf: symbols)
  }

  /// Looks through all pairs for each merge: quadratic, but the fastest for words of the usual length.
  private func mergeShort(_ symbols: inout [Int32]) {
    // Rank of the pair that begins at each symbol; the last one's is never less than any.
    var ranks = [Int32](repeating: .max, count: symbols.count)
    for index in symbols.indices.dropLast() { ranks[index] = rank(symbols[index], symbols[index + 1]) }
    while true {
      var best = Int32.max
      var place = 0
      for (index, rank) in ranks.enumerated() where rank < best {
        best = rank
        place = index
      }
      guard best != .max else { return }
      symbols[place] = mergedByRank[Int(best)]
      symbols.remove(at: place + 1)
      ranks.remove(at: place + 1)
      ranks[place] = place + 1 < symbols.count ? rank(symbols[place], symbols[place + 1]) : .max
      if place > 0 { ranks[place - 1] = rank(symbols[place - 1], symbols[place]) }
    }
  }

  private func rank(_ left: Int32, _ right: Int32) -> Int32 {
    merges[BytePairEncoder.pairKey(left, right)]?.rank ?? .max
  }

  /// A heap of candidate pairs over a linked list of symbols: n log n, however long the word.
  private func mergeLong(_ symbols: inout [Int32]) {
    let count = symbols.count
    // Symbol i's neighbours; a symbol that was merged into its left neighbour is -1.
    var previous = Array(-1..<count - 1)
    var next = Array(1...count)
    var heap = MinHeap()
    func push(_ place: Int) {
      guard place >= 0, next[place] < count else { return }
      let rank = rank(symbols[place], symbols[next[place]])
      // Rank above place: the lowest rank first, the leftmost of equals. 24 bits hold a rank (the loader sees to that).
      if rank != .max { heap.push(UInt64(rank) << 40 | UInt64(place)) }
    }
    for place in 0..<count { push(place) }
    while let key = heap.pop() {
      let place = Int(key & (1 << 40 - 1))
      let right = next[place]
      guard symbols[place] >= 0, right < count else { continue }
      // An entry outlives its pair when one of the two symbols was merged away.
      let merge = merges[BytePairEncoder.pairKey(symbols[place], symbols[right])]
      guard let merge, UInt64(merge.rank) == key >> 40 else { continue }
      symbols[place] = merge.merged
      symbols[right] = -1
      next[place] = next[right]
      if next[place] < count { previous[next[place]] = place }
      push(previous[place])
      push(place)
    }
    symbols.removeAll { $0 < 0 }
  }
}

/// A binary heap of numbers, the smallest on top.
private struct MinHeap {
  private var keys: [UInt64] = []

  mutating func push(_ key: UInt64) {
    keys.append(key)
    var child = keys.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard keys[child] < keys[parent] else { return }
      keys.swapAt(child, parent)
      child = parent
    }
  }

  mutating func pop() -> UInt64? {
    guard let top = keys.first, let last = keys.popLast() else { return nil }
    guard !keys.isEmpty else { return top }
    keys[0] = last
    var parent = 0
    while true {
      var child = 2 * parent + 1
      guard child < keys.count else { return top }
      if child + 1 < keys.count, keys[child + 1] < keys[child] { child += 1 }
      guard keys[child] < keys[parent] else { return top }
      keys.swapAt(child, parent)
      parent = child
    }
  }
}
