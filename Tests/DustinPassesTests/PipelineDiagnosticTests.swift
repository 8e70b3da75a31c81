import DustinIR
import DustinPasses
import DustinSupport
import XCTest

/// Every error that reading a pipeline can give, at its line and column.
final class PipelineDiagnosticTests: XCTestCase {
  private static let registry: PassRegistry = {
    var registry = PassRegistry.standard
    registry.register(NamedPipeline("loop", "Contains itself.", "cse,\n loop"))
    registry.register(NamedPipeline("wrong", "Holds a mistake.", "cse,\n  dec"))
    registry.register(NamedPipeline("inner", "Holds one that does.", "wrong"))
    return registry
  }()

  /// A pipeline, and its errors as `source line:column id`.
  private static let cases: [(text: String, errors: [String])] = [
    ("cse,\n dcee", ["-p 2:2 unknown-pass"]),
    ("cse,\n  numerics{mod=f32\n mode=f33}", ["-p 2:12 unknown-option", "-p 3:7 option-value"]),
    ("dce,derive{as=x\n  as=y}", ["-p 2:3 repeated-option"]),
    ("cse,\n\nderive{from=f}", ["-p 3:1 pass-options"]),
    ("cse,\n target-fast{a=1}", ["-p 2:13 pipeline-options"]),
    ("dce,\nloop", ["<pipeline loop> 2:2 recursive-pipeline"]),
    ("dce,inner", ["<pipeline wrong> 2:3 unknown-pass"]),
    ("cse,\n", ["-p 2:1 pipeline-syntax"]),
    ("cse,\n,dce", ["-p 2:1 pipeline-syntax"]),
    ("cse\n dce", ["-p 2:2 pipeline-syntax"]),
    ("cse,\nderive{as=x", ["-p 2:7 pipeline-syntax"]),
    ("cse,\n derive{as}", ["-p 2:9 pipeline-syntax"]),
    ("cse,\n derive{as=}", ["-p 2:12 pipeline-syntax"]),
    ("cse,\n derive{,}", ["-p 2:9 pipeline-syntax"]),
    ("derive{as=\n \"x}", ["-p 2:2 pipeline-syntax"]),
    ("sparsify-verify{signals=\n[look", ["-p 2:1 pipeline-syntax"]),
    ("cse,dce{\u{e9}=\n\u{e9}} x", ["-p 2:4 pipeline-syntax"]),
  ]

  private func errors(_ text: String) -> [Diagnostic] {
    diagnostics { _ = try PassPipeline.parse(text, registry: Self.registry, source: "-p") }
  }

  func testErrorsStandAtTheirPlaces() {
    for (text, wanted) in Self.cases {
      let found = errors(text).map { diagnostic -> String in
        guard let range = diagnostic.range else { return "nowhere \(diagnostic.id)" }
        let (line, column) = range.buffer.position(of: range.start)
        return "\(range.buffer.name) \(line):\(column) \(diagnostic.id)"
      }
      XCTAssertEqual(found, wanted, text)
    }
  }

  /// An error that no case shows fails by name.
  func testEveryErrorHasACase() throws {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../../Sources/DustinIR/Passes/PipelineParser.swift")
    let source = try String(contentsOf: file, encoding: .utf8)
    let ids = Set(source.matches(of: #/Diagnostic(?:Error)?\(\s*"([a-z]+(?:-[a-z]+)*)",/#).map { String($0.1) })
    // As many as there are places that make one, whatever they are called.
    let places = source.matches(of: #/\bDiagnostic(?:Error)?\(\s*"/#).count
    XCTAssertEqual(source.matches(of: #/\bDiagnostic(?:Error)?\(/#).count, places + 1, "one collects what was found")
    XCTAssertGreaterThan(ids.count, 6)
    let seen = Set(Self.cases.flatMap { errors($0.text).map(\.id) })
    for id in ids.sorted() where !seen.contains(id) { XCTFail("no case shows the error '\(id)'") }
  }
}
