import DustinCodegen
import DustinRunner
import DustinRuntime
import DustinSupport
import XCTest

@testable import DustinDriver

/// How commands end before they are done, and what they take of the machine.
final class EndingTests: XCTestCase {
  func testAClosedPipeEndsTheToolQuietly() throws {
    let tool = try ToolProcess(["run", "-m", target, "-md", draft, "-p", garden, "--ignore-eos", "-n", "30000"])
    _ = tool.read(tool.output, until: "singing")
    try tool.closeOutput()
    XCTAssertEqual(tool.wait(), 141)
    XCTAssertEqual(tool.rest(tool.errors), "")
    for arguments in [["ops"], ["--help"], ["run", "-m", target, "-p", garden, "-n", "2", "--json"]] {
      let tool = try ToolProcess(arguments, closesOutput: true)
      XCTAssertEqual(tool.wait(), 141, "\(arguments)")
      XCTAssertEqual(tool.rest(tool.errors), "", "\(arguments)")
    }
  }

  /// No file that the tool opens may get the number of a stream that is not there.
  func testClosedStreams() throws {
    let run = ["run", "-m", target, "-p", garden, "-n", "2", "-q"]
    for arguments in [["ops"], run, run + ["--json"]] {
      let tool = try ToolProcess(arguments, redirections: ">&-")
      XCTAssertEqual(tool.rest(tool.errors), "", "\(arguments)")
      XCTAssertEqual(tool.wait(), 0, "\(arguments)")
    }
    let silent = try ToolProcess(run, redirections: "<&- 2>&-")
    XCTAssertEqual(silent.rest(silent.output), dustin(run).output)
    XCTAssertEqual(silent.wait(), 0)
    let empty = try ToolProcess(["run", "-m", target, "-f", "-"], redirections: "<&-")
    XCTAssertTrue(empty.rest(empty.errors).contains("the prompt is empty"))
    XCTAssertEqual(empty.wait(), 1)
  }

  /// Work that looks at no flag of the runtime.
  func testComparisonsAndMeasurementsStopAfterCtrlC() throws {
    let options = LoadOptions(target: try .host())
    let model = "\(root)/Tests/Fixtures/llama"
    let pair = try ModelPair.load(target: model, options: options)
    let team = try ThreadTeam(threads: 1)
    interruption.cancel()
    defer { interruption.reset() }
    XCTAssertThrowsError(try InterpreterComparison(pair, team: team).run([1, 2, 3])) {
      XCTAssertTrue($0 is Interrupted)
    }
    var benchmark = try ModelBenchmark(pair.target, .target, team: team, runs: 1)
    for prompts in [[8], []] {
      XCTAssertThrowsError(try benchmark.run(prompts: prompts, contexts: [0], stepRows: [1])) {
        XCTAssertTrue($0 is Interrupted)
      }
    }
    XCTAssertThrowsError(try MachineLimits(target: options.target, threads: 1, runs: 1)) {
      XCTAssertTrue($0 is Interrupted)
    }
  }

  /// An error of one run stops that run alone.
  func testARunHasItsOwnFlag() throws {
    let options = LoadOptions(target: try .host())
    let pair = try ModelPair.load(target: "\(root)/Tests/Fixtures/llama", options: options)
    let team = try ThreadTeam(threads: 1)
    let stopped = try Generator(pair.runnable(), team: team, options: GenerationOptions())
    stopped.onEvent = { _, _ in stopped.cancel.cancel() }
    let prompt = [Prompt(tokens: [1, 2, 3])]
    XCTAssertEqual(try stopped.run(prompt, maxNewTokens: 9).results[0].finish, .cancelled)
    XCTAssertFalse(interruption.isCancelled)
    let other = try Generator(pair.runnable(), team: team, options: GenerationOptions())
    XCTAssertEqual(try other.run(prompt, maxNewTokens: 9).results[0].tokens.count, 9)
  }

  func testCoresOfMasksAndQuotas() {
    func quota(_ text: String) -> Int? { coresOfQuota(Array(text.utf8)) }
    XCTAssertNil(quota("max 100000\n"))
    XCTAssertEqual(quota("100000 100000\n"), 1)
    XCTAssertEqual(quota("150000 100000"), 2)
    XCTAssertEqual(quota("50000 100000"), 1)
    XCTAssertEqual(quota("400000 100000"), 4)
    XCTAssertEqual(quota("9223372036854775807 1"), .max)
    for text in ["", "100000", "0 100000", "-5 100000", "100000 0", "many few", "1 2 3"] {
      XCTAssertNil(quota(text), text)
    }
    func mask(_ text: String) -> Int? { allowedCores(Array(text.utf8)) }
    XCTAssertEqual(mask("Name:\tx\nCpus_allowed:\tff,00000003\nCpus_allowed_list:\t0-1\n"), 10)
    XCTAssertNil(mask("Name:\tx\n"))
    XCTAssertNil(mask("Cpus_allowed:\t0\n"))
    XCTAssertGreaterThan(usableCores(), 0)
  }
}
