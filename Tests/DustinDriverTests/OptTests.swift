import DustinIR
import DustinPasses
import DustinSupport
import DustinTesting
import Foundation
import XCTest

@testable import DustinDriver

/// `dustin opt`: what it shows of passes, and what it leaves behind.
final class OptTests: XCTestCase {
  private let module = "\(root)/IR/models/target.dust"
  private let sparse = "target,numerics{mode=fast},dustin{look=1:1 history=6:1.4},choose-kv-layout,kernels"

  private func text(_ path: String) throws -> String { String(decoding: try readFile(path), as: UTF8.self) }

  // MARK: Diffs and dumps

  /// Functions that passes made stand in no file: errors point into the module as it is.
  func testErrorsOfPassesPointAtTheFunctionThatTheyMean() throws {
    let shared = dustin(["opt", module, "-p", "target,numerics{mode=fast},share-selection"])
    XCTAssertEqual(shared.status, 1)
    let lines = shared.errors.split(separator: "\n", omittingEmptySubsequences: false)
    XCTAssertTrue(
      lines[0].hasPrefix("<before share-selection>:")
        && lines[0].hasSuffix(
          "error: share-selection: nothing in @verify reads through a set; run sparsify-verify first"),
      shared.errors)
    XCTAssertTrue(lines[1].hasPrefix("  func @verify("), shared.errors)
    XCTAssertTrue(lines[2].hasPrefix("       ^~~~~~~"), shared.errors)
    // An op's line; and what stands in the file as it is keeps its place there.
    let again = dustin(["opt", module, "-p", "target,numerics,sparsify-draft{static=true}"]).errors
    XCTAssertTrue(again.contains("has no function @draft"), again)
    let twice = dustin([
      "opt", module, "-p", "target,numerics,streaming-llm,drop{function=dense},sparsify-verify{signals=[]}",
    ]).errors
    XCTAssertTrue(twice.hasPrefix("<before sparsify-verify>:"), twice)
    XCTAssertTrue(twice.split(separator: "\n")[1].contains("%l0.a = attend"), twice)
    let forward = dustin(["opt", module, "-p", "lower-to-kernel"]).errors
    XCTAssertTrue(forward.hasPrefix("\(module):"), forward)
    XCTAssertTrue(forward.split(separator: "\n")[1].hasPrefix("  func @forward("), forward)
  }

  func testDiffShowsEveryChangingPass() throws {
    let outcome = dustin(["opt", module, "-p", "canonicalize,derive{from=forward as=verify},dce", "--diff"])
    XCTAssertEqual(outcome.status, 0, outcome.errors)
    let lines = outcome.errors.split(separator: "\n")
    let heads = lines.filter { $0.hasPrefix("--- ") || $0.hasPrefix("+++ ") }
    XCTAssertEqual(
      heads,
      [
        "--- before pass 2: derive{from=forward as=verify}", "+++ after pass 2: derive{from=forward as=verify}",
      ])
    XCTAssertTrue(lines.contains { $0.hasPrefix("+func @verify(") })
    XCTAssertFalse(lines.contains { $0.hasPrefix("-") && !$0.hasPrefix("---") }, "a copy takes nothing away")
  }

  /// Verification gets its set: the diff of the pass has the attention of the layers, before and after.
  func testDiffOfSparseVerification() throws {
    let outcome = dustin(["opt", module, "-p", "target,numerics{mode=fast},dustin{look=1:1 history=6:1.4}", "--diff"])
    XCTAssertEqual(outcome.status, 0, outcome.errors)
    let diff = outcome.errors.components(separatedBy: "--- before pass").last ?? ""
    for layer in 0..<10 {
      XCTAssertTrue(diff.contains("\n-  %l\(layer).a = attend %l\(layer).qr"), "layer \(layer)")
      XCTAssertTrue(diff.contains("\n+  %l\(layer).a = attend %l\(layer).qr") || layer == 6, "layer \(layer)")
    }
    XCTAssertTrue(diff.contains("@@ func @verify\n"))
  }

  func testDumpsSayWhatAPassDid() throws {
    let outcome = dustin(["opt", module, "-p", sparse, "--print-ir-after=dustin", "--print-ir-after=fuse-swiglu"])
    XCTAssertEqual(outcome.status, 0, outcome.errors)
    let notes = outcome.errors.split(separator: "\n").filter { $0.hasPrefix("//") }
    // 10 layers, keys and values of 4 heads of 64 bf16 numbers: 32,769 positions against 512 and the row's own.
    XCTAssertTrue(
      notes.contains(
        "//      @verify, one token at L = 32768: K and V read 320 MiB -> 5 MiB, FLOPs 722.5 M -> 61.9 M"), "\(notes)")
    XCTAssertTrue(notes.contains("//      @verify is approximate: sparsify-verify"), "\(notes)")
    XCTAssertTrue(notes.contains("//      fused-swiglus = 30"), "\(notes)")
    XCTAssertTrue(notes.contains { $0.contains("30 changed, 0 added, 90 removed") }, "\(notes)")
    let short = dustin(["opt", module, "-p", sparse, "--print-ir-after=dustin", "--dump-length", "600"])
    XCTAssertTrue(short.errors.contains("one token at L = 600: K and V read 5.9 MiB -> 5 MiB, FLOPs"), short.errors)
    XCTAssertEqual(dustin(["opt", module, "--dump-length", "-1"]).status, 64)
  }

  func testDumpDirectory() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/dumps"
    // Leavings of an earlier run go, other files stay.
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    try writeFileAtomically(path + "/090-old.dust", bytes: Array("// ---- after pass 90: old\n".utf8))
    try writeFileAtomically(path + "/100-mine.dust", bytes: Array("dustin 1\nstage tensor\n".utf8))
    let outcome = dustin(["opt", module, "-p", sparse, "--dump-dir", path])
    XCTAssertEqual(outcome.status, 0, outcome.errors)
    let names = try FileManager.default.contentsOfDirectory(atPath: path).sorted()
    let passes = try PassPipeline.parse(sparse, registry: .standard).passes.map(\.name)
    let wanted = (["input"] + passes).enumerated().map { index, name in
      String(String(1000 + index).dropFirst()) + "-\(name).dust"
    }
    XCTAssertEqual(names, wanted + ["100-mine.dust"])
    XCTAssertEqual(wanted[14], "014-fuse-qkv.dust")
    for name in wanted {
      let module = try ModuleParser.parseVerified(SourceBuffer(name: name, text: try text("\(path)/\(name)")))
      if name == wanted.last { XCTAssertEqual(module.text(), outcome.output) }
    }
    XCTAssertTrue(try text("\(path)/000-input.dust").hasSuffix(try text(self.module)))
    XCTAssertTrue(
      dustin(["opt", module, "--dump-dir", "/proc/nothing/here"]).errors.contains("cannot make the directory"))
  }

  // MARK: Whole compilations

  func testCompileToAStage() throws {
    for (role, path) in [("target", target), ("draft", draft)] {
      let model = dustin(["opt", "-m", path, "--role", role, "--compile-to", "planned"])
      XCTAssertEqual(model.status, 0, model.errors)
      XCTAssertEqual(model.output, try text("\(root)/IR/models/\(role)-fast.dust"))
      // In steps it becomes the same.
      let tensor = dustin(["opt", "\(root)/IR/models/\(role).dust", "--role", role, "--compile-to", "tensor"])
      XCTAssertTrue(tensor.output.hasPrefix("dustin 1\nstage tensor"), tensor.errors)
      let kernel = dustin(["opt", "--compile-to", "kernel"], input: tensor.output)
      XCTAssertTrue(kernel.output.hasPrefix("dustin 1\nstage kernel"), kernel.errors)
      XCTAssertEqual(dustin(["opt", "--compile-to", "planned"], input: kernel.output).output, model.output)
    }
  }

  func testCompileWithAPreset() throws {
    let preset = "dustin{look=1:1 history=6:1.4}"
    let wanted = try text("\(root)/IR/models/target-dustin.dust")
    XCTAssertEqual(dustin(["opt", module, "--compile-to", "planned", "--preset", preset]).output, wanted)
    XCTAssertEqual(
      dustin(["opt", module, "-p", "target,numerics{mode=fast},\(preset)", "--compile-to", "planned"]).output, wanted)
    // With a model, what was calibrated for it counts.
    let calibrated = dustin(["opt", "-m", target, "-md", draft, "--compile-to", "tensor", "--preset", "dustin"])
    XCTAssertEqual(calibrated.status, 0, calibrated.errors)
    let choice = try PresetChoice("dustin", sparsity: nil, target: target, draft: draft)
    XCTAssertTrue(calibrated.output.contains("preset = \"\(choice.text)\""))
  }

  func testWrongCompilations() {
    let planned = "\(root)/IR/models/target-fast.dust"
    let back = dustin(["opt", planned, "--compile-to", "tensor"])
    XCTAssertEqual(back.status, 1)
    XCTAssertTrue(back.errors.contains("the module is in stage planned, which comes behind tensor"), back.errors)
    let late = dustin(["opt", planned, "--compile-to", "planned", "--preset", "dustin"])
    XCTAssertTrue(late.errors.contains("the preset 'dustin' needs stage tensor"), late.errors)
    for arguments in [
      ["--preset", "dustin"], ["-m", target, module], ["-md", draft, "--compile-to", "tensor"],
      ["--compile-to", "kernle"], ["--sparsity", "x", "--preset", "dustin", "--compile-to", "tensor"],
    ] {
      XCTAssertEqual(dustin(["opt"] + arguments).status, 64, "\(arguments)")
    }
  }

  func testExactRefusesApproximateFunctions() throws {
    XCTAssertEqual(dustin(["opt", module, "-p", "target-fast", "--exact"]).status, 0)
    let refused = dustin(["opt", module, "-p", sparse, "--exact"])
    XCTAssertEqual(refused.status, 1)
    XCTAssertEqual(refused.output, "")
    XCTAssertTrue(refused.errors.contains("'sparsify-verify' made @verify approximate"), refused.errors)
  }

  /// What kernels become, as LLVM and the assembler write it, for a CPU that need not be this one.
  func testEmitsCode() {
    let arguments = ["opt", "\(root)/IR/models/draft-fast.dust", "--cpu", "x86-64-v3", "--emit"]
    let llvm = dustin(arguments + ["llvm"])
    XCTAssertTrue(llvm.output.contains("define ") && llvm.output.contains("@dustin_entry("), llvm.errors)
    let assembly = dustin(arguments + ["asm"])
    XCTAssertTrue(assembly.output.contains("dustin_entry:") && assembly.output.contains("%ymm"), assembly.errors)
    XCTAssertFalse(assembly.output.contains("%zmm"), "this path has no AVX-512")
    XCTAssertTrue(dustin(["opt", module, "--emit", "llvm"]).errors.contains("needs stage 'planned'"))
  }

  // MARK: Failures

  /// A reproducer says which passes from outside it needs.
  func testFailuresOfFiltersAreReproducible() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/again.dust"
    let cases: [(options: [String], again: [String])] = [
      (["-p", "cse,broken,dce", "--pass-exec", "broken=echo no module"], ["--pass-exec", "broken=echo no module"]),
      (["--pass-exec", "echo no module"], ["--pass-exec", "pass-exec=echo no module"]),
    ]
    for (options, again) in cases {
      let outcome = dustin(["opt", module, "--reproducer", path] + options)
      XCTAssertEqual(outcome.status, 1)
      XCTAssertTrue(outcome.errors.contains("what the filter printed is not a valid module"), outcome.errors)
      XCTAssertTrue(try text(path).contains("with this file and \(again[0]) '\(again[1])' fails"))
      let repeated = dustin(["test", path] + again)
      XCTAssertEqual(repeated.status, 1)
      XCTAssertTrue(repeated.errors.contains("what the filter printed is not a valid module"), repeated.errors)
    }
  }

  func testAFailureIsReproducible() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/again.dust"
    let module = "\(root)/IR/models/draft.dust"
    let outcome = dustin(["opt", module, "-p", "canonicalize,plan-memory", "--reproducer", path])
    XCTAssertEqual(outcome.status, 1)
    XCTAssertTrue(try text(path).hasPrefix("// RUN: opt -p 'plan-memory' --verify-each\n"))
    XCTAssertEqual(dustin(["opt", path, "-p", "plan-memory"]).errors, outcome.errors)
  }

  func testPassLimitCountsBothPipelines() throws {
    for limit in 0...3 {
      let halves = dustin([
        "opt", module, "-p", "canonicalize", "--compile-to", "planned", "--pass-limit", "\(limit)", "--stats",
        "--timing",
      ])
      XCTAssertEqual(halves.status, 0)
      XCTAssertEqual(halves.errors.components(separatedBy: " ms ").count - 2, limit, halves.errors)
    }
  }
}
