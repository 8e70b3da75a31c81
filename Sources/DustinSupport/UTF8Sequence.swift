/// Splits bytes into UTF-8 sequences, the broken ones into maximal subparts (Unicode §3.9, table 3-8).
///
/// The Unicode standard, Python's `bytes.decode("utf-8", errors="replace")` and Swift's `String(decoding:)` agree that each
/// maximal subpart of a broken sequence becomes one U+FFFD.
public enum UTF8Sequence {
  /// The sequence at `position`: its bytes, and whether they are one scalar. At least one byte when `position < end`.
  public static func length(at position: Int, in bytes: [UInt8], end: Int) -> (count: Int, isValid: Bool) {
    let lead = bytes[position]
    if lead < 0x80 { return (1, true) }
    let expected: Int
    switch lead {
    case 0xC2...0xDF: expected = 2
    case 0xE0...0xEF: expected = 3
    case 0xF0...0xF4: expected = 4
    default: return (1, false)
    }
    var count = 1
    while count < expected {
      guard position + count < end else { return (count, false) }
      let byte = bytes[position + count]
      guard byte >= 0x80, byte <= 0xBF else { return (count, false) }
      if count == 1 {
        // Overlong forms, surrogates and scalars beyond U+10FFFF end at the lead byte.
        let isRefused =
          (lead == 0xE0 && byte < 0xA0) || (lead == 0xED && byte > 0x9F) || (lead == 0xF0 && byte < 0x90)
          || (lead == 0xF4 && byte > 0x8F)
        if isRefused { return (1, false) }
      }
      count += 1
    }
    return (expected, true)
  }
}
