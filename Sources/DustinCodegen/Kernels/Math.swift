import CLLVM

// Elementary functions and roundings that kernels share. Our own, so that bits do not depend on a library, the
// vector width or the lane.

extension Emitter {
  /// exp(x) for x <= 88, within 2 ulp; exactly 1 at 0 and exactly 0 below -87.
  func exp(_ x: LLVMValue) -> LLVMValue {
    let (n, shifted) = nearestInteger(fmul(x, constant(1.442_695_040_888_963_4, like: x)))
    var r = fma(n, constant(-0.693_359_375, like: x), x)
    r = fma(n, constant(2.121_944_400_546_905_8e-4, like: x), r)
    var p = constant(1.987_569_150_0e-4, like: x)
    for c in [1.398_199_950_7e-3, 8.333_451_907_3e-3, 4.166_579_589_4e-2, 1.666_666_545_9e-1, 5.000_000_120_1e-1] {
      p = fma(p, r, constant(c, like: x))
    }
    p = fma(fmul(p, r), r, fadd(r, constant(1, like: x)))
    return scale(p, byPowerOfTwo: shifted, zeroWhere: x, below: -87)
  }

  /// 2^x for x <= 127, within 2 ulp; exactly 1 at 0 and exactly 0 below -126.
  func exp2(_ x: LLVMValue) -> LLVMValue {
    let (n, shifted) = nearestInteger(x)
    let r = fsub(x, n)
    var p = constant(1.535_336_188_319_5e-4, like: x)
    for c in [
      1.339_887_440_266_574e-3, 9.618_437_357_674_64e-3, 5.550_332_471_162_809e-2, 0.240_226_479_136_301_2,
      0.693_147_202_855_042_1, 1,
    ] { p = fma(p, r, constant(c, like: x)) }
    return scale(p, byPowerOfTwo: shifted, zeroWhere: x, below: -126)
  }

  /// 2^x for x <= 127, within 2^-13 of itself, for numbers that are rounded to bf16; 2^-126 below -126, which is what
  /// masked keys get: no sum of a span notices it, and `ScoreSumKernel` masks them.
  func exp2ForBF16(_ x: LLVMValue) -> LLVMValue {
    let limited = fmax(x, constant(-126, like: x))
    let (n, shifted) = nearestInteger(limited)
    let r = fsub(limited, n)
    // the cubic of the least greatest relative error on -0.5 ... 0.5, 7.5e-5
    var p = constant(5.517_166e-2, like: x)
    for c in [0.242_611_14, 0.693_260_99, 0.999_928_07] { p = fma(p, r, constant(c, like: x)) }
    return scale(p, byPowerOfTwo: shifted)
  }

  /// The integer next to x, as a float and in the low mantissa bits of `shifted`, where 1.5 * 2^23 pushes it.
  private func nearestInteger(_ x: LLVMValue) -> (n: LLVMValue, shifted: LLVMValue) {
    let magic = constant(12_582_912, like: x)
    let shifted = fadd(x, magic)
    return (fsub(shifted, magic), shifted)
  }

  /// p * 2^n by adding n to the exponent.
  private func scale(_ p: LLVMValue, byPowerOfTwo shifted: LLVMValue) -> LLVMValue {
    let type = LLVMTypeOf(p)!
    let lanes = LLVMGetTypeKind(type) == LLVMVectorTypeKind ? Int(LLVMGetVectorSize(type)) : 1
    let integers = vector(i32, lanes)
    return bitcast(add(bitcast(p, integers), shl(bitcast(shifted, integers), 23)), type)
  }

  /// p * 2^n by adding n to the exponent; 0 where x is so low that p and n mean nothing.
  private func scale(
    _ p: LLVMValue, byPowerOfTwo shifted: LLVMValue, zeroWhere x: LLVMValue, below low: Double
  ) -> LLVMValue {
    let scaled = scale(p, byPowerOfTwo: shifted)
    return select(LLVMBuildFCmp(builder, LLVMRealOLT, x, constant(low, like: x), ""), constant(0, like: x), scaled)
  }

  /// x / (1 + exp(-x))
  func silu(_ x: LLVMValue) -> LLVMValue {
    // exp is exact enough up to 88; beyond, x * 0 is the limit anyway
    let negated = fsub(constant(0, like: x), x)
    let limited = select(
      LLVMBuildFCmp(builder, LLVMRealOGT, negated, constant(88, like: x), ""), constant(88, like: x), negated)
    return fdiv(x, fadd(constant(1, like: x), exp(limited)))
  }

  /// cos and sin of 8 angles (f32, |angle| < 2^30), each rounded once from double precision.
  func cosSin(_ angle: LLVMValue) -> (cos: LLVMValue, sin: LLVMValue) {
    let doubles = vector(f64, 8)
    let longs = vector(i64, 8)
    let a: LLVMValue = LLVMBuildFPExt(builder, angle, doubles, "")
    let magic = splatConstant(6_755_399_441_055_744, doubles)
    let shifted = fma(a, splatConstant(0.636_619_772_367_581_343, doubles), magic)
    let n = fsub(shifted, magic)
    // pi/2 in two parts; where products are rounded, in parts of 33 bits, whose products with n < 2^20 are exact
    let parts =
      target.hasFMA
      ? [1.570_796_326_794_896_56, 6.123_233_995_736_766e-17]
      : [1.570_796_326_734_125_614_17, 6.077_100_506_303_965_976_6e-11, 2.022_266_248_795_950_631_54e-21]
    let r = parts.reduce(a) { fma(n, splatConstant(-$1, doubles), $0) }
    let z = fmul(r, r)
    // Taylor series on |r| <= pi/4: the first dropped terms are below 1e-15
    var s = splatConstant(1.0 / 6_227_020_800, doubles)
    for c in [-1.0 / 39_916_800, 1.0 / 362_880, -1.0 / 5_040, 1.0 / 120, -1.0 / 6] {
      s = fma(s, z, splatConstant(c, doubles))
    }
    s = fma(fmul(s, z), r, r)
    var c = splatConstant(-1.0 / 87_178_291_200, doubles)
    for k in [1.0 / 479_001_600, -1.0 / 3_628_800, 1.0 / 40_320, -1.0 / 720, 1.0 / 24, -0.5] {
      c = fma(c, z, splatConstant(k, doubles))
    }
    c = fma(c, z, splatConstant(1, doubles))
    let quadrant = bitcast(shifted, longs)
    func bit(_ v: LLVMValue, _ mask: Int) -> LLVMValue {
      compare(and(v, mask), LLVMIntNE, splatConstant(int: 0, longs))
    }
    let swap = bit(quadrant, 1)
    let sine = select(swap, c, s)
    let cosine = select(swap, s, c)
    func negate(_ v: LLVMValue, _ when: LLVMValue) -> LLVMValue { select(when, LLVMBuildFNeg(builder, v, ""), v) }
    func round(_ v: LLVMValue) -> LLVMValue { LLVMBuildFPTrunc(builder, v, vector(f32, 8), "") }
    return (round(negate(cosine, bit(add(quadrant, 1), 2))), round(negate(sine, bit(quadrant, 2))))
  }

  /// Rounds f32 to bf16 (nearest even) and gives the bits as i16.
  func roundToBF16(_ x: LLVMValue) -> LLVMValue {
    let type = LLVMTypeOf(x)!
    let lanes = LLVMGetTypeKind(type) == LLVMVectorTypeKind ? Int(LLVMGetVectorSize(type)) : 1
    if lanes == 16, target.hasBF16Dot {  // flushes denormals, which rows of models do not hold
      return bitcast(intrinsic("llvm.x86.avx512bf16.cvtneps2bf16.512", [x]), vector(i16, 16))
    }
    let bits = bitcast(x, vector(i32, lanes))
    let rounded = add(add(bits, 0x7fff), and(lshr(bits, 16), 1))
    return LLVMBuildTrunc(builder, lshr(rounded, 16), vector(i16, lanes), "")
  }

  /// Widens the bits of bf16 (i16) to f32.
  func widenBF16(_ x: LLVMValue) -> LLVMValue {
    let type = LLVMTypeOf(x)!
    let lanes = LLVMGetTypeKind(type) == LLVMVectorTypeKind ? Int(LLVMGetVectorSize(type)) : 1
    return bitcast(shl(LLVMBuildZExt(builder, x, vector(i32, lanes), ""), 16), vector(f32, lanes))
  }
}
