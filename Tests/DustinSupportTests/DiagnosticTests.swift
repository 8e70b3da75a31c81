import XCTest

@testable import DustinSupport

final class DiagnosticTests: XCTestCase {
  private let buffer = SourceBuffer(name: "a.dust", text: "first\n\tsecönd line\r\n\nlast")

  private func range(_ text: String) -> SourceRange {
    let bytes = Array(text.utf8)
    let start = buffer.utf8.indices.first { buffer.utf8[$0...].starts(with: bytes) } ?? 0
    return SourceRange(buffer, start, start + bytes.count)
  }

  func testRendersTheLineAndACaret() {
    let diagnostic = Diagnostic(
      "some-id", "this is wrong", at: range("line"),
      notes: [.note("did you mean 'lime'?"), .note("see", at: range("last"))]
    )
    XCTAssertEqual(
      diagnostic.rendered(),
      """
      a.dust:2:9: error: this is wrong
        \tsecönd line
        \t       ^~~~
      note: did you mean 'lime'?
      a.dust:4:1: note: see
        last
        ^~~~
      """)
  }

  func testATerminalIsNotObeyed() {
    let buffer = SourceBuffer(name: "bad\u{1b}[31m.dust", text: "a\u{1b}[31mred\u{7} b\t\u{9b}c")
    let text = Diagnostic("x", "no '\u{1b}]0;title\u{7}'", at: SourceRange(buffer, 0, 1)).rendered()
    for scalar in text.unicodeScalars where scalar != "\n" && scalar != "\t" {
      XCTAssertFalse(scalar.value < 0x20 || 0x7f...0x9f ~= scalar.value, "U+\(scalar.value)")
    }
    XCTAssertTrue(text.contains("a\u{FFFD}[31mred\u{FFFD} b\t\u{FFFD}c"))
  }

  func testRendersWithoutAPlace() {
    XCTAssertEqual(Diagnostic("id", "no such file", severity: .warning).rendered(), "warning: no such file")
  }

  func testCaretsStayOnTheLine() {
    // A range over a line end, one at the end of the text and one far behind it.
    for (start, end) in [(0, 12), (buffer.utf8.count, buffer.utf8.count), (1000, 2000)] {
      let lines = Diagnostic("id", "m", at: SourceRange(buffer, start, end)).rendered().split(separator: "\n")
      XCTAssertEqual(lines.count, 3)
      XCTAssertLessThanOrEqual(lines[2].count, lines[1].count + 1)
      XCTAssertTrue(lines[2].contains("^"))
    }
  }

  func testErrorsShowAllDiagnostics() {
    let error = DiagnosticError([Diagnostic("a", "one"), Diagnostic("b", "two")])
    XCTAssertEqual("\(error)", "error: one\nerror: two")
    XCTAssertEqual(DiagnosticError("a", "one").diagnostics.map(\.id), ["a"])
  }
}

final class SourceBufferTests: XCTestCase {
  func testPositions() {
    let buffer = SourceBuffer(name: "x", text: "ab\nç€d\n\nz")
    let text = Array("ab\nç€d\n\nz".utf8)
    // Columns count characters: ç has two bytes, € three.
    for (offset, line, column) in [
      (0, 1, 1), (2, 1, 3), (3, 2, 1), (5, 2, 2), (8, 2, 3), (9, 2, 4), (10, 3, 1), (11, 4, 1),
    ] {
      let position = buffer.position(of: offset)
      XCTAssertEqual([position.line, position.column], [line, column], "offset \(offset)")
    }
    let end = buffer.position(of: text.count)
    XCTAssertEqual([end.line, end.column], [4, 2])
    let behind = buffer.position(of: text.count + 100)
    XCTAssertEqual([behind.line, behind.column], [4, 2])
    let before = buffer.position(of: -1)
    XCTAssertEqual([before.line, before.column], [1, 1])
  }

  func testLines() {
    let buffer = SourceBuffer(name: "x", text: "one\r\ntwo\n\nfour")
    XCTAssertEqual((0...6).map { buffer.line($0) }, ["", "one", "two", "", "four", "", ""])
    XCTAssertEqual(SourceBuffer(name: "x", text: "").line(1), "")
    XCTAssertEqual(SourceBuffer(name: "x", text: "a\n").line(2), "")
  }

  func testBrokenUTF8() {
    let buffer = SourceBuffer(name: "x", utf8: [0x61, 0xFF, 0x62, 0x0A, 0xC3])
    XCTAssertEqual(buffer.line(1), "a\u{FFFD}b")
    XCTAssertEqual(buffer.position(of: 2).column, 3)
    XCTAssertEqual(buffer.line(2), "\u{FFFD}")
  }
}

final class SuggestionTests: XCTestCase {
  func testDistance() {
    let cases: [(String, String, Int)] = [
      ("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 1), ("linear", "lienar", 1),
      ("attend", "append", 2), ("same", "same", 0),
    ]
    for (a, b, distance) in cases {
      XCTAssertEqual(editDistance(a, b), distance, "\(a) → \(b)")
      XCTAssertEqual(editDistance(b, a), distance, "\(b) → \(a)")
    }
  }

  func testClosestName() {
    let names = ["linear", "attend", "append", "rope", "rope_append", "T", "cache"]
    let cases: [(String, String?)] = [
      ("lienar", "linear"), ("LINEAR", "linear"), ("atend", "attend"), ("apend", "append"), ("rop", "rope"),
      ("cahce", "cache"), ("t", "T"), ("S", nil), ("", nil), ("completely-else", nil), ("rope_apend", "rope_append"),
    ]
    for (name, wanted) in cases { XCTAssertEqual(closestName(to: name, in: names), wanted, "for '\(name)'") }
    XCTAssertNil(closestName(to: "x", in: []))
    // Of two that are equally close, the first.
    XCTAssertEqual(closestName(to: "abcd", in: ["abce", "abcf"]), "abce")
    XCTAssertEqual(closestName(to: "abcdef", in: ["abcdxy", "abcdex"]), "abcdex")
  }
}
