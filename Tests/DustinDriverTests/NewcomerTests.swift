import DustinSupport
import Foundation
import XCTest

/// What somebody does wrong on the first day: one clear message, the right exit code.
final class NewcomerTests: XCTestCase {
  private func expect(
    _ arguments: [String], status: Int32, _ message: String, line: UInt = #line
  ) {
    let outcome = dustin(arguments)
    XCTAssertEqual(outcome.status, status, outcome.errors, line: line)
    XCTAssertTrue(outcome.errors.contains(message), outcome.errors, line: line)
    XCTAssertEqual(outcome.output, "", line: line)
  }

  func testWrongPaths() throws {
    expect(["run", "-m", "/nowhere", "-p", "x"], status: 1, "the model directory '/nowhere' does not exist")
    expect(["run", "-m", "\(target)/config.json", "-p", "x"], status: 1, "is a file, not a model directory")
    expect(["run", "-m", "\(root)/examples/models", "-p", "x"], status: 1, "did you mean '\(root)/examples/models/")
    expect(["run", "-m", target, "-f", "/nowhere"], status: 1, "cannot open '/nowhere'")
    expect(
      ["run", "-m", target, "-md", "/nowhere", "-p", "x"], status: 1, "the model directory '/nowhere' does not exist")
    expect(["check", "/nowhere.dust"], status: 1, "cannot open '/nowhere.dust'")
  }

  func testUnsupportedArchitecture() throws {
    let folder = try TemporaryFolder()
    _ = try folder.write("config.json", #"{"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}"#)
    expect(["run", "-m", folder.path, "-p", "x"], status: 1, "GPT2LMHeadModel")
  }

  func testADraftWithAnotherVocabulary() throws {
    expect(
      ["run", "-m", target, "-md", "\(root)/Tests/Fixtures/llama", "-p", "x"], status: 1, "has another vocabulary")
    expect(
      ["run", "-m", target, "-md", "\(root)/Tests/Fixtures/llama", "-p", "x"], status: 1,
      "the draft's table holds 128 tokens, the target's 4096")
    // The same sizes, but two tokens stand for other texts.
    let folder = try TemporaryFolder()
    let files = FileManager.default
    for name in ["config.json", "generation_config.json", "model.safetensors"] {
      try files.createSymbolicLink(atPath: "\(folder.path)/\(name)", withDestinationPath: "\(draft)/\(name)")
    }
    let tokenizer = String(decoding: try readFile("\(draft)/tokenizer.json"), as: UTF8.self)
    let changed = tokenizer.replacingOccurrences(of: "<|reserved_0|>", with: "<|another_0|>")
    XCTAssertNotEqual(changed, tokenizer)
    _ = try folder.write("tokenizer.json", changed)
    expect(["run", "-m", target, "-md", folder.path, "-p", "x"], status: 1, "has another vocabulary")
  }

  func testTooLongContexts() throws {
    let folder = try TemporaryFolder()
    let ids = try folder.write("ids.json", "\([Int](repeating: 5, count: 40_000))")
    expect(
      ["run", "-m", target, "--prompt-ids", ids], status: 1,
      "the prompt has 40,000 tokens, more than the context of 34,816 tokens")
    expect(
      ["run", "-m", target, "-p", garden, "-c", "8"], status: 1, "the prompt has 21 tokens, more than the context of 8")
    expect(["run", "-m", target, "-p", "x", "-c", "40000"], status: 1, "40000")
    // What does not fit behind the prompt is not made.
    let object = try json(dustin(["run", "-m", target, "-p", garden, "-c", "24", "--json"]).output)
    XCTAssertEqual(object.tokens.count, 3)
  }

  func testWrongPrompts() throws {
    let folder = try TemporaryFolder()
    func ids(_ text: String) throws -> [String] {
      ["run", "-m", target, "--prompt-ids", try folder.write("ids.json", text)]
    }
    expect(try ids("[1, 2, 9999]"), status: 1, "the token 9999, but the vocabulary has 4096 tokens")
    expect(try ids("[1, -2]"), status: 1, "a token id must be a whole number from 0 up")
    expect(try ids(#"{"ids": []}"#), status: 1, "must be an array of token ids, not an object")
    expect(try ids("[]"), status: 1, "the prompt is empty")
    expect(["run", "-m", target, "-p", ""], status: 1, "the prompt is empty")
    let prompts = try folder.write("prompts.jsonl", "{\"prompt\": \"a\"}\n{\"promt\": \"b\"}\n")
    expect(["run", "-m", target, "--prompts", prompts], status: 1, "\(prompts):2:1: error: the object has neither")
  }

  func testErrorsPointIntoTheFileOfPrompts() throws {
    let folder = try TemporaryFolder()
    func expectAt(_ place: String, _ second: String, _ message: String, line: UInt = #line) throws {
      let file = try folder.write("b.jsonl", "{\"prompt\": \"a\"}\n\(second)\n")
      expect(
        ["run", "-m", target, "--prompts", file], status: 1, "\(file):\(place): error: \(message)", line: line)
    }
    try expectAt("2:12", #"{"prompt": ""}"#, "the prompt 1 is empty")
    try expectAt("2:20", #"{"prompt_ids": [1, 9999]}"#, "the prompt 1 holds the token 9999")
    try expectAt("2:20", #"{"prompt_ids": [1, -2]}"#, "a token id must be a whole number from 0 up, not -2")
    try expectAt("2:17", #"{"prompt_ids": [1.5]}"#, "a token id must be a whole number from 0 up, not 1.5")
    try expectAt("2:12", #"{"prompt": }"#, "")
    expect(["opt", "-p", "cse2", "-"], status: 1, "-p:1:1: error: ")
  }

  func testNotesOnWhatMayNotBeMeant() throws {
    let run = ["run", "-m", target, "-n", "2"]
    let idle = dustin(run + ["-p", garden, "--top-k", "4", "--min-p", "0.1"]).errors
    XCTAssertTrue(idle.contains("note: without --temp the text is greedy: no effect of --top-k, --min-p\n"), idle)
    let exact = dustin(run + ["-p", garden, "--exact"]).errors
    XCTAssertTrue(exact.contains("note: verification is dense already: --exact changes nothing\n"), exact)
    XCTAssertFalse(dustin(run + ["-p", garden, "--exact", "-q"]).errors.contains("note"))
    let sparse = ["-md", draft, "--preset", "dustin{budget=64}", "-p", garden, "--exact"]
    XCTAssertFalse(dustin(run + sparse).errors.contains("--exact changes nothing"))
    let folder = try TemporaryFolder()
    try writeFileAtomically(folder.path + "/latin", bytes: [0x63, 0x61, 0x66, 0xE9, 0x20, 0x61])
    let latin = dustin(run + ["-f", folder.path + "/latin"]).errors
    XCTAssertTrue(latin.contains("/latin' is not UTF-8 (byte 4)\n"), latin)
    let full = dustin(run.dropLast(2) + ["-p", garden, "-c", "24"]).errors
    XCTAssertTrue(full.contains("note: the context of 24 tokens is full; -c takes up to 34816\n"), full)
    XCTAssertFalse(dustin(run + ["-p", garden, "-c", "24", "--temp", "1", "--top-k", "4"]).errors.contains("note"))
  }

  func testWrongArguments() {
    let run = ["run", "-m", target, "-p", "x"]
    expect(run + ["-n", "-1"], status: 64, "-n must be 0 or more, not -1")
    expect(run + ["-n", "ten"], status: 64, "ten")
    expect(run + ["-t", "0"], status: 64, "--threads must be from 1 to")
    expect(run + ["-t", "100000"], status: 64, "cores, not 100000")
    expect(run + ["-c", "0"], status: 64, "-c must be 1 or more")
    expect(run + ["--temp", "-1"], status: 64, "--temp must be")
    expect(run + ["--top-p", "0"], status: 64, "--top-p must be")
    expect(run + ["--draft-max", "-3"], status: 64, "--draft-max must be")
    expect(run + ["-f", "-"], status: 64, "Give only one of")
    expect(run + ["--numerics", "f16"], status: 64, "f16")
    expect(run + ["--compare", "plain"], status: 64, "--compare plain needs a draft")
    expect(["run", "-m", target], status: 64, "There is nothing to continue")
    expect(["run", "-p", "x"], status: 64, "--model")
    expect(["rum"], status: 64, "rum")
    let bench = ["bench", "-m", target, "-md", draft]
    expect(bench + ["--tokens", "-1"], status: 64, "--tokens must be from 1 to 4096, not -1")
    expect(bench + ["--draft-max", "-1"], status: 64, "--draft-max must be from 1 to 64, not -1")
    expect(bench + ["--layer-rows", "-1"], status: 64, "--layer-rows must be from 1 to 64, not -1")
    expect(bench + ["--lengths", "4k,32"], status: 64, "--lengths takes numbers from 64 to 16000000")
    expect(bench + ["--lengths", "16000k"], status: 64, "separated by commas, not '16000k'")
    expect(bench + ["--lengths", "9007199254740993k"], status: 64, "not '9007199254740993k'")
    expect(bench + ["--batches", "513"], status: 64, "--batches takes numbers from 1 to 512")
    expect(bench + ["--contexts", ",,"], status: 64, "--contexts is empty")
    expect(["eval", "-m", target, "--lengths", "0"], status: 64, "--lengths takes numbers from 1 to 16777216")
    expect(["eval", "-m", target, "--budget", "x"], status: 64, "--budget takes numbers from 1 to 16777216")
    expect(["opt", "-p", "canonicalise"], status: 1, "did you mean 'canonicalize'?")
    expect(["passes", "cse2"], status: 1, "did you mean 'cse'?")
  }

  func testHelpNamesEveryCommand() {
    let outcome = dustin(["--help"])
    XCTAssertEqual(outcome.status, 0)
    for name in ["run", "bench", "selfcheck", "import", "opt", "check", "fmt", "ops", "passes", "pipelines", "version"]
    {
      XCTAssertTrue(outcome.output.contains("  \(name) "), "\(name) in \(outcome.output)")
    }
  }

  // MARK: Ctrl-C

  func testInterruptWhileThePromptIsRead() throws {
    let folder = try TemporaryFolder()
    let ids = try folder.write("ids.json", "\((0..<34_000).map { $0 % 4000 })")
    let tool = try ToolProcess([
      "run", "-m", target, "-md", draft, "--prompt-ids", ids, "-n", "8", "--progress", "--logits",
      folder.path + "/logits",
    ])
    _ = tool.read(tool.errors, until: "reading [")
    tool.interrupt()
    XCTAssertEqual(tool.wait(), 130)
    XCTAssertEqual(tool.rest(tool.output), "")
    XCTAssertTrue(tool.rest(tool.errors).hasSuffix("interrupted\n"))
    XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: folder.path), ["ids.json"])
  }

  func testInterruptWhileTextComes() throws {
    let arguments = ["run", "-m", target, "-md", draft, "-p", garden, "--ignore-eos"]
    let tool = try ToolProcess(arguments + ["-n", "30000"])
    var text = tool.read(tool.output, until: "singing")
    tool.interrupt()
    text += tool.rest(tool.output)
    XCTAssertEqual(tool.wait(), 130)
    XCTAssertEqual(tool.rest(tool.errors), "interrupted\n")
    // What came is complete: the beginning of what comes without an interruption, and the end of its line.
    XCTAssertTrue(text.hasSuffix("\n"))
    let expected = dustin(arguments + ["-n", "200", "-q"]).output
    let length = min(text.count, expected.count) - 1
    XCTAssertGreaterThan(length, 40)
    XCTAssertEqual(text.prefix(length), expected.prefix(length))
  }
}
