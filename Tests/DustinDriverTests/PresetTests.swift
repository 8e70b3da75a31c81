import DustinIR
import DustinModels
import DustinPasses
import DustinSupport
import Foundation
import XCTest

@testable import DustinDriver

/// `--preset`, `dustin presets`, and what a sparsity file adds.
final class PresetTests: XCTestCase {
  private func choose(
    _ text: String, file options: [(String, String)]? = nil, hasDraft: Bool = true
  ) throws -> PresetChoice {
    let file = options.map { given in
      SparsityFile(target: "t", draft: "d", options: given.map { (name: $0.0, value: $0.1) }, why: [])
    }
    return try PresetChoice(text, file: file, hasDraft: hasDraft)
  }

  private func error(_ body: () throws -> Void, line: UInt = #line) -> DiagnosticError? {
    do {
      try body()
      XCTFail("nothing was thrown", line: line)
    } catch let error as DiagnosticError {
      XCTAssertEqual(error.diagnostics.count, 1, line: line)
      return error
    } catch {
      XCTFail("\(error)", line: line)
    }
    return nil
  }

  // MARK: Precedence

  func testTheUserGoesBeforeTheFileAndTheFileBeforeTheDefault() throws {
    let file = [("m", "100"), ("look", "1:1"), ("history", "6:1.4"), ("pool", "9"), ("draft", "128")]
    let choice = try choose("dustin{pool=3 budget=256}", file: file)
    XCTAssertEqual(choice.text, "dustin{budget=256 m=100 look=1:1 history=6:1.4 pool=3 draft=128}")
    XCTAssertEqual(choice.name, "dustin")
    XCTAssertEqual(choice.budget, 256)
    XCTAssertEqual(choice.notes, [])
    XCTAssertEqual(
      try choose("dustin", file: file).text, "dustin{m=100 look=1:1 history=6:1.4 pool=9 draft=128}")
    XCTAssertEqual(try choose("dustin", file: file).budget, 512)
  }

  /// The text that stands in the pipelines is all that there is: reading it again without a file gives the same.
  func testTheTextIsComplete() throws {
    let file = [("m", "100"), ("look", "1:1"), ("history", "6:1.4"), ("pool", "9"), ("dense-layers", "[0,9]")]
    for make in PassRegistry.presets {
      let text = try choose(make().name, file: file).text
      XCTAssertEqual(try choose(text).text, text)
    }
  }

  /// Only what a calibration finds; the rest of a preset is as it was published, whatever the models.
  func testAFileFillsOnlyWhatAPresetCalibrates() throws {
    let file = [("m", "100"), ("look", "1:1"), ("history", "6:1.4"), ("pool", "9"), ("dense-layers", "[3]")]
    XCTAssertEqual(try choose("dustin-target", file: file).text, "dustin-target{history=6:1.4 pool=9}")
    XCTAssertEqual(try choose("dustin-draft", file: file).text, "dustin-draft{look=1:1 pool=9}")
    XCTAssertEqual(try choose("spec-attn", file: file).text, "spec-attn{look=1:1}")
    for name in ["oracle", "streaming-llm", "snapkv", "quest", "vegas-rows", "spec-pv", "magicdec", "triforce"] {
      XCTAssertEqual(try choose(name, file: file).text, name)
    }
  }

  /// A share that was found at one budget is a bound at a smaller one.
  func testASmallBudgetTakesWhatItHoldsOfTheShare() throws {
    let choice = try choose("dustin{budget=64}", file: [("m", "246"), ("history", "6:1")])
    XCTAssertEqual(choice.budget, 64)
    XCTAssertEqual(choice.text, "dustin{budget=64 m=246 history=6:1}")
  }

  // MARK: Without a file, without a draft

  func testWithoutAFileEveryHeadOfTheLastLayerScoresAndANoteSaysSo() throws {
    let choice = try choose("dustin")
    XCTAssertEqual(choice.text, "dustin")
    XCTAssertEqual(choice.notes.count, 1)
    XCTAssertTrue(choice.notes[0].contains("every head of its last layer scores"), choice.notes[0])
    XCTAssertTrue(choice.notes[0].contains("the whole set is look-ahead"), choice.notes[0])
    XCTAssertTrue(choice.notes[0].contains("dustin calibrate"), choice.notes[0])
    XCTAssertFalse(try choose("dustin{history=6:1}").notes[0].contains("whole set"))
    XCTAssertEqual(try choose("dustin{look=1:1}").notes, [])
  }

  func testWithoutADraftTheHistoryChoosesEverything() throws {
    for choice in [
      try choose("dustin", file: [("m", "100"), ("history", "6:1"), ("look", "0:1")], hasDraft: false),
      try choose("dustin{history=6:1}", hasDraft: false),
    ] {
      XCTAssertTrue(choice.text.contains("m=0") && choice.text.contains("history=6:1"), choice.text)
      XCTAssertEqual(choice.notes.count, 1)
      XCTAssertTrue(choice.notes[0].contains("(m=0)"), choice.notes[0])
    }
    for name in ["oracle", "streaming-llm", "snapkv", "quest", "vegas-rows", "spec-pv"] {
      XCTAssertEqual(try choose(name, hasDraft: false).notes, [])
    }
    for text in ["dustin", "dustin-draft", "spec-attn", "dustin{m=400 history=6:1}"] {
      let found = error { _ = try choose(text, hasDraft: false) }?.diagnostics.first
      XCTAssertEqual(found?.id, "preset-draft")
      XCTAssertTrue(found?.message.contains("there is no draft") ?? false, "\(text): \(found?.message ?? "")")
    }
  }

  func testAPresetWithDenseVerificationHasNoBudget() throws {
    XCTAssertNil(try choose("magicdec").budget)
    XCTAssertEqual(try choose("streaming-llm{budget=99}").budget, 99)
  }

  // MARK: Errors

  func testErrorsPointIntoThePreset() throws {
    let cases: [(text: String, start: Int, message: String)] = [
      ("dustn", 0, "there is no preset 'dustn'; did you mean 'dustin'?"),
      ("dustn{budget=5}", 0, "there is no preset 'dustn'; did you mean 'dustin'?"),
      ("dustin{buget=5}", 7, "'dustin' has no option 'buget'; did you mean 'budget'?"),
      ("dustin{budget=many}", 14, "'budget' must be a whole number, not 'many'"),
      ("dustin{budget=0}", 0, "dustin: sparsify-verify needs budget=1 … 1048576, not 0"),
      ("dustin{budget=128", 6, "this '{' has no matching '}'"),
      ("dustin-target", 0, "dustin-target needs history=LAYER:HEADS, or a sparsity.json"),
      ("dustin{m=0}", 0, "dustin: m=0 leaves 492 positions to the history, and history=LAYER:HEADS is not given"),
      ("dustin{m=-1}", 0, "dustin needs m=0 or more, not -1"),
      ("dustin{draft=7 sink=5}", 0, "dustin: draft=7 does not hold sink=5 and 3 last positions"),
      ("dustin{look=1}", 12, "'look' must be layers with heads, as in 6:1.4+7:all, not '1'"),
      ("dustin{dense-every=500}", 0, "dustin: policy needs dense-every=0 … 400, not 500"),
      ("snapkv{budget=32}", 0, "snapkv: budget=32 does not hold window=32 and what it chooses"),
      ("dustin,quest", 0, "--preset takes one preset, not 2"),
      ("", 0, "--preset takes one preset, not none"),
      ("canonicalize", 0, "there is no preset 'canonicalize'"),
    ]
    for (text, start, message) in cases {
      let found = error { _ = try choose(text) }?.diagnostics.first
      XCTAssertEqual(found?.message, message, text)
      XCTAssertEqual(found?.range?.start, start, text)
      XCTAssertEqual(found?.range?.buffer.name, "--preset", text)
    }
  }

  func testTheCommandShowsTheCaret() {
    let outcome = dustin(["run", "-m", target, "-md", draft, "-p", "x", "--preset", "dustin{budgt=5}"])
    XCTAssertEqual(outcome.status, 1)
    XCTAssertEqual(
      outcome.errors,
      """
      --preset:1:8: error: 'dustin' has no option 'budgt'; did you mean 'budget'?
        dustin{budgt=5}
               ^~~~~

      """)
  }

  // MARK: dustin presets

  func testPresetsAreListedAndExplained() {
    let list = dustin(["presets"])
    XCTAssertEqual(list.status, 0)
    let names = PassRegistry.presets.map { $0().name }
    XCTAssertEqual(list.output.split(separator: "\n").map { String($0.prefix { $0 != " " }) }, names)
    for make in PassRegistry.presets {
      let preset = make()
      let outcome = dustin(["presets", preset.name])
      XCTAssertEqual(outcome.status, 0, outcome.errors)
      XCTAssertTrue(outcome.output.hasPrefix("\(preset.name)\n  \(preset.summary)\n  \(preset.source)\n"))
      for text in preset.options.map({ "  \($0.name)=" }) + preset.deviations.map({ "  \($0)\n" }) {
        XCTAssertTrue(outcome.output.contains(text), text)
      }
    }
    XCTAssertTrue(dustin(["presets", "magicdec"]).output.contains("  target: as without the preset\n"))
    XCTAssertTrue(
      dustin(["presets", "dustin{budget=128}"]).output.contains(
        "  budget=a whole number (given 128): most positions that verification reads"))
    XCTAssertTrue(
      dustin(["presets", "dustin{budget=128}"]).output.contains("  target: sparsify-verify{signals=[look] budget=128 "))
  }

  func testAPresetThatIsNone() {
    let misspelt = dustin(["presets", "dustn"])
    XCTAssertEqual(misspelt.status, 1)
    XCTAssertTrue(misspelt.errors.contains("'dustn'") && misspelt.errors.contains("'dustin'"), misspelt.errors)
    XCTAssertEqual(dustin(["presets", "dustin{budget=3}"]).status, 1)
    // The target's passes do not know the draft.
    for (look, message) in [
      ("99:all", "the draft has no layer 99, only 0 … 1"), ("1:3.7", "layer 1 of the draft has no head 7, only 0 … 3"),
    ] {
      let preset = "dustin{pool=3 look=\(look)}"
      for more in [["run", "-p", "x"], ["opt", "--compile-to", "tensor"]] {
        let refused = dustin(more + ["-m", target, "-md", draft, "--preset", preset])
        XCTAssertEqual(refused.status, 1)
        let caret = String(repeating: " ", count: 16) + "^" + String(repeating: "~", count: 4 + look.count)
        XCTAssertTrue(
          refused.errors.hasPrefix("--preset:1:15: error: \(message)\n  \(preset)\n\(caret)\n"), refused.errors)
      }
    }
    let two = dustin(["presets", "dustin{budget=128},quest"])
    XCTAssertEqual(two.status, 1)
    XCTAssertTrue(two.errors.contains("one preset at a time, not 2"), two.errors)
  }
}
