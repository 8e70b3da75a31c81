import DustinSupport

/// The token with the greatest logit; equal ones go to the lowest id, NaN counts as less than everything.
///
/// - Parameter model: Who made them, for the message.
/// - Throws: `DiagnosticError` with id `logits` when no logit is finite: the model or its file is broken.
public func argMax(_ logits: UnsafeBufferPointer<Float>, of model: String = "the model") throws -> Int32 {
  let greatest = maximum(logits)
  guard greatest.isFinite, let index = firstIndex(of: greatest, in: logits) else {
    throw DiagnosticError("logits", "\(model)'s logits are not finite")
  }
  return Int32(index)
}

/// The greatest value; -inf when there is none but NaN.
func maximum(_ values: UnsafeBufferPointer<Float>) -> Float {
  let lanes = 16
  var greatest = -Float.infinity
  var index = 0
  if values.count >= 4 * lanes {
    let least = SIMD16<Float>(repeating: -.infinity)
    var (a, b, c, d) = (least, least, least, least)
    let raw = UnsafeRawBufferPointer(values)
    // A comparison with NaN is false, so that NaN never enters.
    while index + 4 * lanes <= values.count {
      let base = index * 4
      let v0 = raw.loadUnaligned(fromByteOffset: base, as: SIMD16<Float>.self)
      let v1 = raw.loadUnaligned(fromByteOffset: base + 64, as: SIMD16<Float>.self)
      let v2 = raw.loadUnaligned(fromByteOffset: base + 128, as: SIMD16<Float>.self)
      let v3 = raw.loadUnaligned(fromByteOffset: base + 192, as: SIMD16<Float>.self)
      a.replace(with: v0, where: v0 .> a)
      b.replace(with: v1, where: v1 .> b)
      c.replace(with: v2, where: v2 .> c)
      d.replace(with: v3, where: v3 .> d)
      index += 4 * lanes
    }
    for lane in 0..<lanes { greatest = max(greatest, max(max(a[lane], b[lane]), max(c[lane], d[lane]))) }
  }
  while index < values.count {
    if values[index] > greatest { greatest = values[index] }
    index += 1
  }
  return greatest
}

private func firstIndex(of value: Float, in values: UnsafeBufferPointer<Float>) -> Int? {
  let lanes = 16
  var index = 0
  let raw = UnsafeRawBufferPointer(values)
  let wanted = SIMD16<Float>(repeating: value)
  while index + lanes <= values.count {
    if any(raw.loadUnaligned(fromByteOffset: index * 4, as: SIMD16<Float>.self) .== wanted) { break }
    index += lanes
  }
  while index < values.count {
    if values[index] == value { return index }
    index += 1
  }
  return nil
}
