import DustinSupport

/// The same numbers for the same seed on every machine, for tests that name the seed that failed.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
  private var base: SplitMix

  public init(seed: UInt64) { base = SplitMix(seed: seed) }

  public mutating func next() -> UInt64 { base.next() }

  /// Of mean 0 and variance 1, within ±3.47: the sum of four uniform numbers is near enough to normal for a weight.
  public mutating func normal() -> Float {
    var sum: Float = 0
    for _ in 0..<4 { sum += Float(next() >> 40) / Float(1 << 24) }
    return (sum - 2) * 1.7320508
  }

  public mutating func normals(_ count: Int, mean: Float = 0, deviation: Float = 1) -> [Float] {
    (0..<count).map { _ in mean + deviation * normal() }
  }
}
