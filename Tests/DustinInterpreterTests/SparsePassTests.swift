import DustinIR
import DustinInterpreter
import DustinPasses
import DustinSupport
import XCTest

/// The passes below the numerics keep what functions of sparse rounds compute, on random modules with random choices.
final class SparsePassTests: XCTestCase {
  func testKernelsOfFastTargets() throws { try run("target,numerics{mode=fast}", seeds: 1...8) }
  func testKernelsOfF32Targets() throws { try run("target,numerics{mode=f32}", seeds: 9...14) }

  /// Random choices reach every attribute.
  func testChoicesAreManifold() throws {
    let all = (UInt64(0)..<60).map { RandomModule.Sparsity(seed: $0) }
    XCTAssertEqual(Set(all.map(\.sets)).count, 3)
    XCTAssertEqual(Set(all.map(\.isPerHead)).count, 2)
    XCTAssertEqual(Set(all.map(\.granularity)), [1, 16])
    XCTAssertEqual(Set(all.map(\.take)).count, 3)
    XCTAssertEqual(Set(all.map(\.reduce)).count, 2)
    XCTAssertEqual(Set(all.map(\.pool)).count, 4)
    XCTAssertEqual(Set(all.map(\.bound)).count, 4)
    XCTAssertEqual(Set(all.map { $0.quota == nil }).count, 2)
    XCTAssertEqual(Set(all.map(\.keepsDenseLayers)).count, 2)
    XCTAssertEqual(Set(all.map(\.choosesHeads)).count, 2)
    XCTAssertEqual(Set(all.map(\.keepsLastRow)).count, 2)
  }

  private struct Outcome: Equatable {
    var logits: [[Float]] = []
    var values: [String: Tensor] = [:]
    var caches: [Tensor] = []
  }

  private func run(_ pipeline: String, seeds: ClosedRange<UInt64>) throws {
    for seed in seeds {
      let random = try RandomModule(seed: seed)
      var sparsity = RandomModule.Sparsity(seed: seed)
      if seed % 4 == 0, sparsity.bound == nil { sparsity.cover = 0.8 }
      let module = random.module
      try PassManager().run(PassPipeline.parse(pipeline, registry: .standard), on: module)
      try RandomModule.addSparseFunctions(to: module, sparsity)
      let what = "seed \(seed) (\(random.shape)), \(sparsity)"
      var before = try outcome(module, random)
      XCTAssertEqual(before.logits.count, 3, what)
      for pass in try PassPipeline.parse("kernels", registry: .standard).passes {
        try PassManager().run(PassPipeline([pass]), on: module)
        let after = try outcome(module, random)
        XCTAssertEqual(after.logits, before.logits, "\(what), \(PassPipeline.text(of: pass))")
        XCTAssertEqual(after.values, before.values, "\(what), \(PassPipeline.text(of: pass))")
        XCTAssertEqual(after.caches, before.caches, "\(what), \(PassPipeline.text(of: pass))")
        before = after
      }
      XCTAssertEqual(module.stage, .planned)
      let text = module.text()
      let parsed = try ModuleParser.parseVerified(SourceBuffer(name: "printed", text: text))
      XCTAssertEqual(parsed.text(), text)
      XCTAssertEqual(try outcome(parsed, random), before, what)
    }
  }

  /// A prompt and three rounds; of the first one, two rows are not committed.
  private func outcome(_ module: Module, _ random: RandomModule) throws -> Outcome {
    let session = try InterpreterSession(try Interpreter(module: module, weights: random.weights))
    _ = try session.prefill(function: "prefill", tokens: random.tokens(90, seed: 9))
    var outcome = Outcome()
    for (step, (count, committed)) in [(5, 3), (5, 5), (1, 1)].enumerated() {
      try session.call(function: "look")
      if module.function("select") != nil { try session.call(function: "select") }
      let tokens = random.tokens(count, seed: UInt64(step))
      outcome.logits.append(try session.step(function: "sparse", tokens: tokens).flatMap { $0 })
      try session.commit(committed)
    }
    outcome.values = session.values
    outcome.caches = try session.cacheContents()
    return outcome
  }
}
