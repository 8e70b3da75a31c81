import DustinPasses

/// How much of a head's attention falls on what is asked for while the answer is given: semantic retrieval heads, found
/// as CompressKV (arXiv 2508.02401) does it, but with the given answer's tokens as rows.
///
///     score(h) = mean over prompts and answer tokens of Σ_{j in the statement's value} a_h[row before the token, j]
struct HeadScores: Equatable {
  /// 0 … 1, [layer][head].
  var scores: [[Double]]

  /// The heads of a layer, best first; the lower number where two are equal.
  func order(ofLayer layer: Int) -> [Int] {
    let heads = scores[layer]
    return heads.indices.sorted { (heads[$1], $0) < (heads[$0], $1) }
  }

  /// The best `count` heads of a layer; all of them go by `nil`.
  func best(_ count: Int, ofLayer layer: Int) -> HeadChoice.Layer {
    let order = order(ofLayer: layer)
    return HeadChoice.Layer(layer, count >= order.count ? nil : order.prefix(count).sorted())
  }

  /// Layers by the sum of their best `heads` heads.
  func layers(byBest heads: Int) -> [Int] {
    let sums = scores.indices.map { layer in
      order(ofLayer: layer).prefix(heads).reduce(0.0) { $0 + scores[layer][$1] }
    }
    return sums.indices.sorted { (sums[$1], $0) < (sums[$0], $1) }
  }

  /// The best heads of the model.
  func top(_ count: Int) -> [(layer: Int, head: Int, score: Double)] {
    let all = scores.enumerated().flatMap { layer, heads in
      heads.enumerated().map { (layer: layer, head: $0.offset, score: $0.element) }
    }
    return Array(all.sorted { ($1.score, $0.layer, $0.head) < ($0.score, $1.layer, $1.head) }.prefix(count))
  }
}

/// Sums of many prompts.
struct HeadScoreSum {
  private var sums: [[Double]] = []
  private var rows = 0

  /// - Parameter masses: [layer][head], summed over `rows` rows.
  mutating func add(_ masses: [[Double]], rows: Int) {
    if sums.isEmpty { sums = masses.map { $0.map { _ in 0 } } }
    for (layer, heads) in masses.enumerated() where sums.indices.contains(layer) {
      for (head, mass) in heads.enumerated() where sums[layer].indices.contains(head) { sums[layer][head] += mass }
    }
    self.rows += rows
  }

  /// Nil without prompts.
  var scores: HeadScores? {
    rows == 0 ? nil : HeadScores(scores: sums.map { $0.map { $0 / Double(rows) } })
  }
}

extension EvaluationPrompt {
  /// Tokens of the prompt that hold the asked value; nil when it stands there in no one place.
  ///
  /// - Parameter bytes: What a token stands for.
  func valueTokens(bytes: (Int32) -> [UInt8]) -> Range<Int>? {
    var value = Array(answer.utf8)[...]
    if value.first == UInt8(ascii: " ") { value = value.dropFirst() }
    if value.last == UInt8(ascii: ".") { value = value.dropLast() }
    guard !value.isEmpty else { return nil }
    var text: [UInt8] = []
    var ends: [Int] = []
    for token in tokens {
      text += bytes(token)
      ends.append(text.count)
    }
    var found: Int?
    var start = 0
    while start + value.count <= text.count {
      if text[start] == value[value.startIndex], text[start..<start + value.count].elementsEqual(value) {
        if found != nil { return nil }
        found = start
      }
      start += 1
    }
    guard let found, let first = ends.firstIndex(where: { $0 > found }),
      let last = ends.firstIndex(where: { $0 >= found + value.count })
    else { return nil }
    return first..<last + 1
  }
}
