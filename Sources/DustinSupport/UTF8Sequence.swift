/// Splits bytes into UTF-8 sequences, the broken ones into maximal subparts (Unicode §3.9, table 3-8).
///
/// The Unicode standard and Python's `bytes.decode("utf-8", errors="replace")` agree that each maximal subpart of a broken
/// sequence becomes one U+FFFD.
public enum UTF8Sequence {
  public enum State: Sendable {
    /// One scalar.
    case valid
    /// What could become a scalar if more bytes followed.
    case truncated
    case broken
  }

  /// The sequence at `position`, which must lie before `end`: its bytes, at least one, and what they are.
  public static func read(at position: Int, in bytes: [UInt8], end: Int) -> (count: Int, state: State) {
    let lead = bytes[position]
    if lead < 0x80 { return (1, .valid) }
    let expected: Int
    switch lead {
    case 0xC2...0xDF: expected = 2
    case 0xE0...0xEF: expected = 3
    case 0xF0...0xF4: expected = 4
    default: return (1, .broken)
    }
    var count = 1
    while count < expected {
      guard position + count < end else { return (count, .truncated) }
      let byte = bytes[position + count]
      guard byte >= 0x80, byte <= 0xBF else { return (count, .broken) }
      if count == 1 {
        // Overlong forms, surrogates and scalars beyond U+10FFFF end at the lead byte.
        let isRefused =
          (lead == 0xE0 && byte < 0xA0) || (lead == 0xED && byte > 0x9F) || (lead == 0xF0 && byte < 0x90)
          || (lead == 0xF4 && byte > 0x8F)
        if isRefused { return (1, .broken) }
      }
      count += 1
    }
    return (expected, .valid)
  }
}
