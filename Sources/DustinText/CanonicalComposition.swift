/// Unicode's normalisation form C (UAX #15), by the standard library's combining classes and a table of decompositions.
///
/// The standard library normalises inside its string comparison but offers the result to nobody.
enum CanonicalComposition {
  /// `bytes[range]`, valid UTF-8, in normalisation form C; nil if it is so already.
  static func normalize(_ bytes: [UInt8], _ range: Range<Int>) -> [UInt8]? {
    var result: [UInt8] = []
    var copied = range.lowerBound
    var position = range.lowerBound
    // Where the last scalar began that nothing before it can change.
    var anchor = range.lowerBound
    while position < range.upperBound {
      // Below U+0300 every scalar stands for itself.
      if bytes[position] < 0xCC {
        anchor = position
        position += bytes[position] < 0x80 ? 1 : 2
        continue
      }
      let (scalar, count) = UTF8Scalar.read(bytes, position)
      if isInert(scalar.value) {
        anchor = position
        position += count
        continue
      }
      // From the anchor to the next inert scalar.
      var end = position + count
      while end < range.upperBound {
        let (scalar, count) = UTF8Scalar.read(bytes, end)
        if isInert(scalar.value) { break }
        end += count
      }
      result.append(contentsOf: bytes[copied..<anchor])
      append(compose(decompose(bytes, anchor..<end)), to: &result)
      copied = end
      anchor = end
      position = end
    }
    if copied == range.lowerBound { return nil }
    result.append(contentsOf: bytes[copied..<range.upperBound])
    return result
  }

  /// A scalar that is its own normal form and never meets the scalars before it.
  private static func isInert(_ scalar: UInt32) -> Bool {
    if scalar < 0x300 { return true }
    if isHangulVowel(scalar) || isHangulTail(scalar) { return false }
    return !tables.lively.contains(scalar) && combiningClass(scalar) == 0
  }

  private static func append(_ scalars: [UInt32], to bytes: inout [UInt8]) {
    for value in scalars { UTF8Scalar.append(Unicode.Scalar(value) ?? "\u{FFFD}", to: &bytes) }
  }

  private static func combiningClass(_ scalar: UInt32) -> UInt8 {
    Unicode.Scalar(scalar)?.properties.canonicalCombiningClass.rawValue ?? 0
  }

  // MARK: Decomposition

  private struct Tables: Sendable {
    /// Composed to first and second, the second 0 if there is none.
    var parts: [UInt32: (first: UInt32, second: UInt32)] = [:]
    /// First and second to composed.
    var composed: [UInt64: UInt32] = [:]
    /// What is not its own normal form, composes with what stands before it, or begins with such a scalar.
    var lively: Set<UInt32> = []

    init() {
      let table = CanonicalDecompositions.table
      for row in 0..<table.count / 3 {
        let (whole, first, second) = (table[3 * row], table[3 * row + 1], table[3 * row + 2])
        parts[whole] = (first, second)
        if row < CanonicalDecompositions.composingRows {
          composed[UInt64(first) << 32 | UInt64(second)] = whole
          lively.insert(second)
        } else {
          lively.insert(whole)
        }
      }
      for whole in parts.keys where lively.contains(firstScalar(whole)) { lively.insert(whole) }
    }

    private func firstScalar(_ scalar: UInt32) -> UInt32 {
      var scalar = scalar
      while let (first, _) = parts[scalar] { scalar = first }
      return scalar
    }
  }

  private static let tables = Tables()

  /// Full canonical decomposition in canonical order.
  private static func decompose(_ bytes: [UInt8], _ range: Range<Int>) -> [UInt32] {
    var scalars: [UInt32] = []
    var position = range.lowerBound
    while position < range.upperBound {
      let (scalar, count) = UTF8Scalar.read(bytes, position)
      decompose(scalar.value, into: &scalars)
      position += count
    }
    order(&scalars)
    return scalars
  }

  private static func decompose(_ scalar: UInt32, into scalars: inout [UInt32]) {
    if scalar >= hangulBase, scalar < hangulBase + 11172 {
      let index = scalar - hangulBase
      scalars.append(0x1100 + index / 588)
      scalars.append(0x1161 + index % 588 / 28)
      if index % 28 != 0 { scalars.append(0x11A7 + index % 28) }
    } else if let (first, second) = tables.parts[scalar] {
      decompose(first, into: &scalars)
      if second != 0 { decompose(second, into: &scalars) }
    } else {
      scalars.append(scalar)
    }
  }

  /// Sorts each run of marks by combining class, equals in their order.
  private static func order(_ scalars: inout [UInt32]) {
    var start = 0
    while start < scalars.count {
      guard combiningClass(scalars[start]) != 0 else {
        start += 1
        continue
      }
      var keys: [(mark: UInt8, place: Int)] = []
      var end = start
      while end < scalars.count {
        let mark = combiningClass(scalars[end])
        if mark == 0 { break }
        keys.append((mark, end))
        end += 1
      }
      keys.sort { ($0.mark, $0.place) < ($1.mark, $1.place) }
      let run = keys.map { scalars[$0.place] }
      scalars.replaceSubrange(start..<end, with: run)
      start = end
    }
  }

  // MARK: Composition

  private static func compose(_ scalars: [UInt32]) -> [UInt32] {
    var result: [UInt32] = []
    var starter: Int?
    // Combining class of the last scalar in the result.
    var last: UInt8 = 0
    for scalar in scalars {
      let mark = combiningClass(scalar)
      if let starter, starter == result.count - 1 || last < mark, let whole = compose(result[starter], scalar) {
        result[starter] = whole
        continue
      }
      if mark == 0 { starter = result.count }
      last = mark
      result.append(scalar)
    }
    return result
  }

  private static let hangulBase: UInt32 = 0xAC00

  private static func isHangulVowel(_ scalar: UInt32) -> Bool { scalar >= 0x1161 && scalar < 0x1176 }

  private static func isHangulTail(_ scalar: UInt32) -> Bool { scalar > 0x11A7 && scalar < 0x11C3 }

  private static func compose(_ first: UInt32, _ second: UInt32) -> UInt32? {
    if isHangulVowel(second), first >= 0x1100, first < 0x1113 {
      return hangulBase + (first - 0x1100) * 588 + (second - 0x1161) * 28
    }
    if isHangulTail(second), first >= hangulBase, first < hangulBase + 11172, (first - hangulBase) % 28 == 0 {
      return first + second - 0x11A7
    }
    return tables.composed[UInt64(first) << 32 | UInt64(second)]
  }
}
