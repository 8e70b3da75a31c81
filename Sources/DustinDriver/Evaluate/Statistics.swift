#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A mean over groups of unequal size, and how uncertain it is.
///
/// Values of one group (the tokens of one window) depend on each other, so that the standard error is taken over groups:
/// with sums S_g of n_g values and the mean m = Σ S_g / Σ n_g it is sqrt(G/(G−1) Σ (S_g − m n_g)²) / Σ n_g, the usual
/// estimate for a ratio of sums.
struct GroupedMean: Codable {
  private(set) var sums: [Double] = []
  private(set) var counts: [Int] = []

  mutating func add(sum: Double, count: Int) {
    guard count > 0 else { return }
    sums.append(sum)
    counts.append(count)
  }

  var count: Int { counts.reduce(0, +) }
  /// 0 without values.
  var mean: Double { count == 0 ? 0 : sums.reduce(0, +) / Double(count) }
  /// Nil below two groups.
  var standardError: Double? {
    guard sums.count > 1 else { return nil }
    let mean = self.mean
    let squares = zip(sums, counts).reduce(0.0) { total, group in
      let rest = group.0 - mean * Double(group.1)
      return total + rest * rest
    }
    let groups = Double(sums.count)
    return (groups / (groups - 1) * squares).squareRoot() / Double(count)
  }
}

/// The same questions answered by two: what one lost and won against the other.
struct PairedCount: Equatable, Codable {
  private(set) var count = 0
  /// Right by the one that is judged, and by the one that it is compared with.
  private(set) var right = 0
  private(set) var baseRight = 0
  /// Wrong where the other is right, and the reverse.
  private(set) var lost = 0
  private(set) var won = 0

  mutating func add(_ isRight: Bool, base: Bool) {
    count += 1
    right += isRight ? 1 : 0
    baseRight += base ? 1 : 0
    lost += base && !isRight ? 1 : 0
    won += isRight && !base ? 1 : 0
  }

  static func + (a: PairedCount, b: PairedCount) -> PairedCount {
    var sum = a
    sum.count += b.count
    sum.right += b.right
    sum.baseRight += b.baseRight
    sum.lost += b.lost
    sum.won += b.won
    return sum
  }

  var accuracy: Double { count == 0 ? 0 : Double(right) / Double(count) }
  /// (lost − won) / count.
  var lossRate: Double { count == 0 ? 0 : Double(lost - won) / Double(count) }
  /// Of `lossRate`: each prompt counts −1, 0 or 1. Nil below two prompts.
  var standardError: Double? {
    guard count > 1 else { return nil }
    let n = Double(count)
    let squares = Double(lost + won) - Double((lost - won) * (lost - won)) / n
    return (squares / (n * (n - 1))).squareRoot()
  }
}

/// e^x and ln x, for files without the C library.
func exponential(_ x: Double) -> Double { exp(x) }
func logarithm(_ x: Double) -> Double { log(x) }

/// ln Σ exp(x), for f32 logits in f64.
func logSumExp(_ logits: UnsafeBufferPointer<Float>) -> Double {
  var greatest = -Float.infinity
  for value in logits where value > greatest { greatest = value }
  guard greatest.isFinite else { return Double(greatest) }
  var sum = 0.0
  for value in logits { sum += Double(expf(value - greatest)) }
  return Double(greatest) + log(sum)
}

/// D(p ‖ q) in nats between the softmax of two rows of logits.
func divergence(_ p: UnsafeBufferPointer<Float>, _ q: UnsafeBufferPointer<Float>) -> Double {
  let (pSum, qSum) = (logSumExp(p), logSumExp(q))
  var total = 0.0
  for index in 0..<min(p.count, q.count) {
    let logP = Double(p[index]) - pSum
    // Below e^-40 nothing is left to add.
    if logP < -40 { continue }
    total += exp(logP) * (logP - (Double(q[index]) - qSum))
  }
  return max(0, total)
}
