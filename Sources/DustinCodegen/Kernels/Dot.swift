import CLLVM

/// How a vector of 16 outputs takes in the next *unit* of the reduction: a 32-bit lane of packed weights or keys.
///
/// One f32 accumulator per output, units ascending: the bits depend on nothing else.
enum Dot: String, Hashable, Sendable {
  /// Two bf16 a unit on both sides, `vdpbf16ps`.
  case bf16Dot = "bf16dot"
  /// Two bf16 a unit on both sides, widened, two fma.
  case bf16FMA = "bf16fma"
  /// Two bf16 a unit on the packed side, two f32 on the other, two fma.
  case mixedFMA = "mixedfma"
  /// One f32 a unit on both sides, one fma.
  case f32FMA = "f32fma"

  /// The best for a pair of element types on a target; nil if there is none.
  init?(rows: FloatElement, packed: FloatElement, target: CPUTarget) {
    switch (rows, packed) {
    case (.bf16, .bf16): self = target.hasBF16Dot ? .bf16Dot : .bf16FMA
    case (.f32, .bf16): self = .mixedFMA
    case (.f32, .f32): self = .f32FMA
    case (.bf16, .f32): return nil
    }
  }

  /// Elements of the reduction in one unit.
  var unit: Int { self == .f32FMA ? 1 : 2 }
  /// Bytes that one unit takes on the row side.
  var rowUnitBytes: Int { self == .mixedFMA ? 8 : 4 }

  /// The row side of a unit at `p`, broadcast to 16 lanes, one vector per element (packed pairs stay one vector).
  func broadcast(_ e: Emitter, _ p: LLVMValue) -> [LLVMValue] {
    switch self {
    case .bf16Dot: return [e.splat(e.load(e.i32, p), 16)]
    case .bf16FMA: return widen(e, e.splat(e.load(e.i32, p), 16))
    case .mixedFMA: return [e.splat(e.load(e.f32, p), 16), e.splat(e.load(e.f32, e.at(p, 4)), 16)]
    case .f32FMA: return [e.splat(e.load(e.f32, p), 16)]
    }
  }
  /// The packed side of a unit: 16 lanes at `p`.
  func packed(_ e: Emitter, _ p: LLVMValue) -> [LLVMValue] {
    let lanes = e.load(e.vector(e.i32, 16), p)
    switch self {
    case .bf16Dot: return [lanes]
    case .bf16FMA, .mixedFMA: return widen(e, lanes)
    case .f32FMA: return [e.bitcast(lanes, e.vector(e.f32, 16))]
    }
  }
  func accumulate(_ e: Emitter, _ accumulator: LLVMValue, _ packed: [LLVMValue], _ row: [LLVMValue]) -> LLVMValue {
    if self == .bf16Dot {
      return e.intrinsic("llvm.x86.avx512bf16.dpbf16ps.512", [accumulator, packed[0], row[0]])
    }
    return zip(packed, row).reduce(accumulator) { e.fma($1.0, $1.1, $0) }
  }
  private func widen(_ e: Emitter, _ pairs: LLVMValue) -> [LLVMValue] {
    let floats = e.vector(e.f32, 16)
    return [e.bitcast(e.shl(pairs, 16), floats), e.bitcast(e.and(pairs, 0xffff_0000), floats)]
  }
}
