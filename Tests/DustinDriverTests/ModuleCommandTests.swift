import DustinIR
import DustinPasses
import DustinSupport
import DustinTesting
import Foundation
import XCTest

@testable import DustinDriver

/// The commands that read and write modules.
final class ModuleCommandTests: XCTestCase {
  /// `IR/models` shows what the bundled pair becomes.
  func testCanonicalModulesAreThoseOfTheBundledPair() throws {
    for (name, model) in [("target", target), ("draft", draft)] {
      let imported = dustin(["import", "-m", model])
      XCTAssertEqual(imported.status, 0, imported.errors)
      try compare(imported.output, "IR/models/\(name).dust")
      let lowered = dustin(["opt", "-p", "\(name)-fast", "--verify-each"], input: imported.output)
      XCTAssertEqual(lowered.status, 0, lowered.errors)
      try compare(lowered.output, "IR/models/\(name)-fast.dust")
      // As 'run --preset' compiles it: both signals, one set, and a draft that reads through a set of its own.
      let preset = "dustin{look=1:1 history=6:1.4}"
      let sparse = dustin(
        ["opt", "-p", "\(name),numerics{mode=fast},\(preset),choose-kv-layout,kernels", "--verify-each"],
        input: imported.output)
      XCTAssertEqual(sparse.status, 0, sparse.errors)
      try compare(sparse.output, "IR/models/\(name)-dustin.dust")
    }
  }

  private func compare(_ text: String, _ path: String) throws {
    if DustTest.blessesByEnvironment {
      return try writeFileAtomically("\(root)/\(path)", bytes: Array(text.utf8))
    }
    let found = try String(decoding: readFile("\(root)/\(path)"), as: UTF8.self)
    XCTAssertTrue(
      found == text, "\(path) is not what the commands print; \(DustTest.blessVariable)=1 in the environment writes it")
  }

  func testEveryModuleIsCheckedAndFormatsToItself() throws {
    let names = ["target", "draft", "target-fast", "draft-fast", "target-dustin", "draft-dustin"].map {
      "\(root)/IR/models/\($0).dust"
    }
    let checked = dustin(["check"] + names)
    XCTAssertEqual(checked.status, 0, checked.errors)
    XCTAssertEqual(checked.output, "")
    for name in names {
      XCTAssertEqual(dustin(["fmt", name]).output, String(decoding: try readFile(name), as: UTF8.self), name)
      let read = dustin(["opt", name])
      XCTAssertEqual(read.output, String(decoding: try readFile(name), as: UTF8.self), name)
    }
  }

  /// Formatting keeps every comment, and formatting twice changes nothing.
  func testFormattingKeepsComments() throws {
    var count = 0
    for file in try DustTest.files(below: "\(root)/IR/tests") {
      let source = String(decoding: try readFile(file), as: UTF8.self)
      let once = dustin(["fmt", file])
      // Tests of errors do not parse.
      guard once.status == 0 else { continue }
      count += 1
      func comments(_ text: String) -> [String] {
        text.split(separator: "\n").compactMap { line in
          line.range(of: "//").map { line[$0.lowerBound...].trimmingCharacters(in: .whitespaces) }
        }
      }
      XCTAssertEqual(comments(once.output).sorted(), comments(source).sorted(), file)
      let twice = dustin(["fmt", "-"], input: once.output)
      XCTAssertEqual(twice.output, once.output, file)
    }
    XCTAssertGreaterThan(count, 10)
  }

  func testFormattingOrdersStatementsWithTheirComments() {
    let source = """
      // a module
      dustin 1
      stage tensor
      // the weight
      weight @"a // b" : bf16[4]
      dim T <= 8 // rows
      // the function
      func @f( // one
        %x : f32[T,4] // two
      ) -> (f32[T, 4]) {fidelity = exact} {
          // the op
        %y = add %x,%x : f32[T, 4] // twice
        return %y
      } // end

      // last
      """
    let outcome = dustin(["fmt", "-"], input: source)
    XCTAssertEqual(
      outcome.output,
      """
      // a module
      dustin 1
      stage tensor

      dim T <= 8  // rows

      // the weight
      weight @"a // b" : bf16[4]

      // the function
      func @f(%x: f32[T, 4]) -> (f32[T, 4]) {fidelity = exact} {  // one // two
        // the op
        %y = add %x, %x : f32[T, 4]  // twice
        return %y
      }  // end

      // last

      """, outcome.errors)
  }

  func testFormattingInPlace() throws {
    let folder = try TemporaryFolder()
    let path = try folder.write("a.dust", "dustin 1\nstage   tensor\n")
    XCTAssertEqual(dustin(["fmt", "-i", path]).output, "")
    XCTAssertEqual(String(decoding: try readFile(path), as: UTF8.self), "dustin 1\nstage tensor\n")
    XCTAssertEqual(dustin(["fmt", "-i", "-"]).status, 64)
  }

  func testCheckPrintsEveryErrorOfEveryFile() throws {
    let folder = try TemporaryFolder()
    let first = try folder.write("first.dust", "dustin 1\nstage tensr\n")
    let second = try folder.write("second.dust", "dustin 2\nstage tensor\ndim T\n")
    let outcome = dustin(["check", first, second])
    XCTAssertEqual(outcome.status, 1)
    XCTAssertTrue(outcome.errors.contains("first.dust:2:7: error: 'tensr' is not a stage"), outcome.errors)
    XCTAssertTrue(outcome.errors.contains("second.dust:1:8: error: this program reads version 1"), outcome.errors)
    XCTAssertTrue(outcome.errors.contains("second.dust:3:"), outcome.errors)
  }

  func testOptReportsAndLimits() throws {
    let module = "\(root)/IR/models/draft.dust"
    let all = dustin([
      "opt", module, "-p", "draft-fast", "--timing", "--stats", "--print-ir-after=cse", "--print-ir-after-change",
      "--print-ir-before=dce",
    ])
    XCTAssertEqual(all.status, 0, all.errors)
    XCTAssertTrue(all.errors.contains("// ---- after pass"), all.errors)
    XCTAssertTrue(all.errors.contains("// ---- before pass"), all.errors)
    XCTAssertTrue(all.errors.contains(" total\n"), all.errors)
    XCTAssertTrue(all.errors.contains("plan-memory: arena-bytes.draft"), all.errors)
    let none = dustin(["opt", module, "-p", "draft-fast", "--pass-limit", "0"])
    XCTAssertEqual(none.output, String(decoding: try readFile(module), as: UTF8.self))
    let plan = dustin(["opt", module, "-p", "draft-fast", "--emit", "plan", "--cpu", "x86-64-v3"])
    XCTAssertTrue(plan.output.hasPrefix("plan for x86-64-v3\n"), plan.output)
    XCTAssertTrue(dustin(["opt", module, "--emit", "plan"]).errors.contains("needs stage 'planned'"))
  }

  /// The references are what the commands print of the declarations.
  func testReferencesAreCurrent() throws {
    for (command, path) in [("ops", "IR/OPS.md"), ("passes", "IR/PASSES.md")] {
      let printed = dustin([command, "--markdown"])
      XCTAssertEqual(printed.status, 0, printed.errors)
      try compare(printed.output, path)
    }
    // A section as it stands in the whole.
    let passes = dustin(["passes", "--markdown"]).output
    for name in PassRegistry.standard.names {
      let section = dustin(["passes", "--markdown", name]).output
      XCTAssertTrue(passes.contains("\n" + section), name)
      XCTAssertTrue(
        section.contains("Published: ") || FileManager.default.fileExists(atPath: "\(root)/IR/tests/\(name)"),
        "IR/PASSES.md says that the tests of \(name) are in IR/tests/\(name)")
    }
    XCTAssertTrue(
      dustin(["ops", "--markdown"]).output.contains("\n" + dustin(["ops", "--markdown", "attend"]).output))
  }

  func testEveryOpPassAndPipelineIsExplained() {
    for name in OpRegistry.standard.definitions.map(\.name) {
      XCTAssertTrue(dustin(["ops", name]).output.contains("example\n"), name)
    }
    for name in PassRegistry.standard.names {
      XCTAssertTrue(dustin(["passes", name]).output.hasPrefix(name + "\n"), name)
    }
    for pipeline in PassRegistry.standard.pipelines {
      XCTAssertEqual(dustin(["pipelines", pipeline.name]).output, pipeline.text + "\n")
    }
    XCTAssertTrue(dustin(["version"]).output.hasPrefix("dustin "))
  }
}
