/// Random numbers that are a function of what they are for, without state: the same for every batch, thread count and
/// order of work. Philox-4x32 with 10 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
public struct KeyedRandom: Sendable, Equatable {
  /// What a number decides; each purpose has its own stream.
  public enum Purpose: UInt32, Sendable {
    /// The token at a position, sampled from the target: plain decoding, the bonus token and the residual.
    case sample
    /// Whether the proposal for a position is accepted.
    case accept
    /// The draft's proposal for a position.
    case draft
    /// Another source of numbers.
    case derive
  }

  public let seed: UInt64
  /// The sequence, by a number of its own and not by its place in a batch.
  public let sequence: UInt64

  public init(seed: UInt64, sequence: UInt64) {
    self.seed = seed
    self.sequence = sequence
  }

  /// Uniform in [0, 1), 53 bits.
  public func uniform(_ purpose: Purpose, position: Int) -> Double {
    let words = words(purpose, position: position)
    let bits = UInt64(words[0]) << 32 | UInt64(words[1])
    return Double(bits >> 11) * 0x1p-53
  }

  /// A source whose numbers are independent of this one's and of those derived with another number.
  public func derived(_ number: Int) -> KeyedRandom {
    let words = words(.derive, position: number)
    return KeyedRandom(
      seed: UInt64(words[0]) << 32 | UInt64(words[1]), sequence: UInt64(words[2]) << 32 | UInt64(words[3]))
  }

  private func words(_ purpose: Purpose, position: Int) -> SIMD4<UInt32> {
    let counter = SIMD4<UInt32>(
      UInt32(truncatingIfNeeded: sequence), UInt32(truncatingIfNeeded: sequence >> 32),
      UInt32(truncatingIfNeeded: position), purpose.rawValue)
    return Self.philox(counter, key: (UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32)))
  }

  static func philox(_ counter: SIMD4<UInt32>, key: (UInt32, UInt32)) -> SIMD4<UInt32> {
    var (c0, c1, c2, c3) = (counter[0], counter[1], counter[2], counter[3])
    var (k0, k1) = key
    for _ in 0..<10 {
      let p0 = c0.multipliedFullWidth(by: 0xD251_1F53)
      let p1 = c2.multipliedFullWidth(by: 0xCD9E_8D57)
      (c0, c1, c2, c3) = (p1.high ^ c1 ^ k0, p1.low, p0.high ^ c3 ^ k1, p0.low)
      k0 &+= 0x9E37_79B9
      k1 &+= 0xBB67_AE85
    }
    return SIMD4(c0, c1, c2, c3)
  }
}
