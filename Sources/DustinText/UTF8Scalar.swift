import DustinSupport

/// Scalars of bytes that are known to be valid UTF-8.
enum UTF8Scalar {
  /// The scalar that begins at `position`; U+FFFD and one byte if the bytes are not valid there after all.
  static func read(_ bytes: [UInt8], _ position: Int) -> (scalar: Unicode.Scalar, count: Int) {
    let lead = bytes[position]
    if lead < 0x80 { return (Unicode.Scalar(lead), 1) }
    let count = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
    guard position + count <= bytes.count else { return ("\u{FFFD}", 1) }
    var value = UInt32(lead) & (0x7F >> UInt32(count))
    for offset in 1..<count { value = value << 6 | UInt32(bytes[position + offset] & 0x3F) }
    guard let scalar = Unicode.Scalar(value) else { return ("\u{FFFD}", 1) }
    return (scalar, count)
  }

  /// The scalar that ends before `end`, which must be greater than 0.
  static func readBackwards(_ bytes: [UInt8], before end: Int) -> (scalar: Unicode.Scalar, count: Int) {
    var start = end - 1
    while start > 0, end - start < 4, bytes[start] & 0xC0 == 0x80 { start -= 1 }
    return (read(bytes, start).scalar, end - start)
  }

  static func append(_ scalar: Unicode.Scalar, to bytes: inout [UInt8]) {
    if scalar.value < 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: scalar.value))
    } else {
      bytes.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
    }
  }

  /// Each maximal subpart of a broken sequence replaced by U+FFFD, as Python's `decode("utf-8", errors="replace")` does.
  static func replacingBroken(_ bytes: [UInt8]) -> [UInt8] {
    var position = 0
    var copied = 0
    var result: [UInt8] = []
    while position < bytes.count {
      if bytes[position] < 0x80 {
        position += 1
        continue
      }
      let (count, state) = UTF8Sequence.read(at: position, in: bytes, end: bytes.count)
      if state != .valid {
        result.append(contentsOf: bytes[copied..<position])
        result.append(contentsOf: [0xEF, 0xBF, 0xBD])
        copied = position + count
      }
      position += count
    }
    if copied == 0 { return bytes }
    result.append(contentsOf: bytes[copied...])
    return result
  }
}
