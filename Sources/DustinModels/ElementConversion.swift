import DustinIR
import DustinSupport

/// Brain floats: the upper half of an f32.
public enum BF16 {
  /// Exact.
  @inlinable public static func float(_ bits: UInt16) -> Float { Float(bitPattern: UInt32(bits) << 16) }
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
  /// Elements `range` as f32, exact, into the start of `target`. Throws for integers, and for a range or a target that
  /// does not fit.
  public func convert(_ range: Range<Int>, to target: UnsafeMutableBufferPointer<Float>) throws {
    try check(range, target.count)
    guard let target = target.baseAddress else { return }
    switch element {
    case .f32: forEach(range, UInt32.self) { target[$0] = Float(bitPattern: $1) }
    case .bf16: forEach(range, UInt16.self) { target[$0] = BF16.float($1) }
    case .f16: forEach(range, UInt16.self) { target[$0] = F16.float($1) }
    case .i32: break
    }
  }

  /// All elements as f32.
  public func floats() throws -> [Float] {
    try [Float](unsafeUninitializedCapacity: count) { target, initialized in
      try convert(0..<count, to: target)
      initialized = count
    }
  }

  /// All elements of an i32 tensor.
  public func ints() throws -> [Int32] {
    guard element == .i32 else {
      throw DiagnosticError("weight-type", "the tensor '\(name)' holds \(element.rawValue), not i32")
    }
    var ints = [Int32](repeating: 0, count: count)
    forEach(0..<count, UInt32.self) { ints[$0] = Int32(bitPattern: $1) }
    return ints
  }

  /// Calls `body` with places from 0 and the words of a range that has been checked. Inlined, so that each of the
  /// callers becomes a vector loop.
  @inline(__always)
  private func forEach<Word: FixedWidthInteger & BitwiseCopyable>(
    _ range: Range<Int>, _: Word.Type, _ body: (Int, Word) -> Void
  ) {
    guard let base = bytes.baseAddress else { return }
    let start = base + range.lowerBound * MemoryLayout<Word>.size
    var place = 0
    while place < range.count {
      let word = start.loadUnaligned(fromByteOffset: place &* MemoryLayout<Word>.size, as: Word.self)
      body(place, Word(littleEndian: word))
      place &+= 1
    }
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
