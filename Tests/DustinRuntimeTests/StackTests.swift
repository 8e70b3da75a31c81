import DustinSupport
import XCTest

@testable import DustinRuntime

/// Sparse verification as the middle level: the output is that of the dense function.
final class StackTests: XCTestCase {
  override func tearDown() { XCTAssertEqual(FakeLog.shared.takeFaults(), []) }

  private let prompts = [fakePrompt(1, count: 20), fakePrompt(2, count: 9), fakePrompt(3, count: 33)]

  private struct Run {
    let loop: SpeculativeLoop
    let stack: StackDrafter
    let targets: [KVCache]
    let requests: [GenerationRequest]
  }

  private func prepare(
    _ pair: FakePair, prompts: [[Int32]], ids: [UInt64]? = nil, new: Int = 30, rounds: Int? = nil, threads: Int = 1,
    draftContext: Int = 300, cancel: CancelFlag? = nil, _ change: (inout GenerationOptions) -> Void = { _ in },
    inner: ((Engine) throws -> any Drafter)? = nil
  ) throws -> Run {
    let engines = try pair.engines(threads: threads)
    var stackOptions = StackDrafter.Options()
    stackOptions.rounds = rounds
    let stack = try StackDrafter(
      target: engines.target,
      inner: inner?(engines.draft) ?? ModelDrafter(engine: engines.draft, contextSize: draftContext),
      options: stackOptions)
    var options = GenerationOptions()
    options.verifyFunction = "dense"
    options.gamma = stack.blockLimit
    change(&options)
    let targets = try prompts.map { _ in try KVCache(engines.target.model, positions: 200) }
    return Run(
      loop: try SpeculativeLoop(target: engines.target, drafter: stack, options: options, cancel: cancel),
      stack: stack, targets: targets,
      requests: prompts.indices.map {
        GenerationRequest(
          prompt: prompts[$0], maxNewTokens: new, id: ids?[$0] ?? UInt64($0), targetCache: targets[$0])
      })
  }

  private func check(_ cache: KVCache, _ tokens: [Int32], _ what: String) throws {
    let engine = try Engine(model: cache.model, team: ThreadTeam(threads: 1))
    let fresh = try KVCache(cache.model, positions: 200)
    _ = try engine.prefill([StepRows(fresh, tokens)])
    XCTAssertEqual(cache.length, tokens.count, what)
    XCTAssertEqual(
      try cache.bits(ofPositions: 0..<tokens.count), try fresh.bits(ofPositions: 0..<tokens.count), what)
  }

  func testGreedyOutputIsThatOfPlainDecoding() throws {
    for agreement in [0, 70, 100] {
      for draftAgreement in [0, 70, 100] {
        for (rounds, role) in [(nil, "row"), (0, "row"), (1, "rows"), (3, "rows")] as [(Int?, String)] {
          let pair = FakePair(
            agreement: agreement, draftAgreement: draftAgreement, historyRole: role, near: role == "rows")
          let expected = try SparseRoundTests.dense(pair, prompts: prompts)
          let run = try prepare(pair, prompts: prompts, rounds: rounds, threads: agreement == 70 ? 2 : 1)
          let what = "sparse \(agreement), draft \(draftAgreement), rounds \(rounds.map(String.init) ?? "chosen")"
          XCTAssertEqual(try run.loop.run(run.requests).map(\.tokens), expected, what)
          for index in prompts.indices {
            try check(run.targets[index], prompts[index] + expected[index].dropLast(), what)
          }
          let s = run.loop.metrics.speculation
          XCTAssertEqual(s.emitted, s.accepted + s.rounds)
          if agreement == 100, rounds ?? 0 > 0 { XCTAssertEqual(s.accepted, s.drafted, what) }
          if agreement == 70, rounds == 3 {
            XCTAssertTrue(s.accepted > 0 && s.accepted < s.drafted, what)
            XCTAssertTrue(run.stack.metrics.agreement > 0.3 && run.stack.metrics.agreement < 1, what)
          }
          if let rounds, rounds > 0 {
            XCTAssertEqual(run.stack.metrics.blocks.lastIndex { $0 > 0 }, rounds, what)
            XCTAssertGreaterThan(run.stack.metrics.speculation.rounds, 0, what)
          }
        }
      }
    }
  }

  func testAnyInnerDrafterWillDo() throws {
    let pair = FakePair()
    let expected = try SparseRoundTests.dense(pair, prompts: prompts)
    let inner: [(String, (Engine) throws -> any Drafter)] = [
      ("right", { _ in ScriptedDrafter(continuations: expected) }),
      ("wrong", { _ in ScriptedDrafter.wrong(expected, vocabulary: 32) }),
      ("random", { _ in try RandomDrafter(vocabulary: 32) }),
      ("outside", { _ in try RandomDrafter(vocabulary: 100) }),
      ("short", { try ModelDrafter(engine: $0, contextSize: 30) }),
      ("too short", { try ModelDrafter(engine: $0, contextSize: 3) }),
    ]
    for (name, drafter) in inner {
      for rounds in [nil, 0, 2] as [Int?] {
        let run = try prepare(pair, prompts: prompts, rounds: rounds, inner: drafter)
        XCTAssertEqual(try run.loop.run(run.requests).map(\.tokens), expected, name)
      }
    }
  }

  /// The order of calls of a block, and that its positions are given back before the dense pass.
  func testBlocksAreFedAgainToTheDensePass() throws {
    let run = try prepare(FakePair(agreement: 90), prompts: [prompts[0]], rounds: 2)
    var tokens = prompts[0]
    run.loop.onEvent = { tokens += $0.tokens }
    try run.loop.begin(run.requests)
    while !run.loop.isFinished {
      let length = run.targets[0].length
      let last = tokens[tokens.count - 1]
      let calls = try FakeLog.shared.calls { try run.loop.draft() }
      XCTAssertEqual(run.targets[0].length, length)
      let functions = calls.map(\.function).filter { $0 != .draft && $0 != .look }
      let inner = Array(repeating: [FakePair.Function.select, .verify], count: functions.count / 2).flatMap { $0 }
      XCTAssertEqual(functions, inner)
      XCTAssertLessThanOrEqual(functions.count, 4)
      // History: before the block what the dense pass (or the prompt) left, then the middle level's own.
      let histories = calls.filter { $0.function == .select }.map { $0.shares[0].kept[0] }
      if let first = histories.first {
        XCTAssertEqual(first[1], Int32(length - 1))
        let origin: FakePair.Function = length == 20 ? .prefill : .dense
        XCTAssertEqual(first[2], Int32(origin.rawValue))
      }
      if histories.count > 1 { XCTAssertEqual(histories[1][2], Int32(FakePair.Function.verify.rawValue)) }
      let rest = try FakeLog.shared.calls {
        for verb in [run.loop.select, run.loop.verify, run.loop.accept, run.loop.commit] { try verb() }
      }
      XCTAssertEqual(rest.map(\.function), [.dense])
      XCTAssertEqual(rest[0].shares[0].length, length)
      XCTAssertEqual(rest[0].shares[0].ids.first, last)
      let set = try run.targets[0].set(named: "set")[0]
      XCTAssertTrue(set.allSatisfy { $0 < length })
    }
  }

  /// A set of the block before may hold positions that the dense pass has given to other tokens.
  func testEveryBlockChoosesAnew() throws {
    var pair = FakePair(agreement: 70)
    pair.policy.refresh = 3
    let run = try prepare(pair, prompts: [prompts[0]], rounds: 2)
    try run.loop.begin(run.requests)
    while !run.loop.isFinished {
      let calls = try FakeLog.shared.calls { try run.loop.makeRound() }
      let functions = calls.map(\.function).filter { $0 != .draft && $0 != .look }
      XCTAssertTrue(
        [[.select, .verify, .verify, .dense], [.select, .verify, .dense], [.dense]].contains(functions),
        "\(functions)")
    }
  }

  func testBlocksEndWithTheSequence() throws {
    let pair = FakePair(agreement: 100, draftAgreement: 100)
    let all = try SparseRoundTests.dense(pair, prompts: [prompts[0]])[0]
    for place in [0, 1, 4, 13, 29] {
      let run = try prepare(pair, prompts: [prompts[0]], rounds: 4) { $0.endTokens = [all[place]] }
      let result = try run.loop.run(run.requests)[0]
      XCTAssertEqual(result.tokens, Array(all[...(all.firstIndex(of: all[place]) ?? 0)]))
      XCTAssertEqual(result.finish, .endToken(all[place]))
      try check(run.targets[0], prompts[0] + result.tokens.dropLast(), "end \(place)")
    }
    for size in [20, 21, 22, 25, 31] {
      let run = try prepare(pair, prompts: [prompts[0]], new: 1000, rounds: 3) { $0.contextSize = size }
      let result = try run.loop.run(run.requests)[0]
      XCTAssertEqual(result.tokens, Array(all.prefix(size - 20)))
      XCTAssertEqual(result.finish, .context)
    }
    for new in 0...12 {
      let run = try prepare(pair, prompts: [prompts[0]], new: new, rounds: nil)
      XCTAssertEqual(try run.loop.run(run.requests)[0].tokens, Array(all.prefix(new)))
    }
  }

  /// Stopped between any two calls of the inner drafter: the target's cache holds what was told, and no more.
  func testCancellationAndErrorsLeaveTheLastCommit() throws {
    final class Stopper: Drafter {
      let drafter: any Drafter
      let flag: CancelFlag
      var calls: Int
      let throwsError: Bool
      init(_ drafter: any Drafter, _ flag: CancelFlag, after calls: Int, throwsError: Bool) {
        (self.drafter, self.flag, self.calls, self.throwsError) = (drafter, flag, calls, throwsError)
      }
      var traffic: CacheTraffic { drafter.traffic }
      var offers: [Program.SequenceValue] { drafter.offers }
      func begin(_ sequences: [DraftSequence], _ context: DraftContext) throws { try drafter.begin(sequences, context) }
      func propose(_ wishes: [DraftWish]) throws -> [Proposal] {
        calls -= 1
        if calls < 0, throwsError { throw DiagnosticError("test", "stopped") }
        let proposals = try drafter.propose(wishes)
        if calls < 0 { flag.cancel() }
        return proposals
      }
      func offer(_ index: Int, to cache: KVCache) throws -> Bool { try drafter.offer(index, to: cache) }
      func end(_ index: Int) { drafter.end(index) }
    }
    let pair = FakePair(agreement: 90)
    let expected = try SparseRoundTests.dense(pair, prompts: [prompts[0]])[0]
    for stop in 0..<9 {
      for throwsError in [false, true] {
        let flag = CancelFlag()
        let run = try prepare(
          pair, prompts: [prompts[0]], rounds: 3, cancel: flag,
          inner: { engine in
            Stopper(
              try ModelDrafter(engine: engine, contextSize: 100), flag, after: stop, throwsError: throwsError)
          })
        do {
          _ = try run.loop.run(run.requests)
          XCTAssertFalse(throwsError)
          XCTAssertEqual(run.loop.results[0].finish, .cancelled)
        } catch {
          XCTAssertEqual(identifier(error), "test")
        }
        let made = run.loop.results[0].tokens
        XCTAssertEqual(made, Array(expected.prefix(made.count)))
        try check(run.targets[0], prompts[0] + made.dropLast(), "stopped after \(stop)")
      }
    }
  }

  func testNeighboursDoNotMatterAndSeedsDo() throws {
    let pair = FakePair(near: true)
    var outputs: [Int: Set<[Int32]>] = [:]
    for (order, seed) in [([0, 1, 2], 1), ([2, 0], 1), ([1], 1), ([0], 1), ([2], 1), ([0, 1, 2], 2)]
      as [([Int], UInt64)]
    {
      let run = try prepare(
        pair, prompts: order.map { prompts[$0] }, ids: order.map { UInt64($0) }, threads: 1 + order.count % 2
      ) { $0.sampling = Sampling(temperature: 0.8, topK: 20, seed: seed) }
      for (result, index) in zip(try run.loop.run(run.requests), order) {
        outputs[index + (seed == 2 ? 10 : 0), default: []].insert(result.tokens)
      }
    }
    XCTAssertEqual(outputs.mapValues(\.count), [0: 1, 1: 1, 2: 1, 10: 1, 11: 1, 12: 1])
    XCTAssertNotEqual(outputs[0], outputs[10])
  }

  func testOptionsAreChecked() throws {
    let engines = try FakePair().engines()
    let inner = try ModelDrafter(engine: engines.draft, contextSize: 10)
    func expect(_ id: String, _ change: (inout StackDrafter.Options) -> Void) {
      var options = StackDrafter.Options()
      change(&options)
      XCTAssertThrowsError(try StackDrafter(target: engines.target, inner: inner, options: options)) {
        XCTAssertEqual(identifier($0), id)
      }
    }
    expect("gamma") { $0.gamma = 0 }
    expect("rounds") { $0.rounds = -1 }
    expect("rounds") { $0.mostRounds = 0 }
    expect("function") { $0.verifyFunction = "verfy" }
    let stack = try StackDrafter(target: engines.target, inner: inner)
    XCTAssertEqual(stack.blockLimit, 40)
    XCTAssertThrowsError(
      try stack.begin(
        [DraftSequence(index: 0, prompt: [1], limit: 9, random: KeyedRandom(seed: 0, sequence: 0))],
        DraftContext(sampling: Sampling()))
    ) { XCTAssertEqual(identifier($0), "stack") }
  }
}

/// How many rounds a block gets.
final class BlockPlannerTests: XCTestCase {
  private func planner(agreement: Double, tokensPerRound: Int = 3, blocks: Int = 60) -> BlockPlanner {
    var planner = BlockPlanner(gamma: 4, mostRounds: 8)
    var debt = 0.0
    for _ in 0..<blocks {
      planner.learn(round: tokensPerRound)
      debt += agreement / (1 - min(agreement, 0.999))
      let accepted = min(Int(debt), 30)
      debt -= Double(accepted)
      planner.learn(accepted: accepted, of: accepted + (agreement < 1 ? 1 : 0), .init(rounds: 1))
      planner.endBlock(.init(rounds: 1))
    }
    return planner
  }

  func testAgreementIsLearnt() {
    XCTAssertEqual(planner(agreement: 0.5).agreement(), 0.5, accuracy: 0.05)
    XCTAssertEqual(planner(agreement: 0.9).agreement(), 0.9, accuracy: 0.03)
    XCTAssertEqual(planner(agreement: 1).agreement(), 1, accuracy: 0.01)
    XCTAssertEqual(planner(agreement: 0.5, tokensPerRound: 2).tokensPerRound(), 2, accuracy: 0.05)
  }

  func testTheChoiceIsTheBestRate() {
    for agreement in [0.3, 0.8, 0.95, 0.99] {
      var planner = planner(agreement: agreement)
      // Otherwise blocks without the middle level would have a try.
      planner.learn(accepted: 2, of: 4, .init(rounds: 0))
      for dense in [0.5, 4, 40] {
        let costs = BlockPlanner.Costs(round: 1, draft: 0.3, dense: dense, denseRow: 0.01)
        let rates = (0...8).map { planner.rate(.init(rounds: $0), costs) }
        XCTAssertEqual(rates[planner.choose([costs]).rounds], rates.max())
      }
    }
  }

  func testMoreAgreementAndDearerDensePassesMeanLongerBlocks() {
    let costs = BlockPlanner.Costs(round: 1, draft: 0.3, dense: 6, denseRow: 0)
    let byAgreement = [0.2, 0.7, 0.9, 0.97, 1].map { planner(agreement: $0).choose([costs]).rounds }
    XCTAssertEqual(byAgreement, byAgreement.sorted())
    XCTAssertEqual(byAgreement.last, 8)
    XCTAssertLessThanOrEqual(byAgreement[0], 1)
    let byCost = [0.5, 2, 8, 32].map { dense in
      planner(agreement: 0.93).choose([.init(round: 1, draft: 0.3, dense: dense, denseRow: 0)]).rounds
    }
    XCTAssertEqual(byCost, byCost.sorted())
    XCTAssertLessThan(byCost[0], byCost[3])
  }

  /// By hand: two tokens a round that agree with 0.5, so 1.75 tokens in one round and a pass of 2.
  func testTheRateIsExpectedTokensPerTime() {
    var planner = planner(agreement: 0.5, tokensPerRound: 2, blocks: 400)
    let costs = BlockPlanner.Costs(round: 1, draft: 0.5, dense: 2, denseRow: 0)
    XCTAssertEqual(planner.rate(.init(rounds: 1), costs), 1.75 / 3, accuracy: 0.01)
    XCTAssertEqual(planner.rate(.init(rounds: 2), costs), (1 + 0.5 + 0.25 + 0.125 + 0.0625) / 4, accuracy: 0.01)
    // Proposals that always stand: five tokens in 2.5.
    for _ in 0..<400 {
      planner.learn(accepted: 4, of: 4, .init(rounds: 0))
      planner.endBlock(.init(rounds: 0))
    }
    XCTAssertEqual(planner.rate(.init(rounds: 0), costs), 2, accuracy: 0.01)
    // After so many blocks without it the middle level has its try.
    XCTAssertNotEqual(planner.choose([costs]).rounds, 0)
    planner.learn(accepted: 0, of: 2, .init(rounds: 1))
    planner.endBlock(.init(rounds: 1))
    XCTAssertEqual(planner.choose([costs]).rounds, 0)
  }

  /// A made-up machine and text: what a block of a choice gives and takes.
  private struct World {
    /// Of each size: probability that the next token is the dense model's, and a round's time.
    var agreement: [Double]
    var round: [Double]
    var acceptance = 0.9
    var draft = 0.5
    var dense = 10.0
    var denseRow = 0.4
    var sequences = 1

    func length(_ choice: BlockPlanner.Choice) -> Double {
      choice.rounds == 0 ? 4 : Double(choice.rounds) * (1 - pow(acceptance, 5)) / (1 - acceptance)
    }
    func time(_ choice: BlockPlanner.Choice) -> Double {
      (choice.rounds == 0 ? draft : Double(choice.rounds) * round[choice.size]) + dense + denseRow * length(choice)
    }
    func tokens(_ choice: BlockPlanner.Choice) -> Double {
      let a = choice.rounds == 0 ? acceptance : agreement[choice.size]
      return (1 - pow(a, length(choice) + 1)) / (1 - a)
    }
    var bestRate: Double {
      agreement.indices.flatMap { size in (0...8).map { BlockPlanner.Choice(rounds: $0, size: size) } }
        .map { tokens($0) / time($0) }.max() ?? 0
    }

    /// Tokens per time of a run, and its choices, with what a planner learns by and by.
    func run(blocks: Int) -> (rate: Double, choices: [BlockPlanner.Choice]) {
      var planner = BlockPlanner(gamma: 4, mostRounds: 8, sizes: agreement.count)
      var costs = BlockCosts(sizes: agreement.count)
      var (made, spent, choices) = (0, 0.0, [BlockPlanner.Choice]())
      let random = KeyedRandom(seed: 7, sequence: 0)
      var draws = 0
      /// How many of `count` tokens stand, each with probability `a` if those before it do.
      func standing(_ a: Double, of count: Int) -> Int {
        for number in 0..<count {
          draws += 1
          if Double(random.uniform(.accept, position: draws)) >= a { return number }
        }
        return count
      }
      for _ in 0..<blocks {
        let choice = planner.choose(costs.costs)
        choices.append(choice)
        var proposed = Array(repeating: choice.rounds == 0 ? 4 : 0, count: sequences)
        for _ in 0..<choice.rounds {
          for sequence in 0..<sequences {
            let tokens = standing(acceptance, of: 4) + 1
            proposed[sequence] += tokens
            planner.learn(round: tokens, size: choice.size)
          }
          costs.add(round: round[choice.size], draft: draft, size: choice.size)
          spent += round[choice.size]
        }
        if choice.rounds == 0 {
          costs.add(draft: draft)
          spent += draft
        }
        let rows = proposed.reduce(sequences, +) / sequences
        costs.add(dense: dense + denseRow * Double(rows - 1), rows: rows)
        spent += dense + denseRow * Double(rows - 1)
        for count in proposed {
          let accepted = standing(choice.rounds == 0 ? acceptance : agreement[choice.size], of: count)
          planner.learn(accepted: accepted, of: count, choice)
          made += accepted + 1
        }
        planner.endBlock(choice)
      }
      return (Double(made) / Double(sequences) / spent, choices)
    }
  }

  /// A run of a dozen blocks already gets most of what the best fixed choice would have given, a long one nearly all.
  func testTrialsCostLittle() {
    let worlds = [
      ("long context, large sets agree", World(agreement: [0.8, 0.85, 0.97], round: [2.0, 2.2, 2.6])),
      ("the same for sixteen", World(agreement: [0.8, 0.85, 0.97], round: [2.0, 2.2, 2.6], sequences: 16)),
      ("all agree", World(agreement: [0.985, 0.99, 0.99], round: [2.0, 2.2, 2.6])),
      (
        "short context: a dense pass costs less than a round",
        World(agreement: [0.9, 0.95, 0.98], round: [2.4, 2.5, 2.6], draft: 0.5, dense: 1.8, denseRow: 0.05)
      ),
    ]
    for (name, world) in worlds {
      for (blocks, share) in [(12, 0.8), (100, 0.9)] {
        let run = world.run(blocks: blocks)
        XCTAssertGreaterThan(run.rate, share * world.bestRate, "\(name), \(blocks) blocks: \(run.choices.prefix(20))")
      }
    }
  }

  /// The largest size begins; one that reads less and agrees as well takes its place, one that does not has few turns.
  func testTheBestSizeStays() {
    let small = World(agreement: [0.5, 0.95, 0.95], round: [4, 4.5, 9]).run(blocks: 150).choices
    XCTAssertEqual(small.first?.size, 2)
    XCTAssertGreaterThan(small.suffix(100).filter { $0.size == 1 }.count, 85)
    let large = World(agreement: [0.5, 0.6, 0.97], round: [4, 4.5, 5]).run(blocks: 150).choices
    XCTAssertGreaterThan(large.filter { $0.size == 2 }.count, 130)
    XCTAssertTrue(large.contains { $0.size == 1 }, "never tried")
  }

  func testTimesAreMeans() throws {
    var times = BlockCosts()
    XCTAssertEqual(times.costs, [nil])
    for turn in 0..<200 {
      times.add(round: turn % 2 == 0 ? 1 : 3, draft: 0.5)
      let rows = 5 + turn % 3 * 4
      times.add(dense: 10 + 0.5 * Double(rows), rows: rows)
    }
    let costs = try XCTUnwrap(times.costs[0])
    XCTAssertEqual(costs.round, 2, accuracy: 0.06)
    XCTAssertEqual(costs.draft, 0.5, accuracy: 1e-9)
    XCTAssertEqual(costs.dense, 10.5, accuracy: 1e-6, "of one row")
    XCTAssertEqual(costs.denseRow, 0.5, accuracy: 1e-6)
  }
}
