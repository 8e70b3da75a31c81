import CLLVM

// Bit masks: what selection counts and marks with.

extension Emitter {
  func and(_ a: LLVMValue, _ b: LLVMValue) -> LLVMValue { LLVMBuildAnd(builder, a, b, "") }
  func or(_ a: LLVMValue, _ b: LLVMValue) -> LLVMValue { LLVMBuildOr(builder, a, b, "") }
  func xor(_ a: LLVMValue, _ b: LLVMValue) -> LLVMValue { LLVMBuildXor(builder, a, b, "") }
  func not(_ a: LLVMValue) -> LLVMValue { LLVMBuildNot(builder, a, "") }
  func shl(_ a: LLVMValue, by b: LLVMValue) -> LLVMValue { LLVMBuildShl(builder, a, b, "") }
  /// Shifts the sign in.
  func ashr(_ a: LLVMValue, _ b: Int) -> LLVMValue {
    LLVMBuildAShr(builder, a, splatConstant(int: b, LLVMTypeOf(a)), "")
  }
  func zeroExtend(_ a: LLVMValue, _ type: LLVMType) -> LLVMValue { LLVMBuildZExt(builder, a, type, "") }
  func truncate(_ a: LLVMValue, to type: LLVMType) -> LLVMValue { LLVMBuildTrunc(builder, a, type, "") }
  func popcount(_ a: LLVMValue) -> LLVMValue { intrinsic("llvm.ctpop", [a], overload: [LLVMTypeOf(a)]) }
  /// Number of the lowest set bit; some bit must be set.
  func lowestBit(_ a: LLVMValue) -> LLVMValue {
    intrinsic("llvm.cttz", [a, LLVMConstInt(i1, 1, 0)], overload: [LLVMTypeOf(a)])
  }
  /// Lane i of 16 becomes bit i, as i16.
  func bits(_ lanes: LLVMValue) -> LLVMValue { bitcast(lanes, i16) }
  /// Bit i of an i16 becomes lane i of 16.
  func lanes(_ bits: LLVMValue) -> LLVMValue { bitcast(bits, vector(i1, 16)) }

  /// `values[index]`, for a few constants.
  func table(_ index: LLVMValue, _ values: [Int]) -> LLVMValue {
    var result = int(values.last ?? 0)
    for (number, value) in values.enumerated().dropLast().reversed() {
      if values.dropFirst(number).allSatisfy({ $0 == value }) { continue }
      result = select(compare(index, LLVMIntEQ, int(number)), int(value), result)
    }
    return result
  }
}
