import DustinPasses
import DustinRuntime
import DustinSupport
import Foundation
import XCTest

@testable import DustinDriver

/// `dustin calibrate`, from the first stage to the file, on a tiny pair.
final class CalibrateTests: XCTestCase {
  /// The whole command; stopped half-way and started again, with a journal whose end was cut off, it writes the same file.
  func testACalibrationThatWasStoppedEndsInTheSameFile() throws {
    let pair = try TinyPair()
    let whole = dustin(pair.arguments())
    XCTAssertEqual(whole.status, 0, whole.errors)
    let path = "\(pair.target)/sparsity.json"
    let text = String(decoding: try readFile(path), as: UTF8.self)
    let file = try SparsityFile(path: path)
    let names = Set(file.options.map(\.name))
    XCTAssertTrue(names.isSuperset(of: ["look", "pool", "granularity", "draft", "m", "history"]), "\(names)")
    XCTAssertTrue(names.isSubset(of: DustinPreset().calibratedOptions), "\(names)")
    for stage in ["retrieval heads", "draft heads", "pooling", "granularity", "the draft's own set", "target history"] {
      XCTAssertTrue(whole.output.contains("\(stage)"), stage)
    }
    // Every stage says in the file why it chose what it chose.
    for stage in ["draft heads: ", "pooling: ", "granularity: ", "the draft's own set: ", "target history: "] {
      XCTAssertEqual(file.why.filter { $0.hasPrefix(stage) && $0.contains("KL") }.count, 1, stage)
    }
    XCTAssertFalse(FileManager.default.fileExists(atPath: "\(pair.target)/.calibrate.jsonl"))
    // It belongs to these models, and presets take it without a note.
    let choice = try PresetChoice("dustin{budget=64}", sparsity: nil, target: pair.target, draft: pair.draft)
    XCTAssertEqual(choice.notes, [])
    XCTAssertTrue(choice.text.contains("look=\(try XCTUnwrap(file.options.first { $0.name == "look" }).value)"))
    XCTAssertThrowsError(try SparsityFile.find(given: path, target: pair.draft, draft: pair.draft))

    try FileManager.default.removeItem(atPath: path)
    let process = try ToolProcess(pair.arguments())
    var read = process.read(process.output, until: "\npooling")
    process.interrupt()
    read += process.rest(process.output)
    let errors = process.rest(process.errors)
    XCTAssertEqual(process.wait(), 130, errors)
    XCTAssertTrue(errors.contains("the same command goes on"), errors)
    XCTAssertFalse(FileManager.default.fileExists(atPath: path))
    let journal = "\(pair.target)/.calibrate.jsonl"
    let lines = String(decoding: try readFile(journal), as: UTF8.self).split(separator: "\n")
    XCTAssertGreaterThan(lines.count, 3)
    // Of another calibration: it stays.
    let other = "{\"key\":\"0123456789abcdef\",\"candidate\":\"dustin\"}"
    let cut =
      lines.dropLast().joined(separator: "\n") + "\n" + other + "\n" + String(lines[lines.count - 1].dropLast(9))
    try writeFileAtomically(journal, bytes: Array(cut.utf8))
    let again = dustin(pair.arguments(["--resume", journal]))
    XCTAssertEqual(again.status, 0, again.errors)
    // Heads, the other's line and the broken one are no candidates.
    XCTAssertTrue(again.errors.contains("\(lines.count - 2) candidates are measured already"), again.errors)
    XCTAssertEqual(String(decoding: try readFile(path), as: UTF8.self), text)
    XCTAssertTrue(again.output.hasPrefix(read.components(separatedBy: "\npooling")[0]), again.output)
    XCTAssertEqual(String(decoding: try readFile(journal), as: UTF8.self), other + "\n")
  }

  // MARK: Wrong inputs

  private func refused(_ arguments: [String], _ message: String, status: Int32 = 1, line: UInt = #line) {
    let outcome = dustin(arguments)
    XCTAssertEqual(outcome.status, status, outcome.errors, line: line)
    XCTAssertTrue(outcome.errors.contains(message), outcome.errors, line: line)
    XCTAssertEqual(outcome.errors.components(separatedBy: "rror: ").count, 2, outcome.errors, line: line)
  }

  func testWrongInputsGetOneMessage() throws {
    let pair = try TinyPair()
    let (target, draft, path) = (pair.target, pair.draft, pair.folder.path)
    refused(["calibrate", "-m", target], "A calibration is of a target and its draft: give -md DIR.", status: 64)
    refused(pair.arguments(["--budget", "12"]), "budget=12 does not hold sink=4 and recent=16", status: 64)
    refused(pair.arguments(["--lengths", "8q"]), "not '8q'", status: 64)
    refused(["calibrate", "-m", target, "-md", draft, "--books", "\(path)/none"], "'\(path)/none'")
    try FileManager.default.createDirectory(atPath: "\(path)/empty", withIntermediateDirectories: true)
    refused(["calibrate", "-m", target, "-md", draft, "--books", "\(path)/empty"], "'\(path)/empty' has no books")
    refused(pair.arguments(["--lengths", "100k"]), "a length of 102,400 tokens is beyond the context of 512")
    refused(pair.arguments(["--prompt-lengths", "512"]), "a length of 512 tokens is beyond the context of 512")
    try FileManager.default.createDirectory(atPath: "\(path)/short", withIntermediateDirectories: true)
    _ = try pair.folder.write("short/tale.txt", "Once upon a time.\n")
    refused(["calibrate", "-m", target, "-md", draft, "--books", "\(path)/short"], "no book has the")
    refused(pair.arguments(["-o", "\(path)/nowhere/s.json"]), "there is no folder '\(path)/nowhere/'")
    refused(pair.arguments(["-o", path]), "cannot write '\(path)': it is a folder")
    refused(pair.arguments(["--resume", "\(path)/none.jsonl"]), "'\(path)/none.jsonl'")
    let foreign = try pair.folder.write("foreign.jsonl", "{\"key\":\"0123456789abcdef\",\"candidate\":\"dustin\"}\n")
    refused(pair.arguments(["--resume", foreign]), "holds nothing of a calibration of these models")
    // Nothing is left behind by calibrations that did not begin.
    XCTAssertEqual(try namesInFolder(target), ["config.json", "model.safetensors", "tokenizer.json"])
  }

  func testADraftOfAnotherVocabularyIsRefused() throws {
    let pair = try TinyPair()
    var text = String(decoding: try readFile("\(pair.draft)/tokenizer.json"), as: UTF8.self)
    // Two words change places.
    text = text.replacingOccurrences(of: "\"the\":", with: "\"\u{1}\":")
      .replacingOccurrences(of: "\"and\":", with: "\"the\":").replacingOccurrences(of: "\"\u{1}\":", with: "\"and\":")
    let path = "\(pair.draft)/tokenizer.json"
    let old = String(decoding: try readFile(path), as: UTF8.self)
    try XCTSkipIf(text == old, "the bundled tokenizer has no such words")
    try writeFileAtomically(path, bytes: Array(text.utf8))
    refused(pair.arguments(), "the draft '\(pair.draft)' has another vocabulary than the target '\(pair.target)'")
  }
}

/// How a stage decides.
final class CalibrationStageTests: XCTestCase {
  private func entry(
    _ label: String, kl: Double, bytes: Int = 128, heads: Int = 1, lost: Int = 0, won: Int = 0, rounds: Double = 3,
    reads: Double = 1e6
  ) -> CalibrationStage.Entry {
    var result = CandidateResult()
    result.divergence = kl
    result.lost = lost
    result.won = won
    result.tokensPerRound = rounds
    result.bytesPerToken = reads
    return CalibrationStage.Entry(
      label: label, candidate: Candidate(), result: result, scoringBytes: bytes, scoredHeads: heads)
  }

  private func chosen(
    _ entries: [CalibrationStage.Entry], prefers preference: CalibrationStage.Preference = .scoring
  ) throws -> (label: String, reason: String) {
    let stage = try XCTUnwrap(CalibrationStage("stage", entries, prefers: preference))
    return (stage.choice.label, stage.reason)
  }

  func testTheLeastDivergenceWins() throws {
    let choice = try chosen([entry("a", kl: 0.2, bytes: 1), entry("b", kl: 0.1, bytes: 9)])
    XCTAssertEqual(choice.label, "b")
    XCTAssertEqual(choice.reason, "stage: b, KL 0.1000, the least of 2")
  }

  func testWhatLosesAnswersIsOut() throws {
    let choice = try chosen([entry("a", kl: 0.1, lost: 2, won: 1), entry("b", kl: 0.3, lost: 1, won: 1)])
    XCTAssertEqual(choice.label, "b")
    XCTAssertTrue(choice.reason.hasSuffix("; lost more answers: a (2)"), choice.reason)
    // When all lose, the fewest lost ones are the bar.
    XCTAssertEqual(try chosen([entry("a", kl: 0.1, lost: 3), entry("b", kl: 0.3, lost: 1)]).label, "b")
  }

  func testWithinTwoPercentFewerScoringBytesThenHeadsThenTokensDecide() throws {
    let byBytes = try chosen([
      entry("a", kl: 0.1, bytes: 256), entry("b", kl: 0.1019), entry("c", kl: 0.1021, bytes: 1),
    ])
    XCTAssertEqual(byBytes.label, "b")
    XCTAssertTrue(byBytes.reason.contains("scoring reads 128 in place of 256 bytes a position"), byBytes.reason)
    XCTAssertEqual(try chosen([entry("a", kl: 0.1, heads: 4), entry("b", kl: 0.1019, heads: 2)]).label, "b")
    XCTAssertEqual(try chosen([entry("a", kl: 0.1, rounds: 3), entry("b", kl: 0.1019, rounds: 3.5)]).label, "b")
  }

  func testTheDraftsSetIsDecidedByBytesAToken() throws {
    let entries = [
      entry("a", kl: 0.1, reads: 9e6), entry("b", kl: 0.101, reads: 8e6), entry("c", kl: 0.12, reads: 1e6),
    ]
    let choice = try chosen(entries, prefers: .reading)
    XCTAssertEqual(choice.label, "b")
    XCTAssertTrue(choice.reason.contains("a token reads 8.0 MB against 9.0 MB"), choice.reason)
  }

  func testNoCandidateIsNoStage() { XCTAssertNil(CalibrationStage("stage", [], prefers: .scoring)) }
}

/// What candidates mean, and what their scoring reads.
final class CandidateTests: XCTestCase {
  private let model = ScoredModel(
    layers: (0..<3).map { _ in ScoredModel.Layer(heads: 8, keyHeads: 4, keyBytes: 128) })

  func testScoringBytesCountEachKVHeadOnce() throws {
    func bytes(_ text: String) throws -> Int { model.bytes(of: try XCTUnwrap(HeadChoice(optionText: text))) }
    XCTAssertEqual(try bytes("1:0"), 128)
    XCTAssertEqual(try bytes("1:0.1"), 128)
    XCTAssertEqual(try bytes("1:1.2"), 256)
    XCTAssertEqual(try bytes("0:0+2:all"), 5 * 128)
    XCTAssertEqual(model.bytes(of: nil), 4 * 128)
    XCTAssertEqual(model.heads(of: try XCTUnwrap(HeadChoice(optionText: "0:0.5+2:all"))), 10)
  }

  func testOnlyWhatMattersToAProgramMakesAnother() throws {
    var a = Candidate()
    a.look = HeadChoice(optionText: "1:1")
    var b = a
    b.look = HeadChoice(optionText: "0:all")
    b.pool = 9
    b.draft = 0
    func texts(_ candidate: Candidate) -> [String] {
      [
        candidate.forTarget(budget: 512).pipeline(for: .target), candidate.forDraft(budget: 512).pipeline(for: .draft),
      ]
    }
    XCTAssertEqual(texts(a)[0], texts(b)[0])
    XCTAssertNotEqual(texts(a)[1], texts(b)[1])
    // What both programs are is what the preset makes; without a history the target pools nothing.
    for candidate in [a, b] {
      let preset = candidate.preset(budget: 512)
      XCTAssertNil(preset.validate())
      preset.pool = 5
      XCTAssertEqual(texts(candidate)[0], preset.pipeline(for: .target))
      preset.pool = candidate.pool
      XCTAssertEqual(texts(candidate)[1], preset.pipeline(for: .draft))
    }
    for m in [0, 100, 492, 1 << 20] {
      var c = a
      c.history = HeadChoice(optionText: "2:0.1")
      c.m = m
      let preset = c.preset(budget: 512)
      XCTAssertNil(preset.validate())
      XCTAssertEqual(preset.needsDraft, c.usesLook)
      XCTAssertEqual(preset.pipeline(for: .target).contains("history"), c.usesHistory(budget: 512), "m = \(m)")
      XCTAssertEqual(texts(c)[0] == texts(a)[0], !c.usesHistory(budget: 512))
      XCTAssertEqual(texts(c)[1].isEmpty, m == 0)
    }
  }

  func testTheAskedValueIsFoundInTheTokens() {
    func prompt(_ words: [String], _ answer: String) -> (EvaluationPrompt, (Int32) -> [UInt8]) {
      let prompt = EvaluationPrompt(
        id: "", task: "needle", length: 0, text: words.joined(), tokens: words.indices.map { Int32($0) },
        answer: answer, answerTokens: [], maxNewTokens: 1)
      return (prompt, { Array(words[Int($0)].utf8) })
    }
    let (one, bytes) = prompt(["is ", "48", "21", "3.", " What"], " 48213.")
    XCTAssertEqual(one.valueTokens(bytes: bytes), 1..<4)
    let (twice, more) = prompt(["a 12", " b 12", "?"], " 12.")
    XCTAssertNil(twice.valueTokens(bytes: more))
    let (none, rest) = prompt(["a", "b"], " 12.")
    XCTAssertNil(none.valueTokens(bytes: rest))
  }

  func testTheBestHeads() {
    let scores = HeadScores(scores: [[0.1, 0.3, 0.3, 0], [0.6, 0, 0, 0]])
    XCTAssertEqual(scores.best(1, ofLayer: 0), HeadChoice.Layer(0, [1]))
    XCTAssertEqual(scores.best(3, ofLayer: 0), HeadChoice.Layer(0, [0, 1, 2]))
    XCTAssertEqual(scores.best(4, ofLayer: 0), HeadChoice.Layer(0, nil))
    XCTAssertEqual(scores.layers(byBest: 1), [1, 0])
    XCTAssertEqual(scores.layers(byBest: 4), [0, 1])
    XCTAssertEqual(scores.top(2).map { [$0.layer, $0.head] }, [[1, 0], [0, 1]])
  }

  func testResultsReadBackBitForBit() throws {
    var result = CandidateResult()
    result.divergence = 0.1 + 0.2
    result.tokensPerRound = 1 / 3.0
    result.prompts = 24
    result.lost = 1
    XCTAssertEqual(CandidateResult(try json(JSON.object(result.json).text)), result)
    XCTAssertNil(CandidateResult(try json("{\"kl\": 1}")))
  }
}

/// Heads' masses, and texts that one program reads for others.
final class SharedReadingTests: XCTestCase {
  private func model(_ preset: String?) throws -> LoadedModel {
    var options = LoadOptions(target: try .host())
    options.preset = preset
    return try LoadedModel(path: "\(root)/Tests/Fixtures/qwen2-tied", role: .target, options: options)
  }

  /// The bits that a program would have read itself, in every layout.
  func testACacheForAnotherProgramHoldsTheSameBits() throws {
    let team = try ThreadTeam(threads: 1)
    let dense = try model(nil)
    let sparse = try model("streaming-llm{budget=16}")
    let both = try model("dustin{budget=24}")
    let tokens = (0..<53).map { Int32($0 * 7 % 90 + 1) }
    func read(_ model: LoadedModel) throws -> KVCache {
      let cache = try KVCache(model.compiled, positions: 64)
      _ = try Engine(model: model.compiled, team: team).prefill([StepRows(cache, tokens)], wantLogits: false)
      return cache
    }
    let caches = try [dense, sparse, both].map(read)
    for source in caches {
      for (place, model) in [dense, sparse, both].enumerated() {
        let fork = try source.fork(for: model.compiled, positions: 100)
        XCTAssertTrue(fork.model === model.compiled)
        XCTAssertEqual(fork.length, tokens.count)
        XCTAssertEqual(fork.limit, 100)
        XCTAssertEqual(
          try fork.bits(ofPositions: 0..<tokens.count), try caches[place].bits(ofPositions: 0..<tokens.count))
        XCTAssertTrue(try fork.rowCopiesMatch(inPositions: 0..<tokens.count))
      }
    }
    XCTAssertThrowsError(try caches[0].fork(for: dense.compiled, positions: 52))
    let other = try LoadedModel(
      path: "\(root)/Tests/Fixtures/llama", role: .target, options: LoadOptions(target: try .host()))
    XCTAssertThrowsError(try caches[0].fork(for: other.compiled))
  }

  func testMassesOfHeadsSumToTheRows() throws {
    let options = LoadOptions(target: try .host())
    let probe = try RecoveryProbe(
      path: "\(root)/Tests/Fixtures/qwen2-tied", options: options, team: ThreadTeam(threads: 1), gamma: 0)
    let context = PreparedContext(tokens: (1...20).map { Int32($0) }, target: nil, draft: nil)
    try probe.read(context, continuation: [3, 4, 5])
    let all = try probe.masses(on: 0..<100)
    let first = try probe.masses(on: 0..<9)
    let last = try probe.masses(on: 9..<22)
    for (layer, heads) in all.enumerated() {
      XCTAssertEqual(heads.count, probe.model.layers[layer].heads)
      for head in heads.indices {
        XCTAssertEqual(heads[head], 3, accuracy: 1e-4)
        XCTAssertEqual(first[layer][head] + last[layer][head], 3, accuracy: 1e-4)
      }
    }
  }
}
