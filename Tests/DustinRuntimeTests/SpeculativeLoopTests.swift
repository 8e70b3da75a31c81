import DustinSupport
import Foundation
import XCTest

@testable import DustinRuntime

/// Everything about greedy runs: whatever is drafted, the tokens are those of plain decoding.
final class SpeculativeLoopTests: XCTestCase {
  /// Ties are frequent with 8 levels.
  private static let model = FakeModel(levels: 8)
  private static func draftModel(_ agreement: Int) -> FakeModel {
    FakeModel(agreement: agreement, voice: 3, levels: 8, maxRows: 5, prefillRows: 4)
  }

  private func requests(_ count: Int, new: Int = 24) -> [GenerationRequest] {
    (0..<count).map { index in
      GenerationRequest(
        prompt: fakePrompt(100 + index, count: 1 + index * 7 % 23), maxNewTokens: new - index % 5, id: UInt64(index))
    }
  }

  private func plain(
    _ requests: [GenerationRequest], _ change: (inout GenerationOptions) -> Void = { _ in }
  ) throws -> [GenerationResult] {
    var options = GenerationOptions()
    options.gamma = 0
    change(&options)
    // One at a time: the neighbours cannot matter.
    return try requests.map { request in
      try SpeculativeLoop(target: fakeEngine(Self.model), options: options).run([request])[0]
    }
  }

  private func drafters(_ continuations: [[Int32]], threads: ThreadTeam) throws -> [(String, any Drafter)] {
    func modelDrafter(_ agreement: Int, _ context: Int) throws -> ModelDrafter {
      let engine = try Engine(model: Self.draftModel(agreement).compiled(), team: threads)
      return try ModelDrafter(engine: engine, contextSize: context)
    }
    return [
      ("model 60 %", try modelDrafter(60, 1000)), ("model 100 %", try modelDrafter(100, 1000)),
      ("model 0 %", try modelDrafter(0, 1000)), ("short model", try modelDrafter(60, 20)),
      ("right", ScriptedDrafter(continuations: continuations)),
      ("wrong", ScriptedDrafter.wrong(continuations, vocabulary: 32)),
      ("random", try RandomDrafter(vocabulary: 32)), ("outside", try RandomDrafter(vocabulary: 100)),
    ]
  }

  func testGreedyTokensAreThoseOfPlainDecoding() throws {
    for batch in [1, 3, 16] {
      let requests = requests(batch)
      let expected = try plain(requests)
      XCTAssertEqual(expected.map(\.tokens.count), requests.map(\.maxNewTokens))
      for gamma in batch == 1 ? Array(0...8) : [1, 2, 4, 8] {
        for threads in batch == 16 ? [2] : [1, 2] {
          let team = try ThreadTeam(threads: threads)
          for (name, drafter) in try drafters(expected.map(\.tokens), threads: team) {
            var options = GenerationOptions()
            options.gamma = gamma
            let target = try Engine(model: Self.model.compiled(), team: team)
            let loop = try SpeculativeLoop(target: target, drafter: drafter, options: options)
            let results = try loop.run(requests)
            let what = "\(name), γ \(gamma), batch \(batch), threads \(threads)"
            XCTAssertEqual(results.map(\.tokens), expected.map(\.tokens), what)
            XCTAssertEqual(results.map(\.finish), expected.map(\.finish), what)
            check(loop.metrics, name, gamma, what)
          }
        }
      }
    }
  }

  private func check(_ metrics: RunMetrics, _ name: String, _ gamma: Int, _ what: String) {
    let s = metrics.speculation
    XCTAssertEqual(s.emitted, s.accepted + s.rounds, what)
    XCTAssertEqual(s.accepted, s.acceptedPerPosition.reduce(0, +), what)
    XCTAssertEqual(s.drafted, s.draftedPerPosition.reduce(0, +), what)
    XCTAssertEqual(s.acceptedPerPosition, s.acceptedPerPosition.sorted(by: >), what)
    switch name {
    case "right", "model 100 %": XCTAssertEqual(s.accepted, s.drafted, what)
    case "wrong": XCTAssertEqual(s.accepted, 0, what)
    case "model 60 %" where gamma > 0:
      XCTAssertTrue(s.accepted > 0 && s.accepted < s.drafted, what)
    default: break
    }
    if gamma == 0 {
      XCTAssertEqual(s.drafted, 0, what)
    } else if name != "short model" {
      XCTAssertGreaterThan(s.drafted, 0, what)
    }
  }

  func testMetricsOfAKnownRun() throws {
    // 1 token from the prefill, then 5 rounds of γ 3 all right make 20, and the 21st needs one round without a draft.
    let request = GenerationRequest(prompt: fakePrompt(1, count: 9), maxNewTokens: 22)
    let tokens = try plain([request])[0].tokens
    var options = GenerationOptions()
    options.gamma = 3
    let engine = try fakeEngine(Self.model)
    let loop = try SpeculativeLoop(
      target: engine, drafter: ScriptedDrafter(continuations: [tokens]), options: options)
    let result = try loop.run([request])[0]
    let s = loop.metrics.speculation
    XCTAssertEqual(result.speculation, s)
    XCTAssertEqual(s.rounds, 6)
    XCTAssertEqual(s.drafted, 15)
    XCTAssertEqual(s.acceptedPerPosition, [5, 5, 5])
    XCTAssertEqual(s.meanAcceptedLength, 21.0 / 6)
    XCTAssertEqual(loop.metrics.prefillTokens, 9)
    XCTAssertEqual(loop.metrics.decodeTokens, 21)
    // Round r reads the committed positions and the four rows of the round.
    let positions = (0..<5).map { 9 + 4 * $0 + 4 }.reduce(0, +) + (9 + 20 + 1)
    XCTAssertEqual(loop.metrics.targetTraffic.bytesRead, positions * engine.model.program.cacheBytesPerPosition)
    XCTAssertNotNil(loop.metrics.timeToFirstToken)
    let m = loop.metrics
    XCTAssertEqual(
      m.draftSeconds + m.selectSeconds + m.verifySeconds + m.acceptSeconds + m.otherSeconds, m.decodeSeconds,
      accuracy: 1e-9)
  }

  func testNeighboursDoNotMatter() throws {
    let all = requests(9)
    for temperature in [Float(0), 0.8] {
      var outputs: [UInt64: Set<[Int32]>] = [:]
      for order in [[0, 1, 2, 3, 4, 5, 6, 7, 8], [8, 3, 1], [5], [2, 7, 0, 6, 4], [1, 0]] {
        for threads in [1, 2] {
          let team = try ThreadTeam(threads: threads)
          var options = GenerationOptions()
          options.sampling = Sampling(temperature: temperature, topK: 20, topP: 0.95, seed: 11)
          let draft = try ModelDrafter(
            engine: Engine(model: Self.draftModel(60).compiled(), team: team), contextSize: 100)
          let target = try Engine(model: Self.model.compiled(), team: team)
          let loop = try SpeculativeLoop(target: target, drafter: draft, options: options)
          for (result, index) in zip(try loop.run(order.map { all[$0] }), order) {
            outputs[UInt64(index), default: []].insert(result.tokens)
          }
        }
      }
      XCTAssertEqual(outputs.count, 9)
      for (index, tokens) in outputs {
        XCTAssertEqual(tokens.count, 1, "sequence \(index), temperature \(temperature)")
      }
    }
  }

  func testEventsTellEveryTokenOnceAndInOrder() throws {
    let requests = requests(5)
    var options = GenerationOptions()
    options.tokenBytes = { Array("<\($0)>".utf8) }
    let team = try ThreadTeam(threads: 1)
    let draft = try ModelDrafter(engine: Engine(model: Self.draftModel(60).compiled(), team: team), contextSize: 100)
    let target = try Engine(model: Self.model.compiled(), team: team)
    let loop = try SpeculativeLoop(target: target, drafter: draft, options: options)
    var tokens = Array(repeating: [Int32](), count: 5)
    var text = Array(repeating: [UInt8](), count: 5)
    var finished: [Int] = []
    loop.onEvent = { event in
      XCTAssertFalse(finished.contains(event.sequence))
      tokens[event.sequence] += event.tokens
      text[event.sequence] += event.text
      if event.finish != nil { finished.append(event.sequence) }
    }
    let results = try loop.run(requests)
    XCTAssertEqual(results.map(\.tokens), tokens)
    XCTAssertEqual(results.map(\.text), text)
    XCTAssertEqual(results.map(\.text), tokens.map { $0.flatMap { Array("<\($0)>".utf8) } })
    XCTAssertEqual(finished.sorted(), [0, 1, 2, 3, 4])
  }

  /// Progress drawn behind text would wipe its line; with the first token both models are ready.
  func testProgressEndsBeforeTheFirstEvent() throws {
    let team = try ThreadTeam(threads: 1)
    let draft = try ModelDrafter(engine: Engine(model: Self.draftModel(60).compiled(), team: team), contextSize: 100)
    let target = try Engine(model: Self.model.compiled(), team: team)
    let loop = try SpeculativeLoop(target: target, drafter: draft, options: GenerationOptions())
    var calls: [Int?] = []
    loop.onPrefill = { done, _ in calls.append(done) }
    loop.onEvent = { _ in calls.append(nil) }
    let requests = requests(3)
    _ = try loop.run(requests)
    let done = calls.prefix { $0 != nil }.compactMap { $0 }
    XCTAssertEqual(done, done.sorted())
    XCTAssertEqual(done.last, 2 * requests.reduce(0) { $0 + $1.prompt.count })
    XCTAssertTrue(calls.dropFirst(done.count).allSatisfy { $0 == nil })
    XCTAssertGreaterThan(calls.count, done.count)
    let metrics = loop.metrics
    XCTAssertGreaterThan(metrics.draftPrefillSeconds, 0)
    XCTAssertGreaterThanOrEqual(
      try XCTUnwrap(metrics.timeToFirstToken), metrics.prefillSeconds + metrics.draftPrefillSeconds)
  }

  func testMessagesNameTheModelWithoutFiniteLogits() throws {
    var broken = Self.draftModel(60)
    broken.height = .nan
    for temperature in [Float(0), 1] {
      var options = GenerationOptions()
      options.sampling.temperature = temperature
      let request = GenerationRequest(prompt: [1, 2, 3], maxNewTokens: 8)
      let draft = try ModelDrafter(engine: fakeEngine(broken), contextSize: 100)
      let cases = [
        ("the draft", try SpeculativeLoop(target: fakeEngine(Self.model), drafter: draft, options: options)),
        ("the target", try SpeculativeLoop(target: fakeEngine(broken), options: options)),
      ]
      for (name, loop) in cases {
        XCTAssertThrowsError(try loop.run([request])) {
          XCTAssertEqual(($0 as? DiagnosticError)?.diagnostics.first?.message, "\(name)'s logits are not finite")
        }
      }
    }
  }

  func testEndTokensAndStopStringsEndWhereverTheyFall() throws {
    let request = GenerationRequest(prompt: fakePrompt(4, count: 6), maxNewTokens: 30)
    let all = try plain([request])[0].tokens
    for place in [0, 1, 2, 5, 11, 29] {
      let end = all[place]
      let until = all[...(all.firstIndex(of: end) ?? 0)]
      // A stop string that begins inside one token's text and ends inside the next one's.
      let joined = all.map { "\($0);" }.joined()
      let cut = place == 0 ? "\(all[0]);" : "\(all[place - 1] % 10);\(all[place])"
      let stopAt = joined.range(of: cut)
      for gamma in [0, 1, 4, 7] {
        var options = GenerationOptions()
        options.gamma = gamma
        options.endTokens = [end, 77]
        let drafter = ScriptedDrafter(continuations: [all])
        let cache = try KVCache(Self.model.compiled(), positions: 60)
        var request = request
        request.targetCache = cache
        let engine = try Engine(model: cache.model, team: ThreadTeam(threads: 1))
        let result = try SpeculativeLoop(target: engine, drafter: drafter, options: options).run([request])[0]
        XCTAssertEqual(result.tokens, Array(until))
        XCTAssertEqual(result.finish, .endToken(end))
        XCTAssertEqual(cache.length, 6 + until.count - 1)

        options.endTokens = []
        options.tokenBytes = { Array("\($0);".utf8) }
        options.stopStrings = ["never", cut]
        let stopped = try SpeculativeLoop(
          target: fakeEngine(Self.model), drafter: ScriptedDrafter(continuations: [all]), options: options
        ).run([GenerationRequest(prompt: request.prompt, maxNewTokens: 30)])[0]
        XCTAssertEqual(stopped.finish, .stopString(cut))
        XCTAssertEqual(String(decoding: stopped.text, as: UTF8.self), stopAt.map { String(joined[..<$0.lowerBound]) })
        XCTAssertEqual(stopped.tokens, Array(all.prefix(stopped.tokens.count)))
        XCTAssertTrue(stopped.tokens.map { "\($0);" }.joined().contains(cut))
        XCTAssertFalse(stopped.tokens.dropLast().map { "\($0);" }.joined().contains(cut))
      }
    }
  }

  func testTheContextIsUsedToTheLastPosition() throws {
    let prompt = fakePrompt(6, count: 10)
    let all = try plain([GenerationRequest(prompt: prompt, maxNewTokens: 40)])[0].tokens
    for size in [10, 11, 12, 15, 17, 30] {
      for draftSize in [5, 10, 11, size - 1, size, 100] {
        for gamma in [0, 1, 3, 8] {
          var options = GenerationOptions()
          options.gamma = gamma
          options.contextSize = size
          let team = try ThreadTeam(threads: 1)
          let draft = try ModelDrafter(
            engine: Engine(model: Self.draftModel(100).compiled(), team: team), contextSize: draftSize)
          let target = try Engine(model: Self.model.compiled(), team: team)
          let loop = try SpeculativeLoop(target: target, drafter: draft, options: options)
          let result = try loop.run([GenerationRequest(prompt: prompt, maxNewTokens: 1000)])[0]
          XCTAssertEqual(result.tokens, Array(all.prefix(size - 10)), "context \(size), draft \(draftSize), γ \(gamma)")
          XCTAssertEqual(result.finish, .context)
          if draftSize >= size, gamma > 0, size > 12 { XCTAssertGreaterThan(loop.metrics.speculation.drafted, 0) }
        }
      }
    }
    var options = GenerationOptions()
    options.contextSize = 9
    XCTAssertThrowsError(
      try SpeculativeLoop(target: fakeEngine(Self.model), options: options).run([
        GenerationRequest(prompt: prompt, maxNewTokens: 1)
      ])
    ) { XCTAssertEqual(identifier($0), "context") }
  }

  func testNothingToGenerateStillReadsThePrompt() throws {
    let prompt = fakePrompt(6, count: 10)
    let loop = try SpeculativeLoop(target: fakeEngine(Self.model), options: GenerationOptions())
    var finishes: [FinishReason?] = []
    loop.onEvent = { finishes.append($0.finish) }
    let results = try loop.run([GenerationRequest(prompt: prompt, maxNewTokens: 0)])
    XCTAssertEqual(results[0].tokens, [])
    XCTAssertEqual(results[0].finish, .length)
    XCTAssertEqual(finishes, [.length])
    XCTAssertNil(loop.metrics.timeToFirstToken)
    let next = try plain([GenerationRequest(prompt: prompt, maxNewTokens: 1)])[0].tokens
    XCTAssertEqual(try loop.promptLogits[0].withUnsafeBufferPointer { try argMax($0) }, next[0])
  }

  func testPromptsInCachesAreNotReadAgain() throws {
    let prompt = fakePrompt(9, count: 40)
    let expected = try plain([GenerationRequest(prompt: prompt, maxNewTokens: 20)])[0].tokens
    let team = try ThreadTeam(threads: 1)
    let target = try Engine(model: Self.model.compiled(), team: team)
    let draft = try Engine(model: Self.draftModel(60).compiled(), team: team)
    let targetCache = try KVCache(target.model, positions: 100)
    let draftCache = try KVCache(draft.model, positions: 100)
    _ = try target.prefill([StepRows(targetCache, prompt)])
    _ = try draft.prefill([StepRows(draftCache, prompt)])
    for kept in [0, 13, 39, 40] {
      let forks = (try targetCache.fork(), try draftCache.fork())
      forks.0.truncate(to: kept)
      forks.1.truncate(to: kept)
      let loop = try SpeculativeLoop(
        target: target, drafter: ModelDrafter(engine: draft, contextSize: 100), options: GenerationOptions())
      let before = (target.traffic, draft.traffic)
      let result = try loop.run([
        GenerationRequest(prompt: prompt, maxNewTokens: 20, targetCache: forks.0, draftCache: forks.1)
      ])[0]
      XCTAssertEqual(result.tokens, expected)
      XCTAssertEqual(loop.metrics.prefillTokens, max(1, 40 - kept))
      if kept == 40 {
        // What the prefill read: one position of the target, none of the draft.
        let prefill = (target.traffic - before.0 - loop.metrics.targetTraffic).bytesRead
        XCTAssertEqual(prefill, 40 * target.model.program.cacheBytesPerPosition)
        XCTAssertEqual(draft.traffic - before.1, loop.metrics.draftTraffic)
      }
    }
  }

  func testCancelledRunsKeepWhatWasMade() throws {
    let requests = requests(3, new: 40)
    let expected = try plain(requests)
    for stopAfter in [0, 1, 2, 9, 25] {
      let flag = CancelFlag()
      let team = try ThreadTeam(threads: 1)
      let draft = try ModelDrafter(engine: Engine(model: Self.draftModel(60).compiled(), team: team), contextSize: 200)
      let target = try Engine(model: Self.model.compiled(), team: team)
      let caches = try requests.map { _ in try KVCache(target.model, positions: 100) }
      let loop = try SpeculativeLoop(target: target, drafter: draft, options: GenerationOptions(), cancel: flag)
      var events = 0
      var finishes: [FinishReason?] = []
      loop.onEvent = { event in
        events += 1
        if events > stopAfter { flag.cancel() }
        if event.finish != nil { finishes.append(event.finish) }
      }
      var withCaches = requests
      for index in requests.indices { withCaches[index].targetCache = caches[index] }
      let results = try loop.run(withCaches)
      XCTAssertTrue(loop.isFinished)
      XCTAssertEqual(finishes, [.cancelled, .cancelled, .cancelled])
      for (index, result) in results.enumerated() {
        XCTAssertEqual(result.finish, .cancelled)
        XCTAssertEqual(result.tokens, Array(expected[index].tokens.prefix(result.tokens.count)))
        XCTAssertEqual(caches[index].length, requests[index].prompt.count + result.tokens.count - 1)
        let fresh = try KVCache(target.model, positions: 100)
        let all = (requests[index].prompt + result.tokens).dropLast()
        if !all.isEmpty { _ = try target.prefill([StepRows(fresh, all)]) }
        XCTAssertEqual(
          try fresh.bits(ofPositions: 0..<all.count), try caches[index].bits(ofPositions: 0..<caches[index].length))
      }
    }
    // Before the first tile of the prompt, by the flag that its own one follows.
    let leader = CancelFlag()
    let flag = CancelFlag(following: leader)
    leader.cancel()
    XCTAssertTrue(flag.isCancelled)
    let loop = try SpeculativeLoop(target: fakeEngine(Self.model), options: GenerationOptions(), cancel: flag)
    XCTAssertEqual(try loop.run(requests).map(\.tokens), [[], [], []])
  }

  func testOptionsAndRequestsAreChecked() throws {
    func expect(_ id: String, _ request: GenerationRequest, _ change: (inout GenerationOptions) -> Void = { _ in }) {
      var options = GenerationOptions()
      change(&options)
      XCTAssertThrowsError(try SpeculativeLoop(target: fakeEngine(Self.model), options: options).run([request]), id) {
        XCTAssertEqual(identifier($0), id)
      }
    }
    let good = GenerationRequest(prompt: [1, 2], maxNewTokens: 3)
    expect("prompt", GenerationRequest(prompt: [], maxNewTokens: 3))
    expect("length", GenerationRequest(prompt: [1], maxNewTokens: -1))
    expect("token", GenerationRequest(prompt: [1, 32], maxNewTokens: 3))
    expect("gamma", good) { $0.gamma = -1 }
    expect("stop", good) { $0.stopStrings = ["x"] }
    expect("stop", good) {
      $0.stopStrings = [""]
      $0.tokenBytes = { _ in [] }
    }
    expect("function", good) { $0.verifyFunction = "verif" }
    expect("sampling", good) { $0.sampling.temperature = -1 }
    expect("sampling", good) { $0.sampling.temperature = .nan }
    expect("sampling", good) { $0.sampling.topP = 0 }
    expect("sampling", good) { $0.sampling.minP = 1.5 }
    expect("sampling", good) { $0.sampling.topK = -1 }
    expect("context", GenerationRequest(prompt: [1], maxNewTokens: .max))
    var shared = good
    shared.targetCache = try KVCache(Self.model.compiled(), positions: 10)
    expect("step", shared)  // of another model
  }
}
