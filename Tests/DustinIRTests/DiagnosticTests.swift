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

  /// What only a module that a program built can have wrong: no text says it, so it has no line.
  private static let withoutText: Set<String> = [
    "bad-name", "duplicate-operation", "foreign-value", "role-count",
  ]

  /// A diagnostic that no case shows fails by name: those of texts at a line and column.
  func testEveryDiagnosticHasACase() throws {
    let cases = ErrorCases.all.flatMap { ErrorCases.diagnostics($0.text) } + ErrorCases.diagnostics(Self.binary)
    let placed = Set(cases.filter { $0.range != nil }.map(\.id))
    let built = Set(BuiltModules.all.flatMap { Verifier.diagnostics(for: $0.1()).map(\.id) })
    let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../../Sources/DustinIR")
    let pattern = #/(?:report|Diagnostic|DiagnosticError|append|return|\?) ?\(*\s*"([a-z]+(?:-[a-z]+)*)",/#
    // Whatever the code around it looks like: nothing else there is a text with hyphens.
    let hyphens = #/"([a-z]+(?:-[a-z]+)+)"/#
    var ids: Set<String> = []
    for folder in ["Text", "Verify"] {
      for file in try FileManager.default.contentsOfDirectory(atPath: sources.appendingPathComponent(folder).path) {
        let text = try String(contentsOf: sources.appendingPathComponent("\(folder)/\(file)"), encoding: .utf8)
        for match in text.matches(of: pattern) { ids.insert(String(match.1)) }
        for match in text.matches(of: hyphens) { ids.insert(String(match.1)) }
      }
    }
    XCTAssertGreaterThan(ids.count, 45, "the patterns miss the ids in the sources")
    for id in ids.sorted() {
      if Self.withoutText.contains(id) {
        XCTAssertTrue(built.contains(id), "no built module shows the diagnostic '\(id)'")
        XCTAssertFalse(placed.contains(id), "a text shows '\(id)': it needs no exception")
      } else {
        XCTAssertTrue(placed.contains(id), "no case shows the diagnostic '\(id)' at its line and column")
      }
    }
    XCTAssertEqual(placed.union(built).subtracting(ids), [], "ids that the patterns miss")
  }

  private static let binary = "\u{7f}ELF\u{0}\u{1}%%%\n\u{0}"

  /// One error, whatever the bytes are.
  func testABinaryFileIsNoModule() {
    let found = ErrorCases.diagnostics(Self.binary)
    XCTAssertEqual(found.map { String(ErrorCases.show($0).prefix { $0 != " " }) }, ["1:5"])
    XCTAssertEqual(found.map(\.id), ["not-text"])
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
