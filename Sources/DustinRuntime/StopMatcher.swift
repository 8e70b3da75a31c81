import DustinSupport

/// The text of a sequence as bytes, up to the first stop string, and what of it may already be shown.
struct StopMatcher {
  private let stops: [[UInt8]]
  private let longest: Int
  private(set) var bytes: [UInt8] = []
  private var shown = 0

  /// - Parameter stops: Not empty strings.
  init(stops: [String]) {
    self.stops = stops.map { Array($0.utf8) }
    longest = self.stops.map(\.count).max() ?? 0
  }

  /// Adds a token's bytes. Returns the number of the stop string that they complete, the one that begins first; the
  /// text then ends before it.
  mutating func append(_ token: [UInt8]) -> Int? {
    let start = max(0, bytes.count - longest + 1)
    bytes += token
    var found: (stop: Int, start: Int)?
    for (number, stop) in stops.enumerated() {
      guard let place = find(stop, from: start), place < found?.start ?? .max else { continue }
      found = (number, place)
    }
    if let found { bytes.removeLast(bytes.count - found.start) }
    return found?.stop
  }

  /// Bytes that were not returned before and that no later token can take back or complete: not what may be the
  /// beginning of a stop string, nor of a character. `isLast`: everything.
  mutating func release(isLast: Bool) -> [UInt8] {
    let end = isLast ? bytes.count : bytes.count - max(heldByStops, openCharacter)
    guard end > shown else { return [] }
    defer { shown = end }
    return Array(bytes[shown..<end])
  }

  private func find(_ stop: [UInt8], from start: Int) -> Int? {
    guard bytes.count >= stop.count else { return nil }
    return (min(start, bytes.count - stop.count)...bytes.count - stop.count).first { place in
      bytes[place..<place + stop.count].elementsEqual(stop)
    }
  }

  /// Length of the longest end of the text with which a stop string begins.
  private var heldByStops: Int {
    var held = 0
    for stop in stops {
      var length = min(stop.count - 1, bytes.count)
      while length > held {
        if bytes.suffix(length).elementsEqual(stop.prefix(length)) { held = length } else { length -= 1 }
      }
    }
    return held
  }

  /// Bytes of a UTF-8 character at the end that lacks some.
  private var openCharacter: Int {
    for back in 1...3 where back <= bytes.count && bytes[bytes.count - back] & 0xC0 != 0x80 {
      return UTF8Sequence.read(at: bytes.count - back, in: bytes, end: bytes.count) == (back, .truncated) ? back : 0
    }
    return 0
  }
}
