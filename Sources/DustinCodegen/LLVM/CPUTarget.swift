import DustinSupport

/// The instruction set that kernels are emitted for. Kernels are chosen by feature, never by CPU name.
public struct CPUTarget: Hashable, Sendable, CustomStringConvertible {
  public let level: CPULevel
  let llvmCPU = "x86-64"
  let features: String
  /// Vectors of 16 floats that one register tile may keep as accumulators beside its operands.
  let tile: Tile

  /// Register tile: rows times vectors of 16 columns.
  struct Tile: Hashable, Sendable {
    let rows: Int
    let vectors: Int
    /// Rows of an attention tile, largest first; sums of different ones make every smaller number.
    let attentionRows: [Int]
  }

  /// Has `vdpbf16ps` on 512-bit registers.
  var hasBF16Dot: Bool { level == .avx512BF16 }
  /// Has 512-bit registers and masks.
  var hasAVX512: Bool { level == .avx512BF16 || level == .v4 }
  /// Multiplies and adds with one rounding.
  var hasFMA: Bool { level != .v2 }

  /// What `--cpu` and the diagnostics call it.
  public var name: String { level.rawValue }
  public var description: String { name }

  public init(_ level: CPULevel) {
    self.level = level
    let v2 = "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt"
    let v3 = "+avx2,+fma,+bmi,+bmi2,+f16c,+popcnt,+lzcnt"
    let v4 = "+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512cd,"
    switch level {
    case .avx512BF16:
      features = v4 + "+avx512bf16," + v3
      tile = Tile(rows: 6, vectors: 4, attentionRows: [6, 4, 2, 1])
    case .v4:
      features = v4 + v3
      tile = Tile(rows: 5, vectors: 4, attentionRows: [5, 4, 2, 1])
    case .v3:
      features = v3
      tile = Tile(rows: 4, vectors: 1, attentionRows: [4, 2, 1])
    case .v2:
      features = v2
      tile = Tile(rows: 3, vectors: 1, attentionRows: [3, 2, 1])
    }
  }

  public static let avx512BF16 = CPUTarget(.avx512BF16)
  public static let v4 = CPUTarget(.v4)
  public static let v3 = CPUTarget(.v3)
  public static let v2 = CPUTarget(.v2)

  /// Best first.
  public static let all = CPULevel.allCases.map { CPUTarget($0) }

  /// Rows of a register tile, on any target.
  static let mostRows = all.map(\.tile.rows).max() ?? 1

  /// The best target that this machine runs.
  ///
  /// - Throws: `DiagnosticError` with id `unsupported-cpu` if there is none.
  public static func host() throws -> CPUTarget {
    guard let level = CPULevel.host else {
      throw DiagnosticError(
        "unsupported-cpu", "compiled code needs at least \(CPULevel.v2) (SSE4.2), which this CPU does not have")
    }
    return CPUTarget(level)
  }
}
