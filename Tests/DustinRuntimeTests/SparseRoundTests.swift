import DustinSupport
import XCTest

@testable import DustinRuntime

/// Rounds that choose positions: what is called when, with which rows, and what stays.
final class SparseRoundTests: XCTestCase {
  override func tearDown() { XCTAssertEqual(FakeLog.shared.takeFaults(), []) }

  struct Run {
    let loop: SpeculativeLoop
    let targets: [KVCache]
    let drafts: [KVCache]
    let requests: [GenerationRequest]
  }

  /// A loop over the pair, with caches of its own.
  static func prepare(
    _ pair: FakePair, prompts: [[Int32]], new: Int = 30, gamma: Int = 4, threads: Int = 1, draftContext: Int = 200,
    cancel: CancelFlag? = nil, _ change: (inout GenerationOptions) -> Void = { _ in }
  ) throws -> Run {
    let engines = try pair.engines(threads: threads)
    var options = GenerationOptions()
    options.gamma = gamma
    change(&options)
    let targets = try prompts.map { _ in try KVCache(engines.target.model, positions: 200) }
    let drafts = try prompts.map { _ in try KVCache(engines.draft.model, positions: draftContext) }
    let loop = try SpeculativeLoop(
      target: engines.target, drafter: ModelDrafter(engine: engines.draft, contextSize: draftContext),
      options: options, cancel: cancel)
    return Run(
      loop: loop, targets: targets, drafts: drafts,
      requests: prompts.indices.map {
        GenerationRequest(
          prompt: prompts[$0], maxNewTokens: new, id: UInt64($0), targetCache: targets[$0], draftCache: drafts[$0])
      })
  }

  /// Plain decoding with the dense function.
  static func dense(_ pair: FakePair, prompts: [[Int32]], new: Int = 30) throws -> [[Int32]] {
    let run = try prepare(pair, prompts: prompts, new: new, gamma: 0) { $0.verifyFunction = "dense" }
    return try run.loop.run(run.requests).map(\.tokens)
  }

  private let prompts = [fakePrompt(1, count: 20), fakePrompt(2, count: 9), fakePrompt(3, count: 33)]

  /// Every call of every round, against what the tokens say it must have been.
  func testRoundsCallTheRightFunctionsWithTheRightRows() throws {
    for role in ["row", "rows"] {
      for near in [false, true] {
        let run = try Self.prepare(FakePair(historyRole: role, near: near), prompts: [prompts[0]])
        let cache = run.targets[0]
        var tokens = prompts[0]
        run.loop.onEvent = { tokens += $0.tokens }
        try run.loop.begin(run.requests)
        var history = [[tokens[19], 19, Int32(FakePair.Function.prefill.rawValue)]]
        while !run.loop.isFinished {
          let before = tokens
          let length = before.count - 1
          let room = 50 - before.count
          var proposal: [Int32] = []
          var chosen: [Int32] = []
          let calls = try FakeLog.shared.calls {
            try run.loop.draft()
            try run.loop.select()
            XCTAssertEqual(
              try cache.signal(named: "look")[0], Array(try run.drafts[0].signal(named: "look")[0][..<length]))
            chosen = try cache.set(named: "set")[0]
            try run.loop.verify()
            try run.loop.accept()
          }
          let drafts = calls.filter { $0.function == .draft }.map(\.shares[0])
          let gamma = min(4, room - 1)
          // The last proposal is fed too; its row is one of those that look ahead.
          XCTAssertEqual(drafts.count, gamma + 1)
          let rows = [drafts[0].ids.count - 1] + Array(repeating: 0, count: gamma)
          proposal = drafts.dropFirst().map { $0.ids[0] }
          let look = try XCTUnwrap(calls.first { $0.function == .look }).shares[0]
          XCTAssertEqual(look.length, length)
          XCTAssertEqual(
            look.kept,
            zip(drafts, rows).map { [$0.ids[$1], $0.positions[$1], Int32(FakePair.Function.draft.rawValue)] })
          XCTAssertEqual(look.kept.map { $0[0] }, [before[length]] + proposal)
          XCTAssertEqual(look.kept.map { $0[1] }, (0...gamma).map { Int32(length + $0) })
          let select = try XCTUnwrap(calls.first { $0.function == .select }).shares[0]
          XCTAssertEqual(select.length, length)
          XCTAssertEqual(select.kept, history)
          let verify = try XCTUnwrap(calls.first { $0.function == .verify }).shares[0]
          XCTAssertEqual(verify.length, length)
          XCTAssertEqual(verify.ids, [before[length]] + proposal)
          XCTAssertEqual(verify.set, [chosen])
          XCTAssertEqual(chosen.last, Int32(length - 1))
          XCTAssertEqual(calls.map(\.function).filter { $0 != .draft }, [.look, .select, .verify])
          XCTAssertEqual(calls.last?.function, .verify)
          if near { XCTAssertTrue(drafts.allSatisfy { !$0.set[0].isEmpty }) }
          try run.loop.commit()
          // The rows of the next round are those that were accepted now.
          let stands = tokens.count - before.count
          XCTAssertEqual(cache.length, length + stands)
          let kept = (0..<stands).map {
            [tokens[length + $0], Int32(length + $0), Int32(FakePair.Function.verify.rawValue)]
          }
          history = role == "row" ? [kept[stands - 1]] : kept
          XCTAssertEqual(cache.keptRows["history.0"]?.count, history.count)
        }
        let s = run.loop.metrics.speculation
        XCTAssertTrue(s.accepted > 0 && s.accepted < s.drafted)
        XCTAssertEqual(run.loop.metrics.denseRounds, 0)
        XCTAssertEqual(tokens.count, 50)
      }
    }
  }

  /// The draft's keys and values are those of a fresh prefill after every round, whatever was rejected.
  func testTheDraftsCacheIsThatOfAFreshPrefill() throws {
    for gamma in [1, 4, 7] {
      for agreement in [0, 60, 100] {
        let pair = FakePair(agreement: 90, draftAgreement: agreement)
        let run = try Self.prepare(pair, prompts: prompts, new: 40, gamma: gamma)
        let engine = try Engine(model: run.drafts[0].model, team: ThreadTeam(threads: 1))
        var tokens = prompts
        run.loop.onEvent = { tokens[$0.sequence] += $0.tokens }
        try run.loop.begin(run.requests)
        while !run.loop.isFinished {
          let counts = tokens.map(\.count)
          try run.loop.draft()
          for index in prompts.indices where run.loop.results[index].tokens.count < 40 {
            // What the target knows, and the token behind.
            let fresh = try KVCache(engine.model, positions: 200)
            _ = try engine.prefill([StepRows(fresh, tokens[index][..<counts[index]])])
            XCTAssertEqual(
              try run.drafts[index].bits(ofPositions: 0..<counts[index]),
              try fresh.bits(ofPositions: 0..<counts[index]))
          }
          try run.loop.select()
          try run.loop.verify()
          try run.loop.accept()
          try run.loop.commit()
        }
      }
    }
  }

  func testASetOfEverythingIsDenseVerification() throws {
    for planes in [1, 2] {
      var pair = FakePair(budget: 200, planes: planes)
      let expected = try Self.dense(pair, prompts: prompts)
      let run = try Self.prepare(pair, prompts: prompts, threads: 2)
      XCTAssertEqual(try run.loop.run(run.requests).map(\.tokens), expected)
      let fresh = try KVCache(run.targets[0].model, positions: 100)
      let engine = try Engine(model: fresh.model, team: ThreadTeam(threads: 1))
      _ = try engine.prefill([StepRows(fresh, prompts[0] + expected[0].dropLast())])
      XCTAssertEqual(try run.targets[0].bits(ofPositions: 0..<49), try fresh.bits(ofPositions: 0..<49))
      XCTAssertEqual(try XCTUnwrap(run.loop.metrics.signalCoverage), 1, accuracy: 1e-9)
      // With a small set they differ: the fake is worth its tests.
      pair.budget = 5
      let sparse = try Self.prepare(pair, prompts: prompts)
      XCTAssertNotEqual(try sparse.loop.run(sparse.requests).map(\.tokens), expected)
      let coverage = try XCTUnwrap(sparse.loop.metrics.signalCoverage)
      XCTAssertTrue(coverage > 0.05 && coverage < 0.9, "\(coverage)")
    }
  }

  func testCoverageIsTheShareOfTheSignalOnTheSet() throws {
    let run = try Self.prepare(FakePair(), prompts: [prompts[0]])
    try run.loop.begin(run.requests)
    var shares: [Double] = []
    while !run.loop.isFinished {
      try run.loop.draft()
      try run.loop.select()
      let signal = try run.targets[0].signal(named: "look")[0].map(Double.init)
      let set = try run.targets[0].set(named: "set")[0]
      shares.append(set.reduce(0) { $0 + signal[Int($1)] } / signal.reduce(0, +))
      try run.loop.verify()
      try run.loop.accept()
      try run.loop.commit()
    }
    let coverage = try XCTUnwrap(run.loop.metrics.signalCoverage)
    XCTAssertEqual(coverage, shares.reduce(0, +) / Double(shares.count), accuracy: 1e-6)
    XCTAssertGreaterThan(run.loop.metrics.selectSeconds, 0)
  }

  /// Without tokens drafted: history alone chooses, step by step as written here.
  func testPlainDecodingChoosesByHistory() throws {
    for takesLook in [true, false] {
      let pair = FakePair(takesLook: takesLook)
      for prompt in prompts + [[7]] {
        // The signal of an earlier run does not count.
        let earlier = try Self.prepare(pair, prompts: [prompt])
        _ = try earlier.loop.run(earlier.requests)
        let engine = try Engine(model: earlier.targets[0].model, team: ThreadTeam(threads: 1))
        var options = GenerationOptions()
        options.gamma = 0
        let loop = try SpeculativeLoop(target: engine, options: options)
        let result = try loop.run(earlier.requests)[0].tokens

        let cache = try KVCache(engine.model, positions: 100)
        let prefilled = try engine.prefill([StepRows(cache, prompt)])
        var tokens = [try prefilled.logits[0].withUnsafeBufferPointer { try argMax($0) }]
        while tokens.count < 30 {
          _ = try engine.step("select", [StepRows(cache)])
          let step = try engine.step("verify", [StepRows(cache, [tokens[tokens.count - 1]])])
          try step.keep(sequence: 0, rows: 0..<1)
          try cache.commit(1)
          tokens.append(try argMax(step.logits(sequence: 0, row: 0)))
        }
        XCTAssertEqual(result, tokens)
        XCTAssertEqual(
          try earlier.targets[0].bits(ofPositions: 0..<cache.length), try cache.bits(ofPositions: 0..<cache.length))
      }
    }
  }

  /// A text that the loop made, given to rounds that commit as much of it each time: the caches get the same bits.
  func testGivenRoundsAreThoseOfGeneration() throws {
    for pair in [FakePair(), FakePair(historyRole: "rows", near: true), FakePair(observe: "round")] {
      let run = try Self.prepare(pair, prompts: [prompts[0]], new: 60)
      var tokens = prompts[0]
      var made: [Int] = []
      run.loop.onEvent = { event in
        // The last rounds propose less.
        if tokens.count < self.prompts[0].count + 50 { made.append(event.tokens.count) }
        tokens += event.tokens
      }
      _ = try run.loop.run(run.requests)

      let engines = try pair.engines(threads: 1)
      let cache = try KVCache(engines.target.model, positions: 200)
      _ = try engines.target.prefill([StepRows(cache, prompts[0])], wantLogits: false)
      let given = try GivenRounds(
        target: engines.target, drafter: ModelDrafter(engine: engines.draft, contextSize: 200), gamma: 4, cache: cache,
        draftCache: nil, tokens: prompts[0], positions: 200, cancel: nil)
      var place = prompts[0].count
      for count in made.dropFirst() {
        let verified = try given.verify(Array(tokens[place..<min(place + 5, tokens.count)]))
        XCTAssertFalse(verified.isDense)
        try given.commit(count)
        place += count
      }
      XCTAssertGreaterThan(made.count, 10)
      XCTAssertEqual(cache.length, place)
      XCTAssertEqual(try cache.bits(ofPositions: 0..<place), try run.targets[0].bits(ofPositions: 0..<place))
    }
  }

  func testSetsServeSeveralRounds() throws {
    for refresh in [2, 3] {
      var pair = FakePair()
      pair.policy.refresh = refresh
      for near in [false, true] {
        pair.near = near
        let run = try Self.prepare(pair, prompts: [prompts[0]])
        try run.loop.begin(run.requests)
        var set: [[Int32]] = []
        var round = 0
        while !run.loop.isFinished {
          let length = run.targets[0].length
          let calls = try FakeLog.shared.calls { try run.loop.makeRound() }
          let functions = Set(calls.map(\.function))
          let isFresh = round % refresh == 0
          XCTAssertEqual(functions.contains(.select), isFresh, "round \(round)")
          // The draft's own set has its own turn: it was made with the prompt.
          if !near { XCTAssertEqual(functions.contains(.look), isFresh, "round \(round)") }
          let verify = try XCTUnwrap(calls.last { $0.function == .verify }).shares[0]
          XCTAssertEqual(verify.length, length)
          if let look = calls.first(where: { $0.function == .look })?.shares[0] {
            // However many tokens the draft had to catch up with.
            XCTAssertEqual(look.kept.map { $0[1] }, verify.positions)
            XCTAssertEqual(look.kept.map { $0[0] }, verify.ids)
          }
          if isFresh {
            set = verify.set
            XCTAssertEqual(set[0].last, Int32(length - 1))
          }
          XCTAssertEqual(verify.set, set)
          round += 1
        }
        XCTAssertGreaterThan(round, 6)
      }
    }
  }

  func testADensePassFeedsExactlyTheTokensSinceTheLastOne() throws {
    for every in [1, 7, 12] {
      var pair = FakePair()
      pair.policy.denseEvery = every
      let run = try Self.prepare(pair, prompts: [prompts[0]], new: 50)
      var tokens = prompts[0]
      run.loop.onEvent = { tokens += $0.tokens }
      try run.loop.begin(run.requests)
      let fresh = try KVCache(run.targets[0].model, positions: 200)
      let engine = try Engine(model: fresh.model, team: ThreadTeam(threads: 1))
      var last = 20
      var passes = 0
      while !run.loop.isFinished {
        let before = tokens
        let length = before.count - 1
        let gamma = min(4, 70 - before.count - 1)
        let calls = try FakeLog.shared.calls { try run.loop.makeRound() }
        let isDense = length - last + gamma + 1 > every
        XCTAssertEqual(calls.contains { $0.function == .verify }, !isDense)
        guard let dense = calls.first(where: { $0.function == .dense })?.shares[0] else { continue }
        passes += 1
        XCTAssertTrue(isDense)
        XCTAssertFalse(calls.contains { $0.function == .select })
        XCTAssertEqual(dense.length, last)
        XCTAssertEqual(Array(dense.ids.prefix(before.count - last)), Array(before[last...]))
        XCTAssertEqual(dense.ids.count, length - last + gamma + 1)
        last = run.targets[0].length
        // What it says is what a dense pass says of these tokens.
        fresh.truncate(to: 0)
        _ = try engine.prefill([StepRows(fresh, tokens[..<length])])
        let step = try engine.step("dense", [StepRows(fresh, tokens[length..<tokens.count - 1])])
        XCTAssertEqual(
          try (0..<tokens.count - before.count).map { try argMax(step.logits(sequence: 0, row: $0)) },
          Array(tokens[before.count...]))
        // All is now as if nothing had been left out.
        fresh.truncate(to: 0)
        _ = try engine.prefill([StepRows(fresh, tokens[..<last])])
        XCTAssertEqual(try run.targets[0].bits(ofPositions: 0..<last), try fresh.bits(ofPositions: 0..<last))
        XCTAssertEqual(run.targets[0].keptRows["history.0"]?.end, last)
      }
      XCTAssertEqual(run.loop.metrics.denseRounds, passes)
      XCTAssertGreaterThan(passes, 3)
      if every == 12 { XCTAssertGreaterThan(run.loop.metrics.speculation.rounds, passes) }
    }
  }

  /// However long a set may serve: with the rows of a dense pass there is a better one.
  func testPositionsAreChosenAnewBehindADensePass() throws {
    var pair = FakePair()
    pair.policy = Program.Policy(refresh: 100, denseEvery: 14)
    let run = try Self.prepare(pair, prompts: [prompts[0]], new: 60)
    let calls = try FakeLog.shared.calls { _ = try run.loop.run(run.requests) }
    let functions = calls.map(\.function).filter { [.select, .verify, .dense].contains($0) }
    XCTAssertGreaterThan(functions.filter { $0 == .dense }.count, 2)
    for (number, function) in functions.enumerated() where function == .verify {
      let before = number < 2 ? nil : functions[number - 2]
      XCTAssertEqual(functions[number - 1] == .select, before == nil || before == .dense, "call \(number)")
    }
  }

  /// The draft's context ends at 40 tokens: then there is no signal any more.
  func testWithoutASignalEverythingIsReadOrTheLastSetServes() throws {
    for hasDense in [true, false] {
      let run = try Self.prepare(FakePair(hasDense: hasDense), prompts: [prompts[0]], draftContext: 40)
      try run.loop.begin(run.requests)
      var set: [[Int32]] = []
      var without = 0
      while !run.loop.isFinished {
        let calls = try FakeLog.shared.calls { try run.loop.makeRound() }
        if calls.contains(where: { $0.function == .look }) {
          set = try XCTUnwrap(calls.first { $0.function == .verify }).shares[0].set
          continue
        }
        without += 1
        XCTAssertFalse(calls.contains { $0.function == .select || $0.function == .draft })
        if hasDense {
          XCTAssertEqual(calls.map(\.function), [.dense])
        } else {
          XCTAssertEqual(calls.map(\.function), [.verify])
          XCTAssertEqual(calls[0].shares[0].set, set)
        }
      }
      XCTAssertEqual(run.loop.metrics.denseRounds, hasDense ? without : 0)
      XCTAssertGreaterThan(without, 5)
      XCTAssertEqual(run.targets[0].length, 49)
    }
    // A prompt that the draft cannot read: the first set is chosen with a signal of zeros.
    let run = try Self.prepare(FakePair(hasDense: false), prompts: [prompts[0]], draftContext: 12)
    let calls = try FakeLog.shared.calls { _ = try run.loop.run(run.requests) }
    XCTAssertEqual(calls.filter { $0.function == .select }.count, 1)
    XCTAssertEqual(run.targets[0].length, 49)
  }

  func testSequencesOfOneRoundMayBeReadDifferently() throws {
    // The first one outgrows the draft, the second never does.
    let pair = FakePair()
    let alone = try [0, 1].map { index in
      let run = try Self.prepare(pair, prompts: [prompts[index]], draftContext: 40) { _ in }
      return try run.loop.run(run.requests)[0].tokens
    }
    let run = try Self.prepare(pair, prompts: Array(prompts[..<2]), threads: 2, draftContext: 40)
    XCTAssertEqual(try run.loop.run(run.requests).map(\.tokens), alone)
    XCTAssertGreaterThan(run.loop.metrics.denseRounds, 0)
    XCTAssertLessThan(run.loop.metrics.denseRounds, run.loop.metrics.speculation.rounds)
  }

  func testObservedOnceBehindThePrompt() throws {
    var pair = FakePair(observe: "static")
    pair.policy.observe = 8
    for prompt in [prompts[0], fakePrompt(8, count: 8), [4, 5, 6]] {
      let run = try Self.prepare(pair, prompts: [prompt])
      let calls = try FakeLog.shared.calls { _ = try run.loop.run(run.requests) }
      let observed = calls.filter { $0.function == .observe }
      XCTAssertEqual(observed.count, 1)
      let count = min(8, prompt.count)
      XCTAssertEqual(observed[0].shares[0].length, prompt.count - count)
      XCTAssertEqual(observed[0].shares[0].ids, Array(prompt.suffix(count)))
      let verified = calls.filter { $0.function == .verify }
      XCTAssertEqual(Set(verified.map(\.shares[0].set)), [verified[0].shares[0].set])
      XCTAssertEqual(verified[0].shares[0].set[0].last ?? -1, Int32(prompt.count - count - 1))
      XCTAssertNil(run.loop.metrics.signalCoverage)
    }
    pair.policy.observe = 17  // more than a step takes
    let run = try Self.prepare(pair, prompts: [prompts[0]])
    XCTAssertThrowsError(try run.loop.run(run.requests)) { XCTAssertEqual(identifier($0), "step") }
  }

  func testObservedEveryRoundOverTheRowsThatAreVerified() throws {
    let run = try Self.prepare(FakePair(observe: "round"), prompts: [prompts[0]])
    let calls = try FakeLog.shared.calls { _ = try run.loop.run(run.requests) }
      .filter { $0.function == .observe || $0.function == .verify }
    XCTAssertGreaterThan(calls.count, 8)
    for pair in stride(from: 0, to: calls.count, by: 2) {
      XCTAssertEqual(calls[pair].function, .observe)
      XCTAssertEqual(calls[pair + 1].function, .verify)
      XCTAssertEqual(calls[pair].shares[0].ids, calls[pair + 1].shares[0].ids)
      XCTAssertEqual(calls[pair].shares[0].length, calls[pair + 1].shares[0].length)
      XCTAssertEqual(calls[pair + 1].shares[0].set[0].last, Int32(calls[pair].shares[0].length - 1))
    }
  }

  func testNeighboursAndThreadsDoNotMatter() throws {
    var pair = FakePair(historyRole: "rows", near: true)
    pair.policy.denseEvery = 15
    for temperature in [Float(0), 0.8] {
      var outputs: [Int: Set<[Int32]>] = [:]
      for order in [[0, 1, 2], [2, 0], [1], [0], [2]] {
        for threads in [1, 2] {
          var run = try Self.prepare(pair, prompts: order.map { prompts[$0] }, threads: threads) {
            $0.sampling = Sampling(temperature: temperature, topK: 20, seed: 4)
          }
          run = Run(
            loop: run.loop, targets: run.targets, drafts: run.drafts,
            requests: zip(run.requests, order).map { request, index in
              var request = request
              request.id = UInt64(index)
              return request
            })
          for (result, index) in zip(try run.loop.run(run.requests), order) {
            outputs[index, default: []].insert(result.tokens)
          }
        }
      }
      XCTAssertEqual(outputs.mapValues(\.count), [0: 1, 1: 1, 2: 1])
    }
  }

  /// Stopped before each verb of each round: the caches hold what was told, and a run from them goes on alike.
  func testCancellationLeavesTheLastCommit() throws {
    let pair = FakePair(near: true)
    let whole = try Self.prepare(pair, prompts: [prompts[0]])
    let expected = try whole.loop.run(whole.requests)[0].tokens
    for stop in 0..<20 {
      let flag = CancelFlag()
      let run = try Self.prepare(pair, prompts: [prompts[0]], cancel: flag)
      try run.loop.begin(run.requests)
      let verbs = [run.loop.draft, run.loop.select, run.loop.verify, run.loop.accept, run.loop.commit]
      for turn in 0..<stop { try verbs[turn % 5]() }
      let (length, rows) = (run.targets[0].length, run.targets[0].keptRows)
      flag.cancel()
      try run.loop.makeRound()
      let result = run.loop.results[0]
      XCTAssertEqual(result.finish, .cancelled)
      XCTAssertEqual(result.tokens, Array(expected.prefix(result.tokens.count)))
      XCTAssertEqual(run.targets[0].length, length)
      XCTAssertEqual(length, 20 + result.tokens.count - 1)
      XCTAssertEqual(run.targets[0].keptRows, rows)
      XCTAssertEqual(
        try run.targets[0].bits(ofPositions: 0..<length), try whole.targets[0].bits(ofPositions: 0..<length))
    }
  }

  /// Forks of both caches in the middle of a run, continued: neither sees the other.
  func testForksAreIndependent() throws {
    func continued(_ target: KVCache, _ draft: KVCache, _ prompt: [Int32]) throws -> [Int32] {
      let team = try ThreadTeam(threads: 1)
      let loop = try SpeculativeLoop(
        target: Engine(model: target.model, team: team),
        drafter: ModelDrafter(engine: Engine(model: draft.model, team: team), contextSize: 200),
        options: GenerationOptions())
      return try loop.run([
        GenerationRequest(prompt: prompt, maxNewTokens: 25, targetCache: target, draftCache: draft)
      ])[0].tokens
    }
    let first = try Self.prepare(FakePair(historyRole: "rows", near: true), prompts: [prompts[0]], new: 12)
    let head = prompts[0] + (try first.loop.run(first.requests)[0].tokens)
    let (target, draft) = (first.targets[0], first.drafts[0])
    let forks = try (0..<2).map { _ in (try target.fork(), try draft.fork()) }
    let (bits, set) = (try target.bits(ofPositions: 0..<target.length), try target.set(named: "set"))
    let results = [
      try continued(forks[0].0, forks[0].1, head), try continued(forks[1].0, forks[1].1, head + [5]),
    ]
    XCTAssertNotEqual(results[0], results[1])
    XCTAssertEqual(try target.bits(ofPositions: 0..<target.length), bits)
    XCTAssertEqual(try target.set(named: "set"), set)
    // The same from the original, after the forks have gone on.
    XCTAssertEqual(try continued(target, draft, head), results[0])
  }

  func testProgramsThatDoNotFitAreRefused() throws {
    func expect(
      _ id: String, _ pair: FakePair = FakePair(), target: (inout Program) -> Void = { _ in },
      draft: (inout Program) -> Void = { _ in }, line: UInt = #line
    ) throws {
      var programs = (pair.targetProgram, pair.draftProgram)
      target(&programs.0)
      draft(&programs.1)
      let team = try ThreadTeam(threads: 1)
      let engines = try [programs.0, programs.1].map {
        try Engine(model: CompiledModel(program: $0, entry: fakeSparseEntry, weights: nil), team: team)
      }
      XCTAssertThrowsError(
        try SpeculativeLoop(
          target: engines[0], drafter: ModelDrafter(engine: engines[1], contextSize: 10), options: GenerationOptions()),
        line: line
      ) { XCTAssertEqual(identifier($0), id, "\($0)", line: line) }
    }
    try expect("value", draft: { $0.sequenceValues[0].planes = 2 })
    var pair = FakePair(hasDense: false)
    pair.policy.denseEvery = 5
    try expect("function", pair)
    try expect("function", FakePair(observe: "static"))
    try expect("function", target: { $0.functions[2].results.remove(at: 1) })  // dense without history
  }

  func testExactnessIsAsked() throws {
    let program = FakePair().targetProgram
    try requireExact(program, function: "dense")
    try requireExact(program, function: "prefill")
    XCTAssertThrowsError(try requireExact(program, function: "verify")) { XCTAssertEqual(identifier($0), "exact") }
    XCTAssertThrowsError(try requireExact(program, function: "dence")) {
      XCTAssertTrue("\($0)".contains("did you mean 'dense'?"), "\($0)")
    }
  }
}
