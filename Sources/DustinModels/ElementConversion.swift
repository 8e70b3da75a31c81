import DustinIR
import DustinSupport

/// Brain floats: the upper half of an f32.
public enum BF16 {
  /// Exact.
  @inlinable public static func float(_ bits: UInt16) -> Float { Float(bitPattern: UInt32(bits) << 16) }

  /// Rounds to nearest, ties to even; too large values become infinite, a NaN stays one and becomes quiet.
  @inlinable public static func round(_ value: Float) -> UInt16 {
    let bits = value.bitPattern
    if bits & 0x7FFF_FFFF > 0x7F80_0000 { return UInt16(truncatingIfNeeded: bits >> 16) | 0x40 }
    // The largest finite pattern plus the bias stays below 2^32: no overflow.
    return UInt16(truncatingIfNeeded: (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
  }
}

/// IEEE half precision, by its bits: not every platform of Swift has `Float16`.
public enum F16 {
  /// Exact; a NaN keeps its payload and becomes quiet.
  @inlinable public static func float(_ bits: UInt16) -> Float {
    let sign = UInt32(bits & 0x8000) << 16
    let exponent = UInt32(bits >> 10 & 0x1F)
    let fraction = UInt32(bits & 0x3FF)
    switch exponent {
    case 0:
      // Zero or a denormal: fraction * 2^-24, which f32 holds exactly.
      let magnitude = Float(fraction) * 0x1p-24
      return Float(bitPattern: magnitude.bitPattern | sign)
    case 0x1F:
      let quiet: UInt32 = fraction == 0 ? 0 : 0x40_0000
      return Float(bitPattern: sign | 0x7F80_0000 | quiet | fraction << 13)
    default:
      return Float(bitPattern: sign | (exponent + 112) << 23 | fraction << 13)
    }
  }
}

extension TensorView {
  /// Elements `range` as f32, exact, into the start of `target`. Throws for integers, traps on no size: a range or a
  /// target that does not fit is an error.
  public func convert(_ range: Range<Int>, to target: UnsafeMutableBufferPointer<Float>) throws {
    try check(range, target.count)
    switch element {
    case .f32:
      for (place, index) in range.enumerated() { target[place] = Float(bitPattern: word(index)) }
    case .bf16:
      for (place, index) in range.enumerated() { target[place] = BF16.float(half(index)) }
    case .f16:
      for (place, index) in range.enumerated() { target[place] = F16.float(half(index)) }
    case .i32: break
    }
  }

  /// Elements `range` as bf16, rounded to nearest even, into the start of `target`.
  public func convert(_ range: Range<Int>, toBF16 target: UnsafeMutableBufferPointer<UInt16>) throws {
    try check(range, target.count)
    switch element {
    case .f32:
      for (place, index) in range.enumerated() { target[place] = BF16.round(Float(bitPattern: word(index))) }
    case .bf16:
      for (place, index) in range.enumerated() { target[place] = half(index) }
    case .f16:
      for (place, index) in range.enumerated() { target[place] = BF16.round(F16.float(half(index))) }
    case .i32: break
    }
  }

  /// All elements as f32.
  public func floats() throws -> [Float] {
    try check(0..<count, count)
    return try [Float](unsafeUninitializedCapacity: count) { target, initialized in
      try convert(0..<count, to: UnsafeMutableBufferPointer(rebasing: target[0..<count]))
      initialized = count
    }
  }

  private func word(_ index: Int) -> UInt32 {
    UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self))
  }
  private func half(_ index: Int) -> UInt16 {
    UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: index * 2, as: UInt16.self))
  }

  private func check(_ range: Range<Int>, _ capacity: Int) throws {
    guard element.isFloat else {
      throw DiagnosticError("weight-type", "the tensor '\(name)' holds \(element.rawValue), not floats")
    }
    guard range.lowerBound >= 0, range.upperBound <= count, range.count <= capacity else {
      throw DiagnosticError(
        "weight-range", "elements \(range.lowerBound)..<\(range.upperBound) of '\(name)' do not fit: it has \(count)")
    }
  }
}
