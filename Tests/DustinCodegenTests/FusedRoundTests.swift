import DustinCodegen
import DustinInterpreter
import DustinPasses
import DustinRuntime
import DustinSupport
import XCTest

/// Whole rounds with a draft whose attention scores, beside rounds in which `@look` reads the keys.
final class FusedRoundTests: XCTestCase {
  private let gamma = 4
  /// Heads of both KV heads in one layer, all of the other.
  private let look = "look=0:1.2+1:all"

  private func model(_ pipeline: String, seed: UInt64, maxRows: Int = 32) throws -> CompiledModel {
    var shape = RandomModule.Shape()
    (shape.layers, shape.heads, shape.kvHeads, shape.headDim, shape.hidden) = (2, 4, 2, 64, 96)
    (shape.vocab, shape.maxLength, shape.maxRows) = (67, 4096, maxRows)
    let random = try RandomModule(shape, seed: seed)
    return try CompiledModule(random, pipeline: pipeline, target: .host()).model
  }

  private func tokens(_ count: Int, seed: UInt64) -> [Int32] {
    var random = SeededGenerator(seed: seed)
    return (0..<count).map { _ in Int32.random(in: 0..<67, using: &random) }
  }

  private struct Round: Equatable {
    var sets: [[Int32]] = []
    var signals: [[Float]] = []
  }

  /// - Returns: What every sequence became, and the sets and signals by which it was verified.
  private func rounds(_ target: CompiledModel, _ draft: CompiledModel, prompts: [[Int32]]) throws -> (
    [[Int32]], [Round], SpeculationMetrics
  ) {
    let team = try ThreadTeam(threads: 2)
    let drafter = try ModelDrafter(engine: Engine(model: draft, team: team), contextSize: 4096)
    var options = GenerationOptions()
    options.gamma = gamma
    let loop = try SpeculativeLoop(
      target: Engine(model: target, team: team), drafter: drafter, options: options, cancel: nil)
    let caches = try prompts.map { try KVCache(target, positions: $0.count + 80) }
    try loop.begin(
      prompts.indices.map {
        GenerationRequest(prompt: prompts[$0], maxNewTokens: 50 + 9 * $0, id: UInt64($0), targetCache: caches[$0])
      })
    var rounds: [Round] = []
    while !loop.isFinished {
      try loop.draft()
      try loop.select()
      var round = Round()
      for cache in caches {
        round.sets += try cache.set(named: "set")
        round.signals += try cache.signal(named: "look")
      }
      rounds.append(round)
      try loop.verify()
      try loop.accept()
      try loop.commit()
    }
    let results = loop.results
    return (results.map(\.tokens), rounds, results[0].speculation)
  }

  /// Signals that differ in a factor.
  private func assertClose(_ a: [Float], _ b: [Float], _ label: String) {
    XCTAssertEqual(a.count, b.count, label)
    guard let (x, y) = a.max().flatMap({ x in b.max().map { (x, $0) } }), x > 0, y > 0 else {
      return XCTAssertEqual(a, b, label)
    }
    let worst = zip(a, b).map { abs($0 / x - $1 / y) }.max() ?? 0
    XCTAssertLessThan(worst, 1e-5, label)
  }

  /// The draft is the target itself, so that its proposals stand as often as the sets are good.
  func testFusedRoundsChooseTheSameSets() throws {
    let prompts = [tokens(300, seed: 1), tokens(40, seed: 2), tokens(77, seed: 3), tokens(1030, seed: 4)]
    for (preset, ahead, numerics) in [
      ("dustin{budget=48 draft=0 \(look)}", "look-ahead{heads=0:1.2+1:all pool=5}", "fast"),
      ("dustin{budget=48 draft=0 \(look) refresh=3}", "look-ahead{heads=0:1.2+1:all pool=5}", "fast"),
      ("dustin-draft{budget=40 look=1:3 pool=1}", "look-ahead{heads=1:3 pool=1}", "f32"),
      (
        "spec-attn{budget=64 dense-layers=[0] \(look)}", "look-ahead{heads=0:1.2+1:all pool=1 reduce=max}", "fast"
      ),
    ] {
      let target = try model("target,numerics{mode=\(numerics)},\(preset),choose-kv-layout,kernels", seed: 5)
      func draft(_ text: String) throws -> CompiledModel {
        try model("draft,numerics{mode=\(numerics)},\(text),choose-kv-layout,kernels", seed: 5)
      }
      let fused = try draft(preset)
      XCTAssertTrue(fused.program.sequenceValues.contains { $0.name == "seen" }, "\(preset) is not fused")
      let (tokens, rounds, metrics) = try rounds(target, fused, prompts: prompts)
      let (plainTokens, plainRounds, _) = try self.rounds(target, draft(ahead), prompts: prompts)
      let label = "\(preset), \(numerics)"
      XCTAssertEqual(tokens, plainTokens, label)
      XCTAssertEqual(rounds.count, plainRounds.count, label)
      XCTAssertTrue(0 < metrics.accepted && metrics.accepted < metrics.drafted, "\(label): nothing, or all is accepted")
      for (number, (a, b)) in zip(rounds, plainRounds).enumerated() {
        XCTAssertEqual(a.sets, b.sets, "\(label), round \(number)")
        for (a, b) in zip(a.signals, b.signals) { assertClose(a, b, "\(label), round \(number)") }
      }
    }
  }

  /// A draft that has not been asked for long is fed more tokens than one of its steps takes.
  func testADraftCatchesUpWithManyTokens() throws {
    let text = tokens(120, seed: 6)
    var signals: [[Float]] = []
    for ahead in ["look-ahead{heads=1:0.3},fuse-lookahead", "look-ahead{heads=1:0.3}"] {
      let draft = try model("draft,numerics{mode=fast},\(ahead),kernels", seed: 7, maxRows: 8)
      let target = try model("target,numerics{mode=fast},dustin-draft{look=1:0.3},choose-kv-layout,kernels", seed: 7)
      let team = try ThreadTeam(threads: 1)
      let drafter = try ModelDrafter(engine: Engine(model: draft, team: team), contextSize: 500)
      let cache = try KVCache(target, positions: 500)
      var options = GenerationOptions()
      options.gamma = 4
      // The loop gives the drafter its prompt; what follows it is told here.
      let loop = try SpeculativeLoop(
        target: Engine(model: target, team: team), drafter: drafter, options: options, cancel: nil)
      try loop.begin([
        GenerationRequest(prompt: Array(text.prefix(20)), maxNewTokens: 200, targetCache: cache)
      ])
      _ = try Engine(model: target, team: team).prefill(
        [StepRows(cache, text[20..<text.count - 1])], function: "prefill", wantLogits: false)
      for count in [25, 26, 90, text.count] {
        let tokens = Array(text.prefix(count))
        let proposals = try drafter.propose([DraftWish(index: 0, tokens: tokens, count: 3, wantsValues: true)])
        XCTAssertEqual(proposals[0].tokens.count, 3, "\(ahead), \(count)")
        XCTAssertTrue(try drafter.offer(0, to: cache))
        signals.append(Array(try cache.signal(named: "look")[0].prefix(count - 1)))
      }
    }
    for (a, b) in zip(signals.prefix(4), signals.suffix(4)) { assertClose(a, b, "\(a.count) positions") }
  }

  /// Dense passes decide: the text is the target's own.
  func testExactRoundsWithAFusedDraft() throws {
    let preset = "dustin{budget=48 draft=0 \(look)}"
    let target = try model("target,numerics{mode=fast},\(preset),choose-kv-layout,kernels", seed: 8)
    let draft = try model("draft,numerics{mode=fast},\(preset),choose-kv-layout,kernels", seed: 8)
    let team = try ThreadTeam(threads: 1)
    let prompts = [tokens(200, seed: 9), tokens(60, seed: 10)]
    func run(_ drafter: (any Drafter)?) throws -> [[Int32]] {
      var options = GenerationOptions()
      options.verifyFunction = "dense"
      options.gamma = drafter == nil ? 0 : 8
      let loop = try SpeculativeLoop(
        target: Engine(model: target, team: team), drafter: drafter, options: options, cancel: nil)
      return try loop.run(prompts.map { GenerationRequest(prompt: $0, maxNewTokens: 40) }).map(\.tokens)
    }
    let engine = try Engine(model: target, team: team)
    let inner = try ModelDrafter(engine: Engine(model: draft, team: team), contextSize: 1000)
    XCTAssertEqual(try run(StackDrafter(target: engine, inner: inner)), try run(nil))
  }

  /// Rounds over a text that is given, as evaluations run them.
  func testGivenRoundsWithAFusedDraft() throws {
    let text = tokens(260, seed: 11)
    var sets: [[[[Int32]]]] = []
    for ahead in ["dustin{draft=0 \(look)}", "look-ahead{heads=0:1.2+1:all pool=5}"] {
      let target = try model(
        "target,numerics{mode=fast},dustin{budget=48 draft=0 \(look)},choose-kv-layout,kernels", seed: 12)
      let draft = try model("draft,numerics{mode=fast},\(ahead),choose-kv-layout,kernels", seed: 12)
      let team = try ThreadTeam(threads: 1)
      let cache = try KVCache(target, positions: 300)
      let engine = try Engine(model: target, team: team)
      _ = try engine.prefill([StepRows(cache, text.prefix(200))], wantLogits: false)
      let given = try GivenRounds(
        target: engine, drafter: ModelDrafter(engine: Engine(model: draft, team: team), contextSize: 300), gamma: gamma,
        cache: cache, draftCache: nil, tokens: Array(text.prefix(200)), positions: 300, cancel: nil)
      var found: [[[Int32]]] = []
      for start in stride(from: 200, to: 250, by: 3) {
        _ = try given.verify(Array(text[start..<start + 5]))
        found.append(try cache.set(named: "set"))
        try given.commit(3)
      }
      sets.append(found)
    }
    XCTAssertEqual(sets[0], sets[1])
  }
}
