import DustinSupport

/// A sequence's part in a round.
struct RoundShare {
  enum Reading: Equatable {
    /// `verify` as it is: everything, or through the sets there are.
    case plain
    /// `dense`, fed again with the last tokens that were committed under `verify`, which writes their keys and values anew.
    case dense(fedAgain: Int)
  }
  /// By which drafter and rounds know the sequence.
  let number: Int
  let cache: KVCache
  let random: KeyedRandom
  /// All tokens; the cache holds all but the last.
  let tokens: [Int32]
  /// Tokens to propose, 0 ….
  let wanted: Int
  /// Tokens to verify in place of the proposed ones, which then serve only to choose positions.
  var given: [Int32]?
  /// Positions are to be chosen in this round.
  fileprivate(set) var isDue = false
  fileprivate(set) var reading = Reading.plain
  fileprivate(set) var proposal = Proposal()
  fileprivate(set) var verdict: Verdict?
  /// The target's distributions behind the rows that acceptance looked at; sampled rounds only.
  fileprivate(set) var distributions: [Distribution] = []
  fileprivate(set) var verified: StepResult?
  /// Number in that step.
  fileprivate var place = 0

  init(number: Int, cache: KVCache, random: KeyedRandom, tokens: [Int32], wanted: Int) {
    self.number = number
    self.cache = cache
    self.random = random
    self.tokens = tokens
    self.wanted = wanted
  }

  /// Tokens that stand: the accepted ones and the one behind them; empty before `accept`.
  var made: [Int32] { verdict.map { proposal.tokens.prefix($0.accepted) + [$0.next] } ?? [] }

  var fedAgain: Int {
    if case .dense(let count) = reading { count } else { 0 }
  }
}

/// Rounds of some sequences with one target: `draft`, `select`, `verify`, `accept`, then `commit` of each sequence. Shared
/// by the loop and by the middle level of a stack; knows functions, roles and names of values, but no method.
///
/// **When positions are chosen.** In every `policy.refresh`-th round of a sequence, and in the first one. If the drafter
/// offers signals but has none of a sequence (its context is full, it knows not all tokens), that sequence is verified by
/// `dense` if the program has it, else through the set of an earlier round, which stays right, since readers read what
/// came behind it too. Without a drafter, and before any set, what it would offer counts as zero.
final class Rounds {
  struct Metrics {
    var draftSeconds = 0.0
    var selectSeconds = 0.0
    var verifySeconds = 0.0
    var acceptSeconds = 0.0
    /// A sequence's rounds that `dense` verified.
    var denseRounds = 0
    /// Share of the offered signals that the chosen sets cover: the sum over rounds of sequences, and their number.
    var coverage = 0.0
    var coverageRounds = 0
  }

  let target: Engine
  let drafter: (any Drafter)?
  let functions: RoundFunctions
  let sampling: Sampling
  /// The rounds only propose to an exact pass: they never read everything themselves, and take sampled proposals for
  /// certain ones, which `StackDrafter` explains.
  let isMiddleLevel: Bool
  /// Which of the program's sizes of sets is chosen; nil: that of `select`.
  var size: Int?
  private(set) var shares: [RoundShare] = []
  private(set) var metrics = Metrics()
  private var states: [Int: State] = [:]

  private struct State {
    /// Rounds since positions were chosen; nil: never.
    var age: Int?
    /// Tokens committed since everything was read.
    var sinceDense = 0
  }

  init(
    target: Engine, drafter: (any Drafter)?, verify: String, sampling: Sampling, isMiddleLevel: Bool = false
  ) throws {
    self.target = target
    self.drafter = drafter
    self.sampling = sampling
    self.isMiddleLevel = isMiddleLevel
    functions = try RoundFunctions(
      target.model, verify: verify, offers: drafter?.offers ?? [], mayReadAll: !isMiddleLevel)
  }

  /// Once per run: forgets values of earlier runs and chooses what is chosen once. The caches hold the prompts.
  func begin(_ sequences: [(number: Int, cache: KVCache, prompt: [Int32])]) throws {
    states = [:]
    metrics = Metrics()
    for sequence in sequences {
      sequence.cache.clearValues(functions.foreign + functions.made)
      states[sequence.number] = State()
    }
    guard let observe = functions.observeOnce, !sequences.isEmpty else { return }
    let rows = sequences.map { sequence in
      let count = min(functions.policy.observe, sequence.prompt.count)
      return StepRows(
        sequence.cache, sequence.prompt.suffix(count), length: sequence.prompt.count - count)
    }
    _ = try target.step(observe.name, rows)
  }

  /// Positions are chosen anew in the sequence's next round.
  func renew(_ number: Int) { states[number]?.age = nil }

  func end(_ number: Int) { states[number] = nil }

  // MARK: Verbs

  /// Begins a round.
  func open(_ shares: [RoundShare]) {
    self.shares = shares
    for index in self.shares.indices {
      let share = self.shares[index]
      let state = states[share.number] ?? State()
      let every = functions.policy.denseEvery
      if functions.dense != nil, every > 0, state.sinceDense + (share.given?.count ?? share.wanted) + 1 > every {
        self.shares[index].reading = .dense(fedAgain: state.sinceDense)
      } else {
        let age = state.age ?? .max
        self.shares[index].isDue = functions.choosesPositions && age >= functions.policy.refresh
      }
    }
  }

  /// Has tokens proposed, and the signals made that they leave.
  func draft() throws {
    let before = monotonicSeconds()
    defer { metrics.draftSeconds += monotonicSeconds() - before }
    guard let drafter else { return }
    let places = shares.indices.filter { shares[$0].wanted > 0 || (shares[$0].isDue && functions.needsOffer) }
    if places.isEmpty { return }
    let proposals = try drafter.propose(
      places.map { place in
        let share = shares[place]
        var wish = DraftWish(
          index: share.number, tokens: share.tokens, count: share.wanted,
          wantsValues: share.isDue && functions.needsOffer, random: share.random)
        wish.wantsCertain = isMiddleLevel
        return wish
      })
    guard proposals.count == places.count else {
      throw DiagnosticError("proposal", "the drafter made \(proposals.count) proposals for \(places.count) sequences")
    }
    for (place, proposal) in zip(places, proposals) {
      let wanted = shares[place].wanted
      shares[place].proposal.tokens = Array(proposal.tokens.prefix(wanted))
      if !isMiddleLevel {
        shares[place].proposal.distributions = Array(proposal.distributions.prefix(wanted))
      }
    }
  }

  /// Chooses the positions that `verify` will read.
  func select() throws {
    let before = monotonicSeconds()
    defer { metrics.selectSeconds += monotonicSeconds() - before }
    var chosen: [Int] = []
    for place in shares.indices where shares[place].isDue {
      let share = shares[place]
      if !functions.needsOffer {
        chosen.append(place)
      } else if try drafter?.offer(share.number, to: share.cache) == true {
        chosen.append(place)
      } else if functions.dense != nil {
        let again = functions.policy.denseEvery > 0 ? states[share.number]?.sinceDense ?? 0 : 0
        shares[place].reading = .dense(fedAgain: again)
      } else if !functions.sets.allSatisfy(share.cache.isChosen) {
        share.cache.clearValues(functions.offered)
        chosen.append(place)
      }
    }
    if chosen.isEmpty { return }
    if let observe = functions.observe {
      _ = try target.step(
        observe.name, chosen.map { StepRows(shares[$0].cache, rows(of: shares[$0], shares[$0].proposal.tokens)) })
    }
    if let select = size.map({ functions.selects[$0].function }) ?? functions.select {
      _ = try target.step(select.name, chosen.map { StepRows(shares[$0].cache) })
    }
    for place in chosen {
      states[shares[place].number]?.age = 0
      measureCoverage(shares[place].cache)
    }
  }

  /// Runs the target over each sequence's last token and its proposed ones.
  func verify() throws {
    let before = monotonicSeconds()
    defer { metrics.verifySeconds += monotonicSeconds() - before }
    let plain = shares.indices.filter { shares[$0].reading == .plain }
    let dense = shares.indices.filter { shares[$0].reading != .plain }
    for (function, places) in [(functions.verify, plain), (functions.dense, dense)] {
      guard let function, !places.isEmpty else { continue }
      var result = try target.step(
        function.name,
        places.map { place in
          let share = shares[place]
          return StepRows(
            share.cache, rows(of: share, share.given ?? share.proposal.tokens),
            length: share.cache.length - share.fedAgain)
        })
      // The next step takes the place of the results.
      if places == plain, !dense.isEmpty { result = try result.copy() }
      for (number, place) in places.enumerated() {
        shares[place].verified = result
        shares[place].place = number
      }
    }
    metrics.denseRounds += dense.count
  }

  /// Decides how many proposed tokens stand and which token follows them.
  func accept() throws {
    let before = monotonicSeconds()
    defer { metrics.acceptSeconds += monotonicSeconds() - before }
    for index in shares.indices {
      let share = shares[index]
      guard let verified = share.verified else { continue }
      if sampling.isGreedy {
        shares[index].verdict = try Acceptance.greedy(share.proposal.tokens) { row in
          try argMax(verified.logits(sequence: share.place, row: share.fedAgain + row), of: "the target")
        }
      } else {
        var distributions: [Distribution] = []
        shares[index].verdict = try Acceptance.sampled(
          share.proposal, position: share.tokens.count, random: share.random
        ) { row in
          let distribution = try Distribution(
            logits: verified.logits(sequence: share.place, row: share.fedAgain + row), sampling: sampling,
            of: "the target")
          distributions.append(distribution)
          return distribution
        }
        shares[index].distributions = distributions
      }
    }
  }

  /// The first rows of a share stay: its last token and what follows it of `made`, but for the last one.
  func commit(_ index: Int, rows count: Int) throws {
    let share = shares[index]
    guard let verified = share.verified, count > 0 else { return }
    try verified.keep(sequence: share.place, rows: share.fedAgain..<share.fedAgain + count)
    try share.cache.commit(count)
    var state = states[share.number] ?? State()
    state.sinceDense += count
    if case .dense(let again) = share.reading {
      if again + count == state.sinceDense { state.sinceDense = 0 }
      // Positions were chosen by the rows before; now there are better ones.
      state.age = nil
    } else if let age = state.age {
      state.age = age + 1
    }
    states[share.number] = state
  }

  /// Ends a round.
  func close() { shares = [] }

  // MARK: Parts of the verbs

  /// The rows that verification feeds, with `tokens` behind the last one.
  private func rows(of share: RoundShare, _ tokens: [Int32]) -> ArraySlice<Int32> {
    let function = share.reading == .plain ? functions.verify : functions.dense ?? functions.verify
    let vocabulary = function.vocabulary
    // A token that the target does not know cannot be fed; nor need it be, since it will be rejected.
    let known = tokens.prefix { 0 <= $0 && Int($0) < vocabulary }
    return share.tokens.suffix(share.fedAgain + 1) + known
  }

  private func measureCoverage(_ cache: KVCache) {
    guard let set = functions.sets.first else { return }
    let values = target.model.program.sequenceValues
    for signal in functions.offered where values[signal].kind == .signal {
      // One signal may serve the sets of all KV heads.
      guard [1, values[set].planes].contains(values[signal].planes) else { continue }
      var (covered, all) = (0.0, 0.0)
      for plane in 0..<values[set].planes {
        let scores = cache.scores(ofSignal: signal, plane: min(plane, values[signal].planes - 1))
        all += sum(of: scores)
        for position in cache.positions(ofSet: set, plane: plane) where scores.indices.contains(Int(position)) {
          covered += Double(scores[Int(position)])
        }
      }
      guard all > 0, covered.isFinite, all.isFinite else { continue }
      metrics.coverage += covered / all
      metrics.coverageRounds += 1
      return
    }
  }
}

/// In 16 columns, so that it costs a fraction of making the scores.
private func sum(of scores: UnsafeBufferPointer<Float>) -> Double {
  guard let base = scores.baseAddress else { return 0 }
  var columns = SIMD16<Double>()
  let whole = scores.count / 16 * 16
  for start in stride(from: 0, to: whole, by: 16) {
    columns += SIMD16<Double>(UnsafeRawPointer(base + start).loadUnaligned(as: SIMD16<Float>.self))
  }
  return scores[whole...].reduce(columns.sum()) { $0 + Double($1) }
}
