import CDustin

/// A set of instructions that code is made for, best first; each one contains those behind it. What `--cpu` names.
public enum CPULevel: String, CaseIterable, Hashable, Sendable, CustomStringConvertible {
  /// AVX-512 with dot products of bf16.
  case avx512BF16 = "avx512-bf16"
  /// AVX-512 (F, BW, CD, DQ, VL).
  case v4 = "x86-64-v4"
  /// AVX2 and FMA.
  case v3 = "x86-64-v3"
  /// SSE4.2.
  case v2 = "x86-64-v2"

  public var description: String { rawValue }

  /// The best level that this machine runs; nil when it runs none.
  public static var host: CPULevel? { runnable.first }

  /// All levels that this machine runs, best first.
  public static let runnable: [CPULevel] = {
    let level = dustin_cpu_level()
    return allCases.filter { $0.number <= level }
  }()

  /// What `dustin_cpu_level` calls it.
  private var number: Int32 {
    switch self {
    case .v2: 2
    case .v3: 3
    case .v4: 4
    case .avx512BF16: 5
    }
  }
}
