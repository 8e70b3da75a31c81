import DustinSupport
import XCTest

@testable import DustinRuntime

/// The output of a stack has the dense model's distribution, although what its middle level reads depends on what was
/// proposed. Alarms as in `SampledDecodingTests`: p < 1e-6, with seeds that are fixed, and wrong stacks that must raise
/// them by the same draws.
final class StackSamplingTests: XCTestCase {
  private static let alarm = 1e-6
  private static let prompt: [Int32] = [3, 1, 4, 1, 5, 2, 0, 5]
  private static let vocabulary = 6
  /// Sparse logits never are the dense ones, and they favour what was proposed, by way of the set.
  private static let pair = FakePair(
    vocabulary: vocabulary, levels: 16, height: 3, agreement: 0, draftAgreement: 30, budget: 3, echoes: true,
    maxRows: 64)

  override func tearDown() { XCTAssertEqual(FakeLog.shared.takeFaults(), []) }

  /// A stack of one round a block that makes a mistake.
  private final class WrongStack: Drafter {
    enum Mistake {
      /// The middle level tests proposals by p̃/q, which makes its tokens follow p̃ only on average over the proposals.
      case averagedOverProposals
      /// Middle level and exact pass decide by the same numbers.
      case sameNumbers
    }
    let target: Engine
    let inner: any Drafter
    let mistake: Mistake
    var rounds: Rounds?
    var slots: [Int: DraftSequence] = [:]
    init(_ target: Engine, _ inner: any Drafter, _ mistake: Mistake) {
      (self.target, self.inner, self.mistake) = (target, inner, mistake)
    }
    var traffic: CacheTraffic { inner.traffic }
    func begin(_ sequences: [DraftSequence], _ context: DraftContext) throws {
      rounds = try Rounds(
        target: target, drafter: inner, verify: "verify", sampling: context.sampling,
        isMiddleLevel: mistake == .sameNumbers)
      try rounds?.begin(sequences.compactMap { one in one.targetCache.map { (one.index, $0, one.prompt) } })
      slots = Dictionary(uniqueKeysWithValues: sequences.map { ($0.index, $0) })
      try inner.begin(sequences, context)
    }
    func propose(_ wishes: [DraftWish]) throws -> [Proposal] {
      guard let rounds else { return [] }
      rounds.open(
        wishes.compactMap { wish in
          guard let slot = slots[wish.index], let cache = slot.targetCache else { return nil }
          rounds.renew(wish.index)
          let random = mistake == .sameNumbers ? slot.random : slot.random.derived(wish.tokens.count)
          return RoundShare(
            number: wish.index, cache: cache, random: random, tokens: wish.tokens, wanted: min(2, wish.count - 1))
        })
      try rounds.draft()
      try rounds.select()
      try rounds.verify()
      try rounds.accept()
      return rounds.shares.map { Proposal(tokens: $0.made, distributions: $0.distributions) }
    }
    func end(_ index: Int) { inner.end(index) }
  }

  /// Draws its proposals although they will be taken for certain.
  private final class Stubborn: Drafter {
    let inner: any Drafter
    init(_ inner: any Drafter) { self.inner = inner }
    var traffic: CacheTraffic { inner.traffic }
    var offers: [Program.SequenceValue] { inner.offers }
    func begin(_ sequences: [DraftSequence], _ context: DraftContext) throws { try inner.begin(sequences, context) }
    func propose(_ wishes: [DraftWish]) throws -> [Proposal] {
      try inner.propose(
        wishes.map { wish in
          var wish = wish
          wish.wantsCertain = false
          return wish
        })
    }
    func offer(_ index: Int, to cache: KVCache) throws -> Bool { try inner.offer(index, to: cache) }
    func end(_ index: Int) { inner.end(index) }
  }

  /// The first three of five tokens behind the prompt, counted jointly: there is room for blocks of two proposals.
  private func counts(
    _ sampling: Sampling, runs: Int,
    stack: (Engine, any Drafter) throws -> any Drafter
  ) throws -> [Int] {
    var counts = Array(repeating: 0, count: 216)
    let engines = try Self.pair.engines()
    let batch = 50
    for part in 0..<runs / batch {
      var options = GenerationOptions()
      options.gamma = 12
      options.sampling = sampling
      options.verifyFunction = "dense"
      let inner = try ModelDrafter(engine: engines.draft, contextSize: 20)
      let loop = try SpeculativeLoop(target: engines.target, drafter: stack(engines.target, inner), options: options)
      let results = try loop.run(
        (0..<batch).map { GenerationRequest(prompt: Self.prompt, maxNewTokens: 5, id: UInt64(part * batch + $0)) })
      for result in results {
        XCTAssertEqual(result.tokens.count, 5)
        counts[result.tokens.prefix(3).reduce(0) { $0 * Self.vocabulary + Int($1) }] += 1
      }
    }
    return counts
  }

  /// The exact probability of every three tokens, from the dense logits and an own softmax.
  private func exact(_ sampling: Sampling) throws -> [Double] {
    let engine = try Self.pair.engines().target
    func distribution(_ tokens: [Int32]) throws -> [Double] {
      let cache = try KVCache(engine.model, positions: 12)
      let logits = Array(try engine.step("dense", [StepRows(cache, Self.prompt + tokens)]).lastLogits(sequence: 0))
      return referenceDistribution(logits, sampling)
    }
    let first = try distribution([])
    var result: [Double] = []
    for a in 0..<6 {
      let second = try distribution([Int32(a)])
      for b in 0..<6 {
        let third = try distribution([Int32(a), Int32(b)])
        for c in 0..<6 { result.append(first[a] * second[b] * third[c]) }
      }
    }
    return result
  }

  private func stack(rounds: Int?, isStubborn: Bool) -> (Engine, any Drafter) throws -> any Drafter {
    { target, inner in
      var options = StackDrafter.Options()
      options.gamma = 2
      options.rounds = rounds
      return try StackDrafter(target: target, inner: isStubborn ? Stubborn(inner) : inner, options: options)
    }
  }

  func testStacksFollowTheDenseDistribution() throws {
    let all = Sampling(temperature: 1, seed: 1)
    let cut = Sampling(temperature: 0.7, topK: 4, topP: 0.9, minP: 0.05, seed: 2)
    for (sampling, rounds, isStubborn) in [(all, 1, true), (all, nil, false), (all, 2, true), (cut, 2, false)]
      as [(Sampling, Int?, Bool)]
    {
      let counts = try counts(sampling, runs: 3_000, stack: stack(rounds: rounds, isStubborn: isStubborn))
      let test = ChiSquare(counts: counts, expected: try exact(sampling))
      XCTAssertGreaterThan(test.pValue, Self.alarm, "\(rounds.map(String.init) ?? "chosen") rounds, \(isStubborn)")
    }
  }

  func testWrongStacksAreFound() throws {
    let sampling = Sampling(temperature: 1, seed: 1)
    for mistake in [WrongStack.Mistake.averagedOverProposals, .sameNumbers] {
      let counts = try counts(sampling, runs: 3_000) { WrongStack($0, $1, mistake) }
      let test = ChiSquare(counts: counts, expected: try exact(sampling))
      XCTAssertLessThan(test.pValue, Self.alarm, "\(mistake)")
    }
  }
}
