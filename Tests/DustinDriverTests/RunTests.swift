import DustinModels
import DustinSupport
import DustinText
import Foundation
import XCTest

@testable import DustinDriver

/// `dustin run` on the bundled pair.
final class RunTests: XCTestCase {
  func testJSONHasTheDocumentedKeys() throws {
    let outcome = dustin(["run", "-m", target, "-md", draft, "-p", garden, "-n", "24", "--json"])
    XCTAssertEqual(outcome.status, 0, outcome.errors)
    XCTAssertEqual(outcome.output.split(separator: "\n").count, 1)
    XCTAssertEqual(outcome.errors, "")
    let object = try json(outcome.output)
    XCTAssertEqual(object.keys, ["prompt_tokens", "tokens", "text", "timings", "speculation", "kv"])
    XCTAssertEqual(object["prompt_tokens"]?.intValue, 21)
    XCTAssertEqual(object.tokens.count, 24)
    XCTAssertEqual(
      object["timings"]?.keys,
      ["load_s", "compile_s", "prefill_s", "ttft_s", "decode_s", "decode_tokens_per_s"])
    for (name, value) in object["timings"]?.objectEntries ?? [] {
      XCTAssertGreaterThan(value.doubleValue ?? 0, 0, name)
    }
    let timings = (object["timings"]?.objectEntries ?? []).reduce(into: [:]) { $0[$1.key] = $1.value.doubleValue }
    // The draft reads the prompt too before the first token is told.
    XCTAssertGreaterThan(timings["ttft_s"] ?? 0, timings["prefill_s"] ?? 0)
    XCTAssertEqual(
      object["speculation"]?.keys, ["rounds", "drafted", "accepted", "mean_accepted_length", "accepted_per_position"])
    let speculation = try XCTUnwrap(object["speculation"])
    let perPosition = (speculation["accepted_per_position"]?.arrayValue ?? []).compactMap(\.intValue)
    XCTAssertEqual(perPosition.count, 4)
    XCTAssertEqual(perPosition.reduce(0, +), speculation["accepted"]?.intValue)
    // The first token comes from the prompt, every round adds what it accepted and one token.
    let rounds = try XCTUnwrap(speculation["rounds"]?.intValue)
    XCTAssertEqual(1 + rounds + (speculation["accepted"]?.intValue ?? 0), 24)
    XCTAssertEqual(speculation["mean_accepted_length"]?.doubleValue ?? 0, 23 / Double(rounds), accuracy: 1e-9)
    XCTAssertEqual(object["kv"]?.keys, ["target", "draft", "scoring"])
    for name in ["target", "draft"] {
      let bytes = try XCTUnwrap(object["kv"]?[name])
      XCTAssertEqual(bytes.keys, ["bytes_read_per_token", "dense_bytes_per_token"])
      XCTAssertGreaterThan(bytes["bytes_read_per_token"]?.doubleValue ?? 0, 0)
      XCTAssertEqual(bytes["bytes_read_per_token"]?.doubleValue, bytes["dense_bytes_per_token"]?.doubleValue)
    }
    let text = try Tokenizer(file: "\(target)/tokenizer.json").decode(object.tokens, skipSpecial: true)
    XCTAssertEqual(object["text"]?.stringValue, String(decoding: text, as: UTF8.self))
  }

  func testTextStreamsToStandardOutputAndFiguresToStandardError() throws {
    let expected = try json(dustin(["run", "-m", target, "-p", garden, "-n", "16", "--json"]).output)
    let text = try XCTUnwrap(expected["text"]?.stringValue)
    XCTAssertTrue(text.hasPrefix(" The sun was shining in the sky, and the birds"), text)
    let streamed = dustin(["run", "-m", target, "-md", draft, "-p", garden, "-n", "16"])
    XCTAssertEqual(streamed.output, text + "\n")
    XCTAssertTrue(streamed.errors.contains("tokens a round"), streamed.errors)
    let whole = dustin(["run", "-m", target, "-f", "-", "-n", "16", "--no-stream", "-q"], input: garden)
    XCTAssertEqual(whole.output, text + "\n")
    XCTAssertEqual(whole.errors, "")
  }

  /// On a terminal both streams share the lines: what is drawn or wiped must come before the text.
  func testProgressWipesNoText() throws {
    let folder = try TemporaryFolder()
    let ids = try folder.write("ids.json", "\((0..<1200).map { $0 * 7 % 4000 })")
    let arguments = ["run", "-m", target, "-md", draft, "--prompt-ids", ids, "-n", "6", "--ignore-eos", "--progress"]
    for more in [["-q"], ["--compare", "plain"]] {
      let outcome = dustin(arguments + more)
      XCTAssertEqual(outcome.status, 0, outcome.errors)
      XCTAssertTrue(outcome.errors.contains("reading ["), outcome.errors)
      XCTAssertFalse(outcome.output.isEmpty)
      let wipe = "\r\u{1B}[K"
      let last = try XCTUnwrap(outcome.transcript.range(of: wipe, options: .backwards))
      XCTAssertEqual(String(outcome.transcript[last.upperBound...]), outcome.output)
    }
  }

  func testStopStringEndsTheText() throws {
    let arguments = ["run", "-m", target, "-p", garden, "-n", "64", "-q"]
    XCTAssertEqual(dustin(arguments + ["--stop", ", and"]).output, " The sun was shining in the sky\n")
    XCTAssertEqual(
      dustin(arguments + ["--stop", "-never-"]).output.hasPrefix(" The sun was shining in the sky, and"), true)
  }

  func testNoNewTokensReadsThePromptOnly() throws {
    let outcome = dustin(["run", "-m", target, "-md", draft, "-p", garden, "-n", "0", "--json"])
    XCTAssertEqual(outcome.status, 0, outcome.errors)
    let object = try json(outcome.output)
    XCTAssertEqual(object.tokens, [])
    XCTAssertEqual(object["text"]?.stringValue, "")
    XCTAssertEqual(object["speculation"]?["rounds"]?.intValue, 0)
    XCTAssertGreaterThan(object["timings"]?["prefill_s"]?.doubleValue ?? 0, 0)
  }

  func testLogitsAreThoseBehindThePrompt() throws {
    let folder = try TemporaryFolder()
    let reference = try WeightStore(file: "\(root)/Tests/Reference/short.safetensors")
    let ids = try folder.write("ids.json", "\(try reference.tensor("prompt_ids").ints())")
    let path = folder.path + "/logits"
    let outcome = dustin(
      ["run", "-m", target, "--prompt-ids", ids, "-n", "0", "--numerics", "f32", "-q", "--logits", path])
    XCTAssertEqual(outcome.status, 0, outcome.errors)
    let bytes = try readFile(path)
    let expected = try reference.tensor("target_fp32_last_logits").floats()
    XCTAssertEqual(bytes.count, 4 * expected.count)
    let logits = bytes.withUnsafeBytes { memory in
      expected.indices.map {
        Float(bitPattern: UInt32(littleEndian: memory.loadUnaligned(fromByteOffset: 4 * $0, as: UInt32.self)))
      }
    }
    for (logit, wanted) in zip(logits, expected) { XCTAssertEqual(logit, wanted, accuracy: 1e-3) }
  }

  func testPromptsComeOutInOrderWithTheirIDs() throws {
    let folder = try TemporaryFolder()
    let lines = [
      #"{"prompt": "The old man walked slowly to the harbour, where the ships", "id": "harbour", "max_new_tokens": 9}"#,
      #"{"prompt_ids": [12, 13, 14, 15], "id": 7}"#,
      "",
      #"{"prompt": "\#(garden)"}"#,
    ]
    let file = try folder.write("prompts.jsonl", lines.joined(separator: "\n") + "\n")
    let arguments = ["run", "-m", target, "-md", draft, "--prompts", file, "-n", "12"]
    let outcome = dustin(arguments)
    XCTAssertEqual(outcome.status, 0, outcome.errors)
    let objects = try outcome.output.split(separator: "\n").map { try json(String($0)) }
    XCTAssertEqual(objects.count, 3)
    guard objects.count == 3 else { return }
    XCTAssertEqual(objects[0]["id"]?.stringValue, "harbour")
    XCTAssertEqual(objects[1]["id"]?.intValue, 7)
    XCTAssertEqual(objects[2]["id"]?.intValue, 2)
    XCTAssertEqual(objects.map(\.tokens.count), [9, 12, 12])
    XCTAssertEqual(objects.map { $0["prompt_tokens"]?.intValue }, [objects[0]["prompt_tokens"]?.intValue, 4, 21])
    // Neighbours and batches change nothing.
    let alone = try json(dustin(["run", "-m", target, "-p", garden, "-n", "12", "--json"]).output)
    XCTAssertEqual(objects[2].tokens, alone.tokens)
    let smaller = try dustin(arguments + ["--batch-size", "2"]).output.split(separator: "\n").map {
      try json(String($0)).tokens
    }
    XCTAssertEqual(smaller, objects.map(\.tokens))
  }

  func testSampledTextDependsOnTheSeedOnly() throws {
    func tokens(_ more: [String]) throws -> [Int32] {
      try json(dustin(["run", "-m", target, "-p", garden, "-n", "32", "--temp", "1", "--json"] + more).output).tokens
    }
    let first = try tokens(["--seed", "3"])
    XCTAssertEqual(first, try tokens(["--seed", "3", "-t", "1"]))
    XCTAssertNotEqual(first, try tokens(["--seed", "4"]))
    XCTAssertEqual(try tokens(["--seed", "3", "--top-k", "1"]), try tokens(["--temp", "0"]))
  }

  func testAModelWithoutTokenizerTakesTokenIDs() throws {
    let folder = try TemporaryFolder()
    let ids = try folder.write("ids.json", "[1, 2, 3]")
    let model = "\(root)/Tests/Fixtures/qwen2-tied"
    let outcome = dustin(["run", "-m", model, "--prompt-ids", ids, "-n", "4", "-q", "--ignore-eos"])
    XCTAssertEqual(outcome.status, 0, outcome.errors)
    XCTAssertEqual(outcome.output.split(separator: " ").count, 4, outcome.output)
    let text = dustin(["run", "-m", model, "-p", "hello"])
    XCTAssertEqual(text.status, 1)
    XCTAssertTrue(text.errors.contains("has no tokenizer.json"), text.errors)
    let object = try json(dustin(["run", "-m", model, "--prompt-ids", ids, "-n", "4", "--json"]).output)
    XCTAssertEqual(object["text"]?.stringValue, "")
  }

  func testCompiledOpsAgreeWithTheInterpreter() {
    for numerics in ["f32", "fast"] {
      for cpu in ["native", "x86-64-v3"] {
        let outcome = dustin([
          "run", "-m", target, "-md", draft, "-p", garden, "--compare", "interpreter", "--numerics", numerics, "--cpu",
          cpu,
        ])
        XCTAssertEqual(outcome.status, 0, "\(numerics), \(cpu): \(outcome.errors)")
        XCTAssertTrue(outcome.output.contains("@verify %logits = linear"), outcome.output)
        XCTAssertTrue(outcome.output.contains("keys of layer 9"), outcome.output)
      }
    }
  }

  func testPlainDecodingBesideSpeculativeDecoding() throws {
    let outcome = dustin(["run", "-m", target, "-md", draft, "-p", garden, "-n", "32", "--compare", "plain"])
    XCTAssertEqual(outcome.status, 0, outcome.errors)
    let same = outcome.output.split(separator: "\n").first { $0.hasPrefix("same tokens") }
    XCTAssertEqual(same?.split(separator: " ").last, "yes", outcome.output)
    // Plain decoding does not wait for the draft.
    XCTAssertFalse(outcome.output.contains { $0 == "\u{1B}" })
    let first = outcome.output.split(separator: "\n").first { $0.hasPrefix("time to first token") }
    let times = try XCTUnwrap(first).split(separator: " ").suffix(2).compactMap { Double($0) }
    XCTAssertEqual(times.count, 2, outcome.output)
    XCTAssertLessThanOrEqual(try XCTUnwrap(times.first), try XCTUnwrap(times.last))
  }
}
