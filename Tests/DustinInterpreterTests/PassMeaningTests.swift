import DustinIR
import DustinInterpreter
import DustinPasses
import DustinSupport
import XCTest

/// Every pass of the pipelines keeps what the functions compute, on random modules.
///
/// The interpreter works on the same rows in the same order before and after a fusion, and rounds the same numbers once,
/// in fast numerics too: fusions must be equal bit for bit. Two kinds of pass may differ by rounding:
/// * `canonicalize` moves `last_row` above matmuls; OpenBLAS sums one row in another order than many;
/// * `numerics{mode=fast}` rounds on purpose; what it makes is the new yardstick, near the old one.
final class PassMeaningTests: XCTestCase {
  // A failure names the seed of its random module.
  func testTargetF32() throws { try run("target-f32", seeds: 1...8) }
  func testTargetFast() throws { try run("target-fast", seeds: 1...8) }
  func testDraftF32() throws { try run("draft-f32", seeds: 9...11) }
  func testDraftFast() throws { try run("draft-fast", seeds: 9...11) }

  func testAWrongPassIsFound() throws {
    struct WrongScale: Pass {
      let name = "wrong-scale"
      let summary = "Scales attention by a thousandth too much."
      func run(on module: Module, context: PassContext) throws {
        for operation in module.functions.flatMap(\.body) where operation.name == "attend" {
          operation.attributes["scale"] = .float((operation.attributes.float("scale") ?? 0) * 1.001)
        }
      }
    }
    let random = try RandomModule(seed: 1)
    let before = try XCTUnwrap(try outcomes(random.module, random)["forward"])
    try PassManager().run(PassPipeline([WrongScale()]), on: random.module)
    let after = try XCTUnwrap(try outcomes(random.module, random)["forward"])
    let differences = zip(after.logits.joined(), before.logits.joined()).map { abs($0 - $1) }
    XCTAssertGreaterThan(try XCTUnwrap(differences.max()), 1e-4)
  }

  func testPrintedModulesMeanTheSame() throws {
    for (seed, pipeline) in zip(UInt64(1)..., ["target-f32", "target-fast", "canonicalize", "draft-fast"]) {
      let random = try RandomModule(seed: seed)
      try PassManager().run(try PassPipeline.parse(pipeline, registry: .standard), on: random.module)
      let text = random.module.text()
      let parsed = try ModuleParser.parse(SourceBuffer(name: "printed", text: text))
      XCTAssertEqual(parsed.text(), text)
      XCTAssertEqual(try outcomes(parsed, random), try outcomes(random.module, random), "seed \(seed), \(pipeline)")
    }
  }

  /// What a function gives: its logits of three steps, and the caches behind them.
  private struct Outcome: Equatable {
    var logits: [[Float]]
    var caches: [Tensor]
  }

  private func run(_ name: String, seeds: ClosedRange<UInt64>) throws {
    for seed in seeds {
      let random = try RandomModule(seed: seed)
      let passes = try PassPipeline.parse(name, registry: .standard).passes
      var before = try outcomes(random.module, random)
      for pass in passes {
        let isChanged = try PassManager().run(PassPipeline([pass]), on: random.module)
        if !isChanged { continue }
        let what = "seed \(seed) (\(random.shape)): \(name), \(PassPipeline.text(of: pass))"
        let after = try outcomes(random.module, random)
        for (function, outcome) in after {
          // A derived function must give what its source does, in its last row or in all of them.
          let yardstick = try XCTUnwrap(before[function] ?? before["forward"], what)
          try compare(
            outcome, yardstick, pass, isFast: random.module.functions.contains { $0.numerics == .fast },
            what + ", @\(function)")
        }
        before = after
      }
      XCTAssertEqual(random.module.stage, .planned)
      XCTAssertEqual(before.keys.sorted(), [name.hasPrefix("target") ? "verify" : "draft", "prefill"].sorted())
      XCTAssertTrue(random.module.functions.allSatisfy { $0.numerics == (name.hasSuffix("fast") ? .fast : .f32) })
    }
  }

  private func compare(_ outcome: Outcome, _ yardstick: Outcome, _ pass: any Pass, isFast: Bool, _ what: String) throws
  {
    let logits = yardstick.logits.map { Array($0.suffix(outcome.logits[0].count)) }
    switch pass.name {
    case "canonicalize":
      // f32 sums of a hundred terms of size 1. In fast numerics such a difference can turn a later rounding around,
      // which moves a logit by a unit of 2^-8 of one of its terms.
      let bound = isFast ? 2e-2 : 1e-4
      for (a, b) in zip(outcome.logits, logits) { assertClose(a, b.map(Double.init), within: bound, what) }
      XCTAssertEqual(outcome.caches, yardstick.caches, what)
    case "numerics":
      // bf16 has 8 bits, and every layer rounds its inputs some times: a rough bound, against mistaken casts.
      for (a, b) in zip(outcome.logits, logits) { assertClose(a, b.map(Double.init), within: 0.3, what) }
    default:
      XCTAssertEqual(outcome.logits, logits, what)
      XCTAssertEqual(outcome.caches, yardstick.caches, what)
    }
  }

  /// Three ragged steps of every function of the module; of the second one, two rows are not committed.
  private func outcomes(_ module: Module, _ random: RandomModule) throws -> [String: Outcome] {
    let interpreter = try Interpreter(module: module, weights: random.weights)
    var outcomes: [String: Outcome] = [:]
    for function in module.functions {
      let session = try InterpreterSession(interpreter)
      var logits: [[Float]] = []
      for (step, (count, committed)) in [(7, 7), (5, 3), (1, 1)].enumerated() {
        let tokens = random.tokens(count, seed: UInt64(step))
        logits.append(try session.step(function: function.name, tokens: tokens).flatMap { $0 })
        try session.commit(committed)
      }
      outcomes[function.name] = Outcome(logits: logits, caches: try session.cacheContents())
    }
    return outcomes
  }
}
