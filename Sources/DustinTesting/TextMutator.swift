import DustinSupport

/// Breaks texts in the way that people and broken disks do: bytes, tokens and lines that are changed, doubled, gone or
/// taken from another text, and numbers that no machine has. Readers of texts are tested with it.
public struct TextMutator {
  /// Whole texts, out of which the mutations are made.
  public let seeds: [[UInt8]]
  private var random: SplitMix

  /// - Parameter texts: at least one; empty ones are left out.
  public init(_ texts: [String], seed: UInt64) {
    seeds = texts.map { Array($0.utf8) }.filter { !$0.isEmpty }
    random = SplitMix(seed: seed)
  }

  /// The next broken text: one of the seeds after one to `most` changes.
  public mutating func next(most: Int = 4) -> [UInt8] {
    guard !seeds.isEmpty else { return [] }
    var bytes = seeds[random.below(seeds.count)]
    for _ in 0...random.below(most) { mutate(&bytes) }
    return bytes
  }

  private mutating func mutate(_ bytes: inout [UInt8]) {
    guard !bytes.isEmpty else { return }
    let place = random.below(bytes.count)
    switch random.below(9) {
    case 0: bytes[place] = UInt8(random.below(256))
    case 1: bytes[place] ^= 1 << UInt8(random.below(8))
    case 2:
      let interesting = Array("(){}[],:=<>-%@\"\\/\n 0919.eE_inf".utf8)
      bytes.insert(interesting[random.below(interesting.count)], at: place)
    case 3: bytes.removeSubrange(Self.token(bytes, place))
    case 4:
      let range = Self.token(bytes, place)
      bytes.insert(contentsOf: Array(bytes[range]), at: range.upperBound)
    case 5:
      let other = seeds[random.below(seeds.count)]
      let source = Self.token(other, random.below(other.count))
      bytes.replaceSubrange(Self.token(bytes, place), with: other[source])
    case 6: if random.below(4) == 0 { bytes.removeSubrange(place...) }
    case 7:
      // A line twice, or gone.
      let start = bytes[..<place].lastIndex(of: 10).map { $0 + 1 } ?? 0
      let end = bytes[place...].firstIndex(of: 10).map { $0 + 1 } ?? bytes.count
      if random.below(2) == 0 {
        bytes.insert(contentsOf: Array(bytes[start..<end]), at: end)
      } else {
        bytes.removeSubrange(start..<end)
      }
    default:
      let numbers = ["0", "1", "2147483648", "9223372036854775807", "-1", "1e308", "99999999999999999999"]
      let number = numbers[random.below(numbers.count)]
      let digits = bytes.indices.filter { bytes[$0] >= 48 && bytes[$0] <= 57 }
      guard !digits.isEmpty else { return }
      bytes.replaceSubrange(Self.token(bytes, digits[random.below(digits.count)]), with: Array(number.utf8))
    }
  }

  /// The run of letters and digits, or the one other byte, around a place.
  private static func token(_ bytes: [UInt8], _ place: Int) -> Range<Int> {
    func isWord(_ byte: UInt8) -> Bool {
      (byte >= 48 && byte <= 57) || (byte >= 65 && byte <= 90) || (byte >= 97 && byte <= 122) || byte == 95
    }
    guard place < bytes.count else { return place..<place }
    var (start, end) = (place, place + 1)
    guard isWord(bytes[place]) else { return start..<end }
    while start > 0, isWord(bytes[start - 1]) { start -= 1 }
    while end < bytes.count, isWord(bytes[end]) { end += 1 }
    return start..<end
  }
}
