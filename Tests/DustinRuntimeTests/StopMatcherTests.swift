import XCTest

@testable import DustinRuntime

final class StopMatcherTests: XCTestCase {
  private func run(_ stops: [String], _ pieces: [[UInt8]]) -> (text: [UInt8], shown: [[UInt8]], stop: Int?) {
    var matcher = StopMatcher(stops: stops)
    var shown: [[UInt8]] = []
    for (index, piece) in pieces.enumerated() {
      let stop = matcher.append(piece)
      shown.append(matcher.release(isLast: stop != nil || index == pieces.count - 1))
      if let stop { return (matcher.bytes, shown, stop) }
    }
    return (matcher.bytes, shown, nil)
  }

  /// All ways to cut a text into tokens give the same end, and what is shown is a prefix that is never taken back.
  func testCutsDoNotMatter() {
    let cases: [(String, [String], String, Int?)] = [
      ("one two three", ["two"], "one ", 0), ("aaab", ["aab"], "a", 0), ("xabcabd!", ["abd", "bca"], "xa", 1),
      ("no stop here", ["stopp"], "no stop here", nil), ("ends here", ["here"], "ends ", 0),
      ("äöü€😀x", ["€"], "äöü", 0),
      ("äöü😀", ["x"], "äöü😀", nil), ("stop", ["stop"], "", 0), ("abab", ["abac"], "abab", nil),
    ]
    for (text, stops, expected, stop) in cases {
      let bytes = Array(text.utf8)
      let cuts = bytes.count - 1
      // Every set of cuts for short texts, many for longer ones.
      for number in 0..<min(1 << cuts, 4096) {
        let set = cuts <= 12 ? UInt64(number) : mixed(UInt64(number), 1)
        var pieces: [[UInt8]] = [[]]
        for (index, byte) in bytes.enumerated() {
          if index > 0, set >> UInt64(index - 1) & 1 == 1 { pieces.append([]) }
          pieces[pieces.count - 1].append(byte)
        }
        let result = run(stops, pieces)
        XCTAssertEqual(String(decoding: result.text, as: UTF8.self), expected)
        XCTAssertEqual(result.shown.flatMap { $0 }, result.text)
        XCTAssertEqual(result.stop, stop)
        // Whole characters only.
        for shown in result.shown { XCTAssertNotNil(String(validating: shown, as: UTF8.self), "\(pieces)") }
      }
    }
  }

  func testTextIsHeldBackNoLongerThanNeeded() {
    XCTAssertEqual(
      run(["abc"], ["xa", "b", "d", "ab"].map { Array($0.utf8) }).shown.map { String(decoding: $0, as: UTF8.self) },
      ["x", "", "abd", "ab"])
    XCTAssertEqual(run([], [[0xE2], [0x82], [0xAC], [0x41]]).shown, [[], [], [0xE2, 0x82, 0xAC], [0x41]])
    // Broken bytes are not held for ever.
    XCTAssertEqual(run([], [[0x80], [0xFF], [0xC3], [0x41]]).shown, [[0x80], [0xFF], [], [0xC3, 0x41]])
  }
}
