/// The generator SplitMix64 (Steele, Lea, Flood 2014): the same numbers for the same seed on every machine.
public struct SplitMix: RandomNumberGenerator, Sendable {
  private var state: UInt64

  public init(seed: UInt64) { state = seed }

  /// A stream of its own for every combination of keys.
  public init(_ keys: UInt64...) {
    state = 0
    for key in keys {
      state ^= key
      state = next()
    }
  }

  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// A number of 0 ..< `bound`; 0 for bounds below 1.
  public mutating func below(_ bound: Int) -> Int { bound > 1 ? Int(next() % UInt64(bound)) : 0 }

  public mutating func pick<T>(_ values: [T]) -> T? { values.isEmpty ? nil : values[below(values.count)] }

  /// `count` different elements, in random order.
  public mutating func pick<T>(_ count: Int, of values: [T]) -> [T] {
    var rest = values
    var picked: [T] = []
    while picked.count < count, !rest.isEmpty { picked.append(rest.remove(at: below(rest.count))) }
    return picked
  }
}
