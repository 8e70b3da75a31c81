import DustinIR
import DustinModels
import DustinPasses
import DustinSupport
import DustinTesting
import XCTest

@testable import DustinDriver

/// `parse(print(m))` prints the same text, for every module that the bundled pair is on its way to kernels.
final class CompilationRoundTripTests: XCTestCase {
  /// Reads what every pass printed; a text that was seen before says nothing new.
  private final class RoundTrip: Instrumentation {
    private(set) var seen: Set<String> = []
    private(set) var failures: [String] = []
    var title = ""

    func willRun(_ pass: any Pass, at index: Int, on module: Module) { check(module, "before \(pass.name)") }
    func didRun(_ pass: any Pass, at index: Int, on module: Module, outcome: PassOutcome) {
      check(module, "after \(pass.name)")
    }

    private func check(_ module: Module, _ moment: String) {
      let text = module.text()
      guard seen.insert(text).inserted else { return }
      do {
        let again = try ModuleParser.parseVerified(SourceBuffer(name: "\(title) \(moment)", text: text))
        if again.text() != text { failures.append("\(title) \(moment): the text reads back as another module") }
        if module.copy().text() != text { failures.append("\(title) \(moment): a copy differs") }
      } catch {
        failures.append("\(error)")
      }
    }
  }

  func testEveryModuleOfEveryCompilation() throws {
    let watcher = RoundTrip()
    let sources = [(ModelRole.target, target), (.draft, draft)]
    for (role, path) in sources {
      for numerics in NumericsChoice.allCases {
        for preset in [nil] + PassRegistry.presets.map({ $0().name }) {
          watcher.title = "\(role) \(numerics) \(preset ?? "dense")"
          let module = try ModelDirectory(path: path).importModule(context: nil, maxRows: 512)
          let choice = try preset.map { try PresetChoice($0, sparsity: nil, target: target, draft: draft).text }
          let text = try PassPipeline.missing(
            in: module, to: .planned, role: role.rawValue, numerics: numerics.rawValue, preset: choice)
          var manager = PassManager()
          manager.instrumentations = [watcher]
          try manager.run(try PassPipeline.parse(text, registry: .standard), on: module)
          XCTAssertEqual(module.stage, .planned)
        }
      }
    }
    for failure in watcher.failures { XCTFail(failure) }
    // Two models in two numerics, dense and with every preset, in a dozen steps that change something.
    XCTAssertGreaterThan(watcher.seen.count, 2 * 2 * PassRegistry.presets.count * 8)
  }

  /// Tests of errors do not parse; every other file does, and its text reads back.
  func testEveryFileOfTheRepository() throws {
    var count = 0
    for path in try DustTest.files(below: "\(root)/IR") {
      guard let module = try? ModuleParser.parse(SourceBuffer(name: path, utf8: try readFile(path))) else {
        let text = String(decoding: try readFile(path), as: UTF8.self)
        XCTAssertTrue(text.contains("// error: "), "\(path) neither parses nor says why it should not")
        continue
      }
      let text = module.text()
      XCTAssertEqual(try ModuleParser.parse(SourceBuffer(name: path, text: text)).text(), text, path)
      count += 1
    }
    XCTAssertGreaterThan(count, 60)
  }
}
