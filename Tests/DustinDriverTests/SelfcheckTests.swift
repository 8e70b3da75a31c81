import DustinCodegen
import DustinModels
import DustinRuntime
import DustinSupport
import DustinText
import XCTest

@testable import DustinDriver

/// Compiled models against references, and speculative against plain decoding.
final class SelfcheckTests: XCTestCase {
  /// The prompt of 32k is left to `dustin selfcheck exact`.
  func testTheTargetGivesTheReferencesOutputs() throws {
    let options = LoadOptions(target: try .host())
    let check = try ExactCheck(
      model: target, directory: "\(root)/Tests/Reference", options: options, team: ThreadTeam(threads: 2))
    for name in ["short", "prose-512", "password-4k", "needle-8k", "copy-8k"] {
      let outcome = try check.run(name)
      XCTAssertTrue(outcome.isRight, "\(outcome)")
      XCTAssertEqual(outcome.tokens, 64, name)
      XCTAssertLessThan(outcome.fastDifference, 0.5, name)
    }
  }

  /// The larger the fast path's error, the fewer of its tokens are compared: the error itself must be bounded.
  func testAFastPathThatSaysAnythingIsWrong() {
    let logits: [[Float]] = [[1, 2, 3], [3, 1, 2]]
    let reference = ExactCheck.Reference(prompt: [1], logits: logits[0], tokens: [2, 0], margins: [1, 1])
    func outcome(_ fast: [[Float]], _ tokens: [Int32]) -> ExactCheck.Outcome {
      ExactCheck.judge("x", reference, exact: (logits, [2, 0]), fast: (fast, tokens))
    }
    XCTAssertTrue(outcome(logits, [2, 0]).isRight)
    XCTAssertTrue(outcome([[1, 2, 3.25], [3, 1, 2]], [2, 0]).isRight)
    XCTAssertFalse(outcome(logits, [2, 1]).isRight)
    for garbage in [[9, -4, 0], [.nan, 2, 3], [1, 2, .infinity], [1, 2]] as [[Float]] {
      let outcome = outcome([logits[0], garbage], [0, 1])
      XCTAssertEqual(outcome.fastRequiredTokens, 0, "\(garbage)")
      XCTAssertFalse(outcome.isRight, "\(garbage)")
    }
  }

  func testThePathOfAVX2GivesTheReferencesOutputs() throws {
    let options = LoadOptions(target: .v3)
    let check = try ExactCheck(
      model: target, directory: "\(root)/Tests/Reference", options: options, team: ThreadTeam(threads: 2))
    for name in ["short", "prose-512"] { XCTAssertTrue(try check.run(name).isRight, name) }
  }

  /// One tiny model per family and rope variant, compiled in f32, against the logits of `transformers`.
  func testCompiledTinyModelsGiveTheirReferences() throws {
    let fixtures = try FileNames.folders(in: "\(root)/Tests/Fixtures")
    XCTAssertGreaterThan(fixtures.count, 10)
    for fixture in fixtures {
      let path = "\(root)/Tests/Fixtures/\(fixture)"
      let reference = try WeightStore(file: path + "/reference.safetensors")
      for cpu in [try CPUTarget.host(), .v3] {
        var options = LoadOptions(target: cpu)
        options.numerics = .f32
        let model = try LoadedModel(path: path, role: .target, options: options)
        let engine = try Engine(model: model.compiled, team: ThreadTeam(threads: 2))
        var generation = GenerationOptions()
        generation.gamma = 0
        let loop = try SpeculativeLoop(target: engine, options: generation)
        let expected = try reference.tensor("greedy").ints()
        let request = GenerationRequest(
          prompt: try reference.tensor("prompt_ids").ints(), maxNewTokens: expected.count)
        let tokens = try loop.run([request])[0].tokens
        for (logit, wanted) in zip(loop.promptLogits[0], try reference.tensor("last_logits").floats()) {
          XCTAssertEqual(logit, wanted, accuracy: 1e-3, fixture)
        }
        XCTAssertEqual(tokens, expected, "\(fixture) on \(cpu)")
      }
    }
  }

  /// γ 1…8 × batch 1, 3, 16 × threads 1, 2 × drafts real, always wrong, always right, behind prompts of 0.5k.
  func testSpeculativeDecodingIsLossless() throws {
    let combinations = LosslessCheck.combinations(for: .half)
    XCTAssertEqual(combinations.count, 144)
    try check(combinations, cpu: .host(), numerics: .fast)
  }

  /// A subset that holds every pair of two of these, behind prompts of 8k. That of 32k is left to
  /// `dustin selfcheck lossless --length 32k`.
  func testSpeculativeDecodingIsLosslessBehindLongPrompts() throws {
    try check(LosslessCheck.combinations(for: .eight), cpu: .host(), numerics: .fast, length: .eight)
  }

  func testSpeculativeDecodingIsLosslessInF32AndOnThePathOfAVX2() throws {
    let some = LosslessCheck.combinations(for: .half).filter { $0.gamma == 4 && $0.batch == 3 }
    try check(some, cpu: .host(), numerics: .f32)
    try check(some, cpu: .v3, numerics: .fast)
  }

  /// The subset for 8k holds every pair of two factors' values.
  func testThePairwiseSubsetIsPairwise() {
    let subset = LosslessCheck.combinations(for: .eight)
    let all = LosslessCheck.combinations(for: .half)
    let factors: [(LosslessCheck.Combination) -> String] = [
      { "gamma \($0.gamma)" }, { "batch \($0.batch)" }, { "threads \($0.threads)" }, { $0.draft.rawValue },
    ]
    for a in factors.indices {
      for b in factors.indices where b > a {
        XCTAssertEqual(
          Set(subset.map { factors[a]($0) + factors[b]($0) }), Set(all.map { factors[a]($0) + factors[b]($0) }))
      }
    }
  }

  private func check(
    _ combinations: [LosslessCheck.Combination], cpu: CPUTarget, numerics: NumericsChoice,
    length: LosslessCheck.Length = .half
  ) throws {
    var options = LoadOptions(target: cpu)
    options.numerics = numerics
    let pair = try ModelPair.load(target: target, draft: draft, options: options)
    let book = Array(try readFile("\(root)/examples/books/the-sea-wolf.txt").prefix(600_000))
    let text = try XCTUnwrap(pair.tokenizer).encode(book)
    let check = try LosslessCheck(pair: pair, text: text, length: length, newTokens: 40, combinations: combinations)
    for combination in combinations {
      let outcome = try check.run(combination)
      XCTAssertEqual(outcome.faults, [], "\(combination)")
    }
  }
}

private enum FileNames {
  /// Folders that hold a model.
  static func folders(in path: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: path).sorted().filter {
      FileManager.default.fileExists(atPath: "\(path)/\($0)/config.json")
    }
  }
}
