import DustinIR

/// The nearest bf16 number, ties to the even one, as a float. Infinities stay, NaN stays NaN.
public func roundedToBF16(_ value: Float) -> Float {
  let bits = value.bitPattern
  if value.isNaN { return Float(bitPattern: (bits | 0x0040_0000) & 0xffff_0000) }
  // Half of the last kept bit, less one when that bit is even: exact halves go to the even neighbour. An overflow
  // carries into the exponent and ends at infinity, as it must.
  return Float(bitPattern: (bits &+ 0x7fff &+ ((bits >> 16) & 1)) & 0xffff_0000)
}

/// The nearest f16 number, ties to the even one, as a float.
public func roundedToF16(_ value: Float) -> Float { Float(Float16(value)) }

/// Rounds `count` floats in place to what `element` can hold; f32 keeps them as they are.
func round(_ values: UnsafeMutablePointer<Float>, _ count: Int, to element: ElementType) {
  var index = 0
  switch element {
  case .bf16:
    while index < count {
      values[index] = roundedToBF16(values[index])
      index += 1
    }
  case .f16:
    while index < count {
      values[index] = roundedToF16(values[index])
      index += 1
    }
  case .f32, .i32: break
  }
}
