import CLLVM
import DustinSupport

/// The instruction set that kernels are emitted for. Kernels are chosen by feature, never by CPU name.
public struct CPUTarget: Hashable, Sendable, CustomStringConvertible {
  /// `avx512-bf16`, `generic`, …; what `--cpu` and the diagnostics call it.
  public let name: String
  let llvmCPU: String
  let features: String
  /// Has `vdpbf16ps` on 512-bit registers.
  let hasBF16Dot: Bool
  /// Vectors of 16 floats that one register tile may keep as accumulators beside its operands.
  let tile: Tile

  /// Register tile: rows times vectors of 16 columns.
  struct Tile: Hashable, Sendable {
    let rows: Int
    let vectors: Int
  }

  public var description: String { name }

  /// AVX-512 with BF16 dot products.
  public static let avx512BF16 = CPUTarget(
    name: "avx512-bf16", llvmCPU: "x86-64",
    features: "+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512cd,+avx512bf16,+avx2,+fma,+bmi,+bmi2,+f16c,+popcnt,+lzcnt",
    hasBF16Dot: true, tile: Tile(rows: 6, vectors: 4))

  /// AVX2 and FMA; no dot products of bf16.
  public static let generic = CPUTarget(
    name: "generic", llvmCPU: "x86-64", features: "+avx2,+fma,+bmi,+bmi2,+f16c,+popcnt,+lzcnt", hasBF16Dot: false,
    tile: Tile(rows: 4, vectors: 1))

  public static let all = [avx512BF16, generic]

  /// The best target that this machine runs.
  public static func host() throws -> CPUTarget {
    guard let text = LLVMGetHostCPUFeatures() else { throw unsupported("unknown features") }
    defer { LLVMDisposeMessage(text) }
    let features = Set(String(cString: text).split(separator: ",").map(String.init))
    func has(_ target: CPUTarget) -> Bool {
      target.features.split(separator: ",").allSatisfy { features.contains(String($0)) }
    }
    if let best = all.first(where: has) { return best }
    throw unsupported("neither AVX-512 BF16 nor AVX2 with FMA")
  }

  private static func unsupported(_ what: String) -> DiagnosticError {
    DiagnosticError("unsupported-cpu", "this CPU has \(what); compiled code needs x86-64 with AVX2 and FMA")
  }
}
