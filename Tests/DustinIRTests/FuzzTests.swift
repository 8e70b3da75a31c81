import DustinIR
import DustinSupport
import DustinTesting
import XCTest

/// Broken texts neither trap nor hang, and whatever reads prints to a text that reads and prints the same.
///
/// `make fuzz` tries more of them.
final class FuzzTests: XCTestCase {
  /// Inputs of a test: a share of what `DUSTIN_FUZZ` asks for, or the usual number.
  private func count(_ usual: Int, share: Double) -> Int {
    let wanted = ProcessInfo.processInfo.environment["DUSTIN_FUZZ"].flatMap { Int($0) }
    return wanted.map { Int(Double($0) * share) } ?? usual
  }

  func testMutatedTexts() throws {
    let texts =
      [Texts.tensor, Texts.kernel, Texts.planned, Texts.sparse]
      + OpRegistry.standard.definitions.map(ExampleTests.module)
    try check(texts, rounds: count(20_000, share: 0.6), seed: 20_260_101, share: 0.025...0.75)
  }

  /// The files of the repository: modules and tests.
  func testMutatedFiles() throws {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../IR/tests")
      .path
    let texts = try DustTest.files(below: folder).map { String(decoding: try readFile($0), as: UTF8.self) }
    XCTAssertGreaterThan(texts.count, 50)
    try check(texts, rounds: count(5_000, share: 0.2), seed: 20_260_102, share: 0.01...0.75)
  }

  private func check(_ texts: [String], rounds: Int, seed: UInt64, share: ClosedRange<Double>) throws {
    var mutator = TextMutator(texts, seed: seed)
    var (read, verified) = (0, 0)
    for round in 0..<rounds {
      let buffer = SourceBuffer(name: "fuzz", utf8: mutator.next())
      let module: Module
      do {
        module = try ModuleParser.parse(buffer)
      } catch {
        let diagnostics = (error as? DiagnosticError)?.diagnostics ?? []
        XCTAssertFalse(diagnostics.isEmpty, "round \(round) failed without a diagnostic")
        for diagnostic in diagnostics {
          XCTAssertNotNil(diagnostic.range, "round \(round): '\(diagnostic.message)' has no place")
        }
        if round % 50 == 0 { XCTAssertFalse("\(error)".isEmpty) }
        // The rules also run over the functions that could be read.
        XCTAssertThrowsError(try ModuleParser.parseVerified(buffer))
        continue
      }
      read += 1
      if Verifier.diagnostics(for: module).isEmpty { verified += 1 }
      let text = module.text()
      do {
        let again = try ModuleParser.parse(SourceBuffer(name: "again", text: text))
        XCTAssertEqual(again.text(), text, "round \(round)")
        XCTAssertEqual(module.copy().text(), text, "round \(round)")
      } catch {
        XCTFail("round \(round): the printed text does not read:\n\(error)\n\(text)")
      }
    }
    // The mutations must leave something to test on both sides.
    XCTAssertGreaterThan(Double(read), share.lowerBound * Double(rounds))
    XCTAssertLessThan(Double(read), share.upperBound * Double(rounds))
    XCTAssertGreaterThan(Double(verified), 0.005 * Double(rounds))
  }
}
