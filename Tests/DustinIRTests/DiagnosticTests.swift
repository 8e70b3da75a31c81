import DustinSupport
import XCTest

@testable import DustinIR

/// Errors stand where the `// error COLUMN id: message` comments of `ErrorCases` say, and nowhere else.
final class DiagnosticTests: XCTestCase {
  func testErrorCases() {
    for (title, text) in ErrorCases.all {
      let found = ErrorCases.diagnostics(text).map { ErrorCases.show($0) }
      XCTAssertEqual(found, ErrorCases.expected(text), "in case '\(title)'")
    }
  }

  func testNotes() throws {
    for (title, note) in ErrorCases.notes {
      let text = try XCTUnwrap(ErrorCases.all.first { $0.title == title }?.text, "there is no case '\(title)'")
      let notes = ErrorCases.diagnostics(text).flatMap(\.notes).map(\.message)
      XCTAssertTrue(notes.contains(note), "'\(note)' is not among \(notes)")
    }
  }

  /// A diagnostic that no case shows fails by name.
  func testEveryDiagnosticHasACase() throws {
    var seen = Set(ErrorCases.all.flatMap { ErrorCases.diagnostics($0.text) }.map(\.id))
    for (_, make) in BuiltModules.all { seen.formUnion(Verifier.diagnostics(for: make()).map(\.id)) }
    let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../../Sources/DustinIR")
    let pattern = #/(?:report|Diagnostic|DiagnosticError|append|return|\?) ?\(*\s*"([a-z]+(?:-[a-z]+)*)",/#
    var ids: Set<String> = []
    for folder in ["Text", "Verify"] {
      for file in try FileManager.default.contentsOfDirectory(atPath: sources.appendingPathComponent(folder).path) {
        let text = try String(contentsOf: sources.appendingPathComponent("\(folder)/\(file)"), encoding: .utf8)
        for match in text.matches(of: pattern) { ids.insert(String(match.1)) }
      }
    }
    seen.formUnion(ErrorCases.diagnostics(Self.binary).map(\.id))
    XCTAssertGreaterThan(ids.count, 30, "the pattern misses the ids in the sources")
    for id in ids.sorted() where !seen.contains(id) { XCTFail("no case shows the diagnostic '\(id)'") }
  }

  private static let binary = "\u{7f}ELF\u{0}\u{1}%%%\n\u{0}"

  /// One error, whatever the bytes are.
  func testABinaryFileIsNoModule() {
    XCTAssertEqual(ErrorCases.diagnostics(Self.binary).map(\.id), ["not-text"])
  }

  func testEmptyText() {
    for text in ["", "\n\n", "// Nothing."] {
      let lines = text.split(separator: "\n", omittingEmptySubsequences: false).count
      let found = ErrorCases.diagnostics(text)
      XCTAssertEqual(found.map(\.id), ["version", "stage"])
      XCTAssertEqual(found.compactMap { $0.range?.buffer.position(of: $0.range?.start ?? 0).line }, [lines, lines])
    }
  }

  func testRendering() {
    let text = ErrorCases.prelude + "func @f(%x: f32[T, 64]) -> () {\n  %y = sillu %x : f32[T, 64]\n  return\n}\n"
    XCTAssertThrowsError(try ModuleParser.parse(SourceBuffer(name: "a.dust", text: text))) { error in
      XCTAssertEqual(
        "\(error)",
        """
        a.dust:12:8: error: there is no op 'sillu'
            %y = sillu %x : f32[T, 64]
                 ^~~~~
        note: did you mean 'silu'?
        """)
    }
  }

  /// Thousands of errors with long names take no time worth speaking of and none is lost.
  func testManyErrors() {
    let name = String(repeating: "x", count: 60)
    let lines = (0..<3_000).map { "  %a\($0) = silu %\(name)\($0) : f32[T, 64]\n" }.joined()
    let text = ErrorCases.prelude + "func @f() -> () {\n" + lines + "  return\n}\n"
    XCTAssertEqual(ErrorCases.diagnostics(text).count, 3_000)
  }
}
