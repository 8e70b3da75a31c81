import DustinSupport
import XCTest

@testable import DustinRuntime

/// Speculative sampling has the distribution of plain sampling. Every test rejects at p < 1e-6: with about 40 p-values in
/// this file and fresh seeds a false alarm would come once in 25,000 runs; the seeds are fixed, so it never comes twice
/// differently. The power of the tests is shown by rules that are wrong and must fail by the same threshold.
final class SampledDecodingTests: XCTestCase {
  private static let alarm = 1e-6

  func testPValues() {
    // Known quantiles of the χ² distribution.
    func p(_ statistic: Double, _ freedom: Int) -> Double {
      var counts = Array(repeating: 1000, count: freedom + 1)
      counts[0] += 1
      let test = ChiSquare(counts: counts, expected: Array(repeating: 1 / Double(freedom + 1), count: freedom + 1))
      XCTAssertEqual(test.freedom, freedom)
      return ChiSquare(statistic: statistic, freedom: freedom).pValue
    }
    XCTAssertEqual(p(3.841459, 1), 0.05, accuracy: 1e-6)
    XCTAssertEqual(p(18.307038, 10), 0.05, accuracy: 1e-6)
    XCTAssertEqual(p(4.865182, 10), 0.9, accuracy: 1e-6)
    XCTAssertEqual(p(149.449253, 100), 0.001, accuracy: 1e-7)
  }

  // MARK: The rule by itself

  private typealias Rule = @Sendable (Proposal, Int, KeyedRandom, (Int) throws -> Distribution) throws -> Verdict

  /// Draws the first token of many rounds of γ 2 and tests it against p, then the second one, given the first, against
  /// its own p.
  private func pValues(p: [[Double]], q: [[Double]], certain: Bool = false, _ rule: Rule) throws -> [Double] {
    let targets = try p.map { try Distribution(weights: $0) }
    let drafts = try q.map { try Distribution(weights: $0) }
    var counts = p.map { Array(repeating: 0, count: $0.count) }
    for draw in 0..<120_000 {
      let random = KeyedRandom(seed: 5, sequence: UInt64(draw))
      let tokens =
        certain
        ? [Int32(1), 2] : (0..<2).map { drafts[$0].sample(random.uniform(.draft, position: 10 + $0)) }
      let verdict = try rule(
        Proposal(tokens: tokens, distributions: certain ? [] : drafts), 10, random, { targets[$0] })
      let made = tokens.prefix(verdict.accepted) + [verdict.next]
      for (place, token) in made.enumerated() { counts[place][Int(token)] += 1 }
    }
    // All three have many draws, so that each test has power.
    XCTAssertGreaterThan(counts[2].reduce(0, +), 3_000)
    return zip(counts, targets).map { ChiSquare(counts: $0, expected: $1.probabilities).pValue }
  }

  private static let p = [[0.5, 0.2, 0.25, 0.05, 0], [0.1, 0.3, 0.5, 0.05, 0.05], [0.2, 0.2, 0.2, 0.2, 0.2]]
  private static let q = [[0.3, 0.4, 0.1, 0.1, 0.1], [0.2, 0.2, 0.2, 0.2, 0.2]]

  private static let rule: Rule = { try Acceptance.sampled($0, position: $1, random: $2, target: $3) }

  func testAcceptedTokensFollowTheTarget() throws {
    for value in try pValues(p: Self.p, q: Self.q, Self.rule) { XCTAssertGreaterThan(value, Self.alarm) }
    for value in try pValues(p: Self.p, q: Self.q, certain: true, Self.rule) { XCTAssertGreaterThan(value, Self.alarm) }
    let same = Array(Self.p[0...1])
    for value in try pValues(p: Self.p, q: same, Self.rule) { XCTAssertGreaterThan(value, Self.alarm) }
  }

  /// Each of three plausible mistakes is found.
  func testWrongRulesAreFound() throws {
    let fromP: Rule = { proposal, position, random, target in
      let verdict = try Self.rule(proposal, position, random, target)
      if verdict.accepted == proposal.tokens.count { return verdict }
      let next = try target(verdict.accepted).sample(random.uniform(.sample, position: position + verdict.accepted))
      return Verdict(accepted: verdict.accepted, next: next)
    }
    let withoutQ: Rule = { proposal, position, random, target in
      for (row, token) in proposal.tokens.enumerated() {
        let p = try target(row)
        if random.uniform(.accept, position: position + row) < p.probability(of: token) { continue }
        let rest = p.residual(proposal.distributions[row])
        return Verdict(accepted: row, next: rest.sample(random.uniform(.sample, position: position + row)))
      }
      return try Self.rule(Proposal(), position + 2, random, { try target($0 + 2) }).moved(by: 2)
    }
    let sameNumber: Rule = { proposal, position, random, target in
      // The number of the acceptance is used again for the residual.
      let verdict = try Self.rule(proposal, position, random, target)
      if verdict.accepted == proposal.tokens.count { return verdict }
      let place = verdict.accepted
      let u = random.uniform(.accept, position: position + place)
      return Verdict(
        accepted: place, next: try target(place).residual(proposal.distributions[place]).sample(u))
    }
    for (name, rule) in [
      ("residual from p", fromP), ("accepted by p, not p/q", withoutQ), ("a number used twice", sameNumber),
    ] {
      let least = try pValues(p: Self.p, q: Self.q, rule).min() ?? 1
      XCTAssertLessThan(least, Self.alarm, name)
    }
  }

  // MARK: The whole loop

  /// Three tokens behind a prompt of one, counted jointly: 6^3 cells.
  private func counts(
    _ sampling: Sampling, gamma: Int, runs: Int, _ drafter: (ThreadTeam) throws -> (any Drafter)?
  ) throws -> [Int] {
    let vocabulary = 6
    let team = try ThreadTeam(threads: 1)
    let model = FakeModel(vocabulary: vocabulary, levels: 16, height: 3, maxRows: 64)
    let target = try Engine(model: model.compiled(), team: team)
    let draft = try drafter(team)
    var counts = Array(repeating: 0, count: vocabulary * vocabulary * vocabulary)
    let batch = 50
    for part in 0..<runs / batch {
      var options = GenerationOptions()
      options.gamma = gamma
      options.sampling = sampling
      let loop = try SpeculativeLoop(target: target, drafter: draft, options: options)
      let results = try loop.run(
        (0..<batch).map {
          GenerationRequest(prompt: [3], maxNewTokens: 3, id: UInt64(part * batch + $0))
        })
      for result in results {
        XCTAssertEqual(result.tokens.count, 3)
        counts[result.tokens.reduce(0) { $0 * vocabulary + Int($1) }] += 1
      }
    }
    return counts
  }

  /// The exact probability of every three tokens, from the model's logits and an own softmax.
  private func exact(_ sampling: Sampling) throws -> [Double] {
    let engine = try fakeEngine(FakeModel(vocabulary: 6, levels: 16, height: 3))
    func distribution(_ tokens: [Int32]) throws -> [Double] {
      let cache = try KVCache(engine.model, positions: 4)
      let logits = Array(try engine.step("verify", [StepRows(cache, tokens)]).lastLogits(sequence: 0))
      return referenceDistribution(logits, sampling)
    }
    var result: [Double] = []
    let first = try distribution([3])
    for a in 0..<6 {
      let second = try distribution([3, Int32(a)])
      for b in 0..<6 {
        let third = try distribution([3, Int32(a), Int32(b)])
        for c in 0..<6 { result.append(first[a] * second[b] * third[c]) }
      }
    }
    return result
  }

  private static func modelDrafter(_ choice: ModelDrafter.Choice) -> (ThreadTeam) throws -> (any Drafter)? {
    { team in
      let model = FakeModel(vocabulary: 6, agreement: 40, voice: 4, levels: 16, height: 3, maxRows: 64)
      return try ModelDrafter(
        engine: Engine(model: model.compiled(), team: team), contextSize: 20, choice: choice)
    }
  }

  func testSpeculativeRunsFollowPlainSampling() throws {
    let most = 34_000  // 102,000 tokens
    typealias Setup = (name: String, gamma: Int, runs: Int, drafter: (ThreadTeam) throws -> (any Drafter)?)
    let sampled: Setup = ("sampled draft", 4, most, Self.modelDrafter(.sampled))
    let others: [Setup] = [
      ("sampled draft", 1, 12_000, Self.modelDrafter(.sampled)),
      ("greedy draft", 2, 12_000, Self.modelDrafter(.greedy)),
      ("random draft", 2, 12_000, { _ in try RandomDrafter(vocabulary: 6) }),
      ("a draft with a larger vocabulary", 2, 12_000, { _ in try RandomDrafter(vocabulary: 9) }),
    ]
    let all = Sampling(temperature: 1, seed: 1)
    let cut = Sampling(temperature: 0.7, topK: 4, topP: 0.9, minP: 0.05, seed: 2)
    for (sampling, setups) in [(all, [sampled] + others), (cut, [sampled])] {
      let expected = try exact(sampling)
      XCTAssertEqual(expected.reduce(0, +), 1, accuracy: 1e-9)
      var other = sampling
      other.seed = 99
      let plain = try counts(other, gamma: 0, runs: most) { _ in nil }
      XCTAssertGreaterThan(ChiSquare(counts: plain, expected: expected).pValue, Self.alarm)
      for (name, gamma, runs, drafter) in setups {
        let speculative = try counts(sampling, gamma: gamma, runs: runs, drafter)
        XCTAssertGreaterThan(
          ChiSquare(counts: speculative, expected: expected).pValue, Self.alarm, "\(name), γ \(gamma)")
        XCTAssertGreaterThan(ChiSquare(speculative, plain).pValue, Self.alarm, "\(name), γ \(gamma), two samples")
      }
    }
  }

  /// A drafter that misstates its distribution breaks the rule; the same test sees it with the fewer draws.
  func testAFalseDistributionIsFound() throws {
    final class Liar: Drafter {
      let honest: RandomDrafter
      init(_ honest: RandomDrafter) { self.honest = honest }
      var traffic: CacheTraffic { honest.traffic }
      func begin(_ sequences: [DraftSequence], _ context: DraftContext) throws { try honest.begin(sequences, context) }
      func propose(_ wishes: [DraftWish]) throws -> [Proposal] {
        // Token 5 is proposed twice as often as it says.
        try honest.propose(wishes).map { proposal in
          Proposal(tokens: proposal.tokens.map { $0 == 0 ? 5 : $0 }, distributions: proposal.distributions)
        }
      }
      func end(_ index: Int) { honest.end(index) }
    }
    let sampling = Sampling(temperature: 1, seed: 1)
    let counts = try counts(sampling, gamma: 2, runs: 12_000) { _ in Liar(try RandomDrafter(vocabulary: 6)) }
    XCTAssertLessThan(ChiSquare(counts: counts, expected: try exact(sampling)).pValue, Self.alarm)
  }

  func testProposalsThatCannotBeAreErrors() throws {
    let random = KeyedRandom(seed: 0, sequence: 0)
    let q = try Distribution(weights: [1, 0])
    let p = try Distribution(weights: [1, 1])
    for proposal in [Proposal(tokens: [1], distributions: [q]), Proposal(tokens: [0, 0], distributions: [q])] {
      XCTAssertThrowsError(try Acceptance.sampled(proposal, position: 0, random: random) { _ in p }) {
        XCTAssertEqual(identifier($0), "proposal")
      }
    }
  }
}

extension Verdict {
  fileprivate func moved(by rows: Int) -> Verdict { Verdict(accepted: accepted + rows, next: next) }
}

extension ChiSquare {
  init(statistic: Double, freedom: Int) {
    self.statistic = statistic
    self.freedom = freedom
  }
}

/// Temperature, top-k, top-p, min-p by full sorts, as the definitions read.
func referenceDistribution(_ logits: [Float], _ sampling: Sampling) -> [Double] {
  var order = logits.indices.sorted { logits[$0] > logits[$1] || (logits[$0] == logits[$1] && $0 < $1) }
  if sampling.topK > 0 { order = Array(order.prefix(sampling.topK)) }
  func weight(_ index: Int) -> Double { exp(Double(logits[index] - logits[order[0]]) / Double(sampling.temperature)) }
  let sum = order.reduce(0) { $0 + weight($1) }
  if sampling.topP < 1 {
    var reached = 0.0
    var count = 0
    while count < order.count, reached < Double(sampling.topP) * sum {
      reached += weight(order[count])
      count += 1
    }
    order = Array(order.prefix(count))
  }
  order = order.filter { weight($0) >= Double(sampling.minP) }
  let rest = order.reduce(0) { $0 + weight($1) }
  var result = Array(repeating: 0.0, count: logits.count)
  for index in order { result[index] = weight(index) / rest }
  return result
}
