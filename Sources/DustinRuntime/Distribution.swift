import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Probabilities over the vocabulary after temperature, top-k, top-p and min-p.
///
/// Tokens stand in ascending order, so that a number u in [0, 1) always picks the same token.
public struct Distribution: Sendable, Equatable {
  /// The tokens that are left; nil: 0, 1, 2, …
  public private(set) var tokens: [Int32]?
  /// Of each token that is left, with sum 1.
  public private(set) var probabilities: [Double]

  /// - Parameters:
  ///   - tokens: Ascending and without repetition; nil: 0, 1, 2, …
  ///   - weights: Not negative, one a token, with a sum above 0; scaled to sum 1.
  /// - Throws: `DiagnosticError` with id `distribution`.
  public init(tokens: [Int32]? = nil, weights: [Double]) throws {
    let sum = weights.reduce(0, +)
    guard sum.isFinite, sum > 0, weights.allSatisfy({ $0 >= 0 }), (tokens?.count ?? weights.count) == weights.count,
      tokens.map({ zip($0, $0.dropFirst()).allSatisfy(<) }) ?? true
    else { throw DiagnosticError("distribution", "the probabilities do not make a distribution") }
    self.init(checked: tokens, weights: weights, sum: sum)
  }

  private init(checked tokens: [Int32]?, weights: [Double], sum: Double) {
    self.tokens = tokens
    probabilities = weights
    if sum != 1 {
      let scale = 1 / sum
      for index in probabilities.indices { probabilities[index] *= scale }
    }
  }

  /// The distribution that `sampling` makes of logits; its temperature must not be 0.
  ///
  /// Order: temperature, top-k, softmax, top-p, min-p, then probabilities are scaled to sum 1. Equal logits go by lower
  /// id first.
  /// - Parameter model: Who made the logits, for the message.
  /// - Throws: `DiagnosticError` with id `logits` when no logit is finite.
  public init(logits: UnsafeBufferPointer<Float>, sampling: Sampling, of model: String = "the model") throws {
    let greatest = maximum(logits)
    guard greatest.isFinite else { throw DiagnosticError("logits", "\(model)'s logits are not finite") }
    let scale = 1 / sampling.temperature
    func weight(_ logit: Float) -> Float {
      // NaN is no candidate; a temperature near 0 may make the product -inf · … = NaN only for logits of -inf.
      let value = expf((logit - greatest) * scale)
      return logit == greatest ? 1 : value.isNaN ? 0 : value
    }
    let all = sampling.topK == 0 || sampling.topK >= logits.count
    guard !all || sampling.topP < 1 || sampling.minP > 0 else {
      var weights = [Double](repeating: 0, count: logits.count)
      var sum = 0.0
      for (index, logit) in logits.enumerated() {
        weights[index] = Double(weight(logit))
        sum += weights[index]
      }
      self.init(checked: nil, weights: weights, sum: sum)
      return
    }
    var candidates: [Candidate]
    if all {
      candidates = logits.enumerated().map { Candidate(token: Int32($0), weight: weight($1)) }
    } else {
      candidates = mostProbable(
        sampling.topK, of: logits.enumerated().lazy.map { Candidate(token: Int32($0), weight: $1) })
      for index in candidates.indices { candidates[index].weight = weight(candidates[index].weight) }
    }
    if sampling.topP < 1 { candidates = nucleus(candidates, sampling.topP) }
    if sampling.minP > 0 { candidates.removeAll { $0.weight < sampling.minP } }
    candidates.sort { $0.token < $1.token }
    let weights = candidates.map { Double($0.weight) }
    self.init(checked: candidates.map(\.token), weights: weights, sum: weights.reduce(0, +))
  }

  /// The token at `u` in [0, 1) of the cumulated probabilities.
  public func sample(_ u: Double) -> Int32 {
    var rest = u
    var last = 0
    for (index, probability) in probabilities.enumerated() where probability > 0 {
      if rest < probability { return token(index) }
      rest -= probability
      last = index
    }
    // Rounding left the sum below u.
    return token(last)
  }

  public func probability(of token: Int32) -> Double {
    guard let tokens else { return probabilities.indices.contains(Int(token)) ? probabilities[Int(token)] : 0 }
    var (low, high) = (0, tokens.count)
    while low < high {
      let middle = (low + high) / 2
      if tokens[middle] < token { low = middle + 1 } else { high = middle }
    }
    return low < tokens.count && tokens[low] == token ? probabilities[low] : 0
  }

  /// norm(max(p − q, 0)), from which a rejected position is drawn (Leviathan et al. 2023); p itself when nothing is
  /// left, which only rounding can bring about.
  public func residual(_ q: Distribution) -> Distribution {
    var weights = probabilities
    var sum = 0.0
    var other = 0
    for index in weights.indices {
      let token = token(index)
      while other < q.probabilities.count, q.token(other) < token { other += 1 }
      if other < q.probabilities.count, q.token(other) == token {
        weights[index] = max(weights[index] - q.probabilities[other], 0)
      }
      sum += weights[index]
    }
    return sum > 0 ? Distribution(checked: tokens, weights: weights, sum: sum) : self
  }

  /// The residual against a proposal that was certain: p without that token.
  public func residual(point token: Int32) -> Distribution {
    var weights = probabilities
    var sum = 0.0
    for index in weights.indices {
      if self.token(index) == token { weights[index] = 0 }
      sum += weights[index]
    }
    return sum > 0 ? Distribution(checked: tokens, weights: weights, sum: sum) : self
  }

  private func token(_ index: Int) -> Int32 { tokens?[index] ?? Int32(index) }
}

/// A token and its logit or weight.
struct Candidate {
  var token: Int32
  var weight: Float

  /// More probable, or equally and with the lower id.
  static func precedes(_ a: Candidate, _ b: Candidate) -> Bool {
    a.weight > b.weight || (a.weight == b.weight && a.token < b.token)
  }
}

/// The first `count` candidates by `Candidate.precedes`, in no order; NaN is left out. One pass with a heap whose top is
/// the least of those kept, so that most candidates cost one comparison.
func mostProbable<Candidates: Sequence>(_ count: Int, of candidates: Candidates) -> [Candidate]
where Candidates.Element == Candidate {
  var heap: [Candidate] = []
  guard count > 0 else { return heap }
  for candidate in candidates where !candidate.weight.isNaN {
    if heap.count < count {
      heap.append(candidate)
      var child = heap.count - 1
      while child > 0, Candidate.precedes(heap[(child - 1) / 2], heap[child]) {
        heap.swapAt(child, (child - 1) / 2)
        child = (child - 1) / 2
      }
    } else if Candidate.precedes(candidate, heap[0]) {
      heap[0] = candidate
      var parent = 0
      while true {
        var least = parent
        for child in [2 * parent + 1, 2 * parent + 2] where child < count {
          if Candidate.precedes(heap[least], heap[child]) { least = child }
        }
        if least == parent { break }
        heap.swapAt(parent, least)
        parent = least
      }
    }
  }
  return heap
}

/// The fewest most probable candidates whose share of the sum reaches `share`, in no order.
///
/// Without a full sort: the weights, which lie in 0 … 1, are summed in buckets by their leading bits; only the bucket in
/// which the share is reached is sorted.
func nucleus(_ candidates: [Candidate], _ share: Float) -> [Candidate] {
  let shift: UInt32 = 17  // 64 buckets to the power of two
  var mass = [Double](repeating: 0, count: Int(Float(1).bitPattern >> shift) + 1)
  func bucket(_ candidate: Candidate) -> Int { min(Int(candidate.weight.bitPattern >> shift), mass.count - 1) }
  for candidate in candidates { mass[bucket(candidate)] += Double(candidate.weight) }
  let wanted = mass.reduce(0, +) * Double(share)
  var reached = 0.0
  var last = mass.count - 1
  while last > 0, reached + mass[last] < wanted {
    reached += mass[last]
    last -= 1
  }
  var kept = candidates.filter { bucket($0) > last }
  for candidate in candidates.filter({ bucket($0) == last }).sorted(by: Candidate.precedes) where reached < wanted {
    kept.append(candidate)
    reached += Double(candidate.weight)
  }
  return kept
}
