import DustinRunner
import DustinSupport
import XCTest

@testable import DustinDriver

/// The options of executables: the table, its reader, and that `dustin run` spells them the same way.
final class RunOptionTests: XCTestCase {
  private func settings(_ arguments: [String]) throws -> RunSettings {
    let request = try RunRequest(arguments)
    XCTAssertEqual(request.kind, .run)
    return request.settings
  }

  private func complaint(_ arguments: [String]) -> String {
    do {
      _ = try RunRequest(arguments)
      return "no error"
    } catch { return (error as? UsageError)?.message ?? "another error" }
  }

  func testEveryOptionSetsItsOwnSetting() throws {
    let settings = try settings([
      "-p", "text", "-f", "book", "--prompt-ids", "ids", "--prompts", "lines", "--prompt-limit", "9", "-n", "7", "-c",
      "64",
      "-t", "2", "--draft-max", "3", "--batch-size", "5", "--temp", "0.5", "--top-k", "40", "--top-p=0.9", "--min-p",
      "0.1",
      "--seed=12", "--stop", "a", "--stop", "-b", "--exact", "--ignore-eos", "--json", "--no-stream", "-q",
      "--progress",
      "--logits", "l",
    ])
    XCTAssertEqual(settings.prompt, "text")
    XCTAssertEqual(settings.file, "book")
    XCTAssertEqual(settings.promptIds, "ids")
    XCTAssertEqual(settings.prompts, "lines")
    XCTAssertEqual(settings.promptLimit, 9)
    XCTAssertEqual(settings.count, 7)
    XCTAssertEqual(settings.contextSize, 64)
    XCTAssertEqual(settings.threads, 2)
    XCTAssertEqual(settings.draftMax, 3)
    XCTAssertEqual(settings.batchSize, 5)
    XCTAssertEqual(settings.sampling.temperature, 0.5)
    XCTAssertEqual(settings.sampling.topK, 40)
    XCTAssertEqual(settings.sampling.topP, 0.9)
    XCTAssertEqual(settings.sampling.minP, 0.1)
    XCTAssertEqual(settings.sampling.seed, 12)
    XCTAssertEqual(settings.stop, ["a", "-b"])
    XCTAssertEqual(settings.logits, "l")
    XCTAssertTrue(
      settings.exact && settings.ignoreEos && settings.json && settings.noStream && settings.quiet && settings.progress)
  }

  func testWrongArgumentsAreNamed() {
    XCTAssertEqual(complaint(["--tmep", "1"]), "there is no option '--tmep'; did you mean '--temp'?")
    XCTAssertEqual(complaint(["-n"]), "'-n' needs a value: -n <n>")
    XCTAssertEqual(complaint(["-n", "many"]), "'-n' takes a whole number, not 'many'")
    XCTAssertEqual(complaint(["-n", "99999999999999999999"]), "'-n' takes a whole number, not '99999999999999999999'")
    XCTAssertEqual(complaint(["--temp", "warm"]), "'--temp' takes a number, not 'warm'")
    XCTAssertEqual(complaint(["--seed", "-1"]), "'--seed' takes a whole number from 0 up, not '-1'")
    XCTAssertEqual(complaint(["--json=yes"]), "'--json' takes no value")
    XCTAssertTrue(complaint(["book.txt"]).hasPrefix("'book.txt' belongs to no option"))
    XCTAssertTrue(complaint([""]).hasPrefix("'' belongs to no option"))
  }

  func testThreadsAndSamplingAreChecked() throws {
    func problem(_ arguments: [String]) throws -> String? {
      try settings(arguments).problem(hasDraft: false, hasPreset: true)
    }
    XCTAssertNil(try problem(["-p", "x"]))
    XCTAssertTrue(try XCTUnwrap(problem([])).hasPrefix("There is nothing to continue"))
    XCTAssertTrue(try XCTUnwrap(problem(["-p", "x", "-f", "y"])).hasPrefix("Give only one of"))
    XCTAssertTrue(try XCTUnwrap(problem(["-p", "x", "-t", "0"])).hasPrefix("--threads must be from 1 to"))
    XCTAssertTrue(try XCTUnwrap(problem(["-p", "x", "--temp", "-1"])).hasPrefix("--temp must be a number from 0 up"))
    XCTAssertTrue(try XCTUnwrap(problem(["-p", "x", "--exact"])).hasPrefix("--exact with a preset needs a draft"))
  }

  /// `dustin run` declares the options a second time, for its own reader: names and texts must not part.
  func testTheToolSpellsThemTheSameWay() {
    let help = dustin(["run", "--help"]).output.split { $0.isWhitespace }.joined(separator: " ")
    for option in RunOption.all {
      // The tool prints the short name of each kind first, however they are declared.
      for name in option.names { XCTAssertTrue(help.contains(name), name) }
      let text = option.help.split { $0.isWhitespace }.joined(separator: " ")
      XCTAssertTrue(help.contains(text), "\(option.names[0]): \(text)")
    }
    let own = RunRequest.help(program: "app")
    for option in RunOption.all {
      XCTAssertTrue(own.contains("  \(option.names.joined(separator: ", "))"), option.names[0])
    }
  }
}
