import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

func power(_ a: Double, _ b: Double) -> Double { pow(a, b) }

/// Sparse verification as the middle level of a stack: proposes what several rounds of the target's approximate `verify`
/// accept, for a loop whose own `verifyFunction` is exact (`dense`). Output is then that of the exact function: greedy
/// bit for bit, sampled in distribution.
///
/// A proposal is a block of R rounds, each with the inner drafter's tokens, signals and chosen positions, on the *same*
/// target cache, behind its committed positions. Afterwards the cache is truncated; the loop's exact pass feeds the block
/// again through all layers and writes its keys and values anew, and the rows for the next round come from it.
///
/// **Sampled runs.** The positions that a round reads, and so its distributions p̃, depend on the inner proposals d. The
/// exact pass tests a block's token x by p(x) / p̃(x), which is right only if x was drawn from that p̃ given d. The usual
/// rule for d ~ q makes x follow p̃ on average over d alone, and would bias the output; so the rounds take d for certain:
/// accept it with p̃(d), else draw from p̃ without d, which follows p̃ whatever d is (and accepts most when d is the
/// draft's greatest, not drawn). Each block has random numbers of its own, so that none decides twice.
public final class StackDrafter: Drafter {
  public struct Options: Sendable {
    /// The target's approximate function.
    public var verifyFunction = "verify"
    /// Tokens that the inner drafter proposes a round.
    public var gamma = 4
    /// Rounds a block; nil: chosen by what is measured. In sampled runs by acceptance alone and for each sequence by
    /// itself, so that the output is a function of the seed.
    public var rounds: Int?
    /// Most rounds a block when they are chosen.
    public var mostRounds = 8
    /// What a dense pass costs in rounds of the middle level, for sampled runs.
    public var denseCost = 4.0

    public init() {}
  }

  /// Counts and times of the middle level.
  public struct Metrics: Sendable {
    /// Inner proposals and what the middle level accepted.
    public var speculation = SpeculationMetrics()
    public var draftSeconds = 0.0
    public var selectSeconds = 0.0
    public var verifySeconds = 0.0
    public var acceptSeconds = 0.0
    /// Blocks by their number of rounds, from 0 (the inner proposal itself).
    public var blocks: [Int] = []
    /// Of a block's tokens that the exact pass looked at, and those that it kept.
    public var tested = 0
    public var agreed = 0
    public var signalCoverage: Double?
    /// By the budget of the sets, ascending, where the program has several; empty: it has one.
    public var budgets: [Budget] = []

    /// What one size of sets did, and what that is worth.
    public struct Budget: Sendable {
      public var budget: Int
      public var blocks = 0
      public var rounds = 0
      public var tested = 0
      public var agreed = 0
      /// Rounds a block that its agreement and its times make best.
      public var bestRounds = 0
      /// Tokens per time with these, over those of plain decoding (a dense pass for each); nil until both were measured.
      public var ratio: Double?

      public var agreement: Double? { tested == 0 ? nil : Double(agreed) / Double(tested) }
    }

    public init() {}

    /// Probability that the middle level's next token is the exact one.
    public var agreement: Double { tested == 0 ? 0 : Double(agreed) / Double(tested) }
    public var meanRounds: Double {
      let count = blocks.reduce(0, +)
      return count == 0 ? 0 : Double(blocks.enumerated().reduce(0) { $0 + $1.offset * $1.element }) / Double(count)
    }
  }

  private struct Slot {
    let cache: KVCache
    let random: KeyedRandom
    /// Of the last block.
    var choice = BlockPlanner.Choice(rounds: 0)
    var planner: BlockPlanner
  }

  private struct Block {
    let slot: Int
    let wish: DraftWish
    let choice: BlockPlanner.Choice
    let random: KeyedRandom
    var proposal = Proposal()
    var made = 0
    var isDone = false

    var rounds: Int { choice.rounds }
    var tokens: [Int32] { wish.tokens + proposal.tokens }
  }

  /// Up to the last dense pass.
  public var metrics: Metrics {
    var metrics = counts
    for (size, costs) in costs.costs.enumerated() where metrics.budgets.indices.contains(size) {
      guard let costs, metrics.budgets[size].tested > 0 else { continue }
      let best = planner.best(size: size, costs)
      metrics.budgets[size].bestRounds = best.rounds
      metrics.budgets[size].ratio = planner.rate(best, costs) * costs.dense
    }
    return metrics
  }
  /// The metrics without what follows from them and from costs.
  private var counts = Metrics()
  /// Most tokens of a block: the γ of the loop around it.
  public var blockLimit: Int { max(1, options.rounds ?? options.mostRounds) * (options.gamma + 1) }

  private let target: Engine
  private let inner: any Drafter
  private let options: Options
  private var rounds: Rounds?
  private var context = DraftContext(sampling: Sampling())
  private var slots: [Int: Slot] = [:]
  /// Of all sequences, for greedy runs.
  private var planner: BlockPlanner
  private var costs: BlockCosts
  /// Of the program's `select.N`.
  private let budgets: [Int]

  /// - Parameters:
  ///   - target: The engine of the loop around it.
  ///   - inner: Proposes to the middle level.
  /// - Throws: `DiagnosticError` for options that cannot be and for a program without the functions.
  public init(target: Engine, inner: any Drafter, options: Options = Options()) throws {
    guard 1...65_536 ~= options.gamma else {
      throw DiagnosticError("gamma", "the number of drafted tokens must be 1 … 65536, not \(options.gamma)")
    }
    guard 0...1024 ~= options.rounds ?? 0, 1...1024 ~= options.mostRounds else {
      throw DiagnosticError("rounds", "the number of rounds a block must be 0 … 1024")
    }
    self.target = target
    self.inner = inner
    self.options = options
    let functions = try RoundFunctions(
      target.model, verify: options.verifyFunction, offers: inner.offers, mayReadAll: false)
    budgets = functions.selects.map(\.budget)
    planner = BlockPlanner(gamma: options.gamma, mostRounds: options.mostRounds, sizes: budgets.count)
    costs = BlockCosts(sizes: budgets.count)
  }

  public var traffic: CacheTraffic { inner.traffic }

  public func begin(_ sequences: [DraftSequence], _ context: DraftContext) throws {
    self.context = context
    counts = Metrics()
    counts.budgets = budgets.map { Metrics.Budget(budget: $0) }
    let rounds = try Rounds(
      target: target, drafter: inner, verify: options.verifyFunction, sampling: context.sampling,
      isMiddleLevel: true)
    self.rounds = rounds
    slots = [:]
    var known: [(number: Int, cache: KVCache, prompt: [Int32])] = []
    for sequence in sequences {
      guard let cache = sequence.targetCache, cache.model === target.model else {
        throw DiagnosticError("stack", "the middle level of a stack needs the target's own cache")
      }
      slots[sequence.index] = Slot(
        cache: cache, random: sequence.random,
        planner: BlockPlanner(gamma: options.gamma, mostRounds: options.mostRounds))
      known.append((sequence.index, cache, sequence.prompt))
    }
    try rounds.begin(known)
    try inner.begin(sequences, context)
  }

  public func propose(_ wishes: [DraftWish]) throws -> [Proposal] {
    guard let rounds else { return wishes.map { _ in Proposal() } }
    // All greedy sequences choose alike: one step serves them all.
    let common = context.sampling.isGreedy ? planner.choose(costs.costs) : nil
    rounds.size = common == nil || budgets.isEmpty ? nil : common?.size
    var blocks = try wishes.map { wish -> Block in
      guard let slot = slots[wish.index] else {
        throw DiagnosticError("stack", "sequence \(wish.index) is none that the stack began with")
      }
      var choice = common ?? planned(slot)
      if let count = options.rounds { choice.rounds = count }
      slots[wish.index]?.choice = choice
      return Block(
        slot: wish.index, wish: wish, choice: choice,
        random: (wish.random ?? slot.random).derived(wish.tokens.count))
    }
    // Whatever happens, the loop finds its committed positions and no more.
    defer {
      rounds.close()
      for wish in wishes { slots[wish.index]?.cache.truncate(to: wish.tokens.count - 1) }
    }
    try proposeDirectly(&blocks)
    var isFirst = true
    while true {
      let open = blocks.indices.filter {
        blocks[$0].made < blocks[$0].rounds && !blocks[$0].isDone
          && blocks[$0].proposal.tokens.count < blocks[$0].wish.count
      }
      if open.isEmpty { break }
      guard try makeRound(rounds, &blocks, open, isFirst: isFirst) else { break }
      isFirst = false
    }
    for block in blocks {
      while counts.blocks.count <= block.rounds { counts.blocks.append(0) }
      counts.blocks[block.rounds] += 1
      if rounds.size != nil, block.rounds > 0 {
        counts.budgets[block.choice.size].blocks += 1
        counts.budgets[block.choice.size].rounds += block.made
      }
    }
    return blocks.map(\.proposal)
  }

  public func learn(_ outcomes: [DraftOutcome], seconds: Double) {
    var rows = 0
    var common: BlockPlanner.Choice?
    for outcome in outcomes {
      rows += outcome.proposed + 1
      guard outcome.proposed > 0, let choice = slots[outcome.index]?.choice else { continue }
      slots[outcome.index]?.planner.learn(
        accepted: outcome.accepted, of: outcome.proposed, BlockPlanner.Choice(rounds: choice.rounds))
      slots[outcome.index]?.planner.endBlock(BlockPlanner.Choice(rounds: choice.rounds))
      common = common ?? choice
      planner.learn(accepted: outcome.accepted, of: outcome.proposed, choice)
      if choice.rounds > 0 {
        let looked = min(outcome.accepted + 1, outcome.proposed)
        counts.tested += looked
        counts.agreed += outcome.accepted
        if rounds?.size != nil {
          counts.budgets[choice.size].tested += looked
          counts.budgets[choice.size].agreed += outcome.accepted
        }
      }
    }
    if let common { planner.endBlock(common) }
    costs.add(dense: seconds, rows: outcomes.isEmpty ? 0 : rows / outcomes.count)
  }

  public func end(_ index: Int) {
    slots[index] = nil
    rounds?.end(index)
    inner.end(index)
  }

  // MARK: Parts of a proposal

  private func planned(_ slot: Slot) -> BlockPlanner.Choice {
    // What is measured would make the output depend on the machine, and other sequences on each other.
    slot.planner.choose([.init(round: 1, draft: 0.3, dense: options.denseCost)])
  }

  /// Blocks without rounds: the inner drafter's proposal goes to the exact pass as it is.
  private func proposeDirectly(_ blocks: inout [Block]) throws {
    let places = blocks.indices.filter { blocks[$0].rounds == 0 }
    if places.isEmpty { return }
    let before = monotonicSeconds()
    let proposals = try inner.propose(
      places.map { place in
        var wish = blocks[place].wish
        wish.count = min(wish.count, options.gamma)
        wish.wantsValues = false
        wish.random = blocks[place].random
        return wish
      })
    guard proposals.count == places.count else {
      throw DiagnosticError("proposal", "the drafter made \(proposals.count) proposals for \(places.count) sequences")
    }
    for (place, proposal) in zip(places, proposals) { blocks[place].proposal = proposal }
    costs.add(draft: monotonicSeconds() - before)
  }

  /// One round of the middle level for the open blocks. Returns false when the run is cancelled.
  private func makeRound(_ rounds: Rounds, _ blocks: inout [Block], _ open: [Int], isFirst: Bool) throws -> Bool {
    let start = monotonicSeconds()
    let before = rounds.metrics
    var shares: [RoundShare] = []
    for place in open {
      let block = blocks[place]
      guard let cache = slots[block.slot]?.cache else { continue }
      // What was chosen for rows that the exact pass has replaced is out of date.
      if isFirst { rounds.renew(block.slot) }
      let room = block.wish.count - block.proposal.tokens.count
      shares.append(
        RoundShare(
          number: block.slot, cache: cache, random: block.random, tokens: block.tokens,
          wanted: min(options.gamma, room - 1)))
    }
    rounds.open(shares)
    for verb in [rounds.draft, rounds.select, rounds.verify, rounds.accept] {
      if context.cancel?.isCancelled == true { return false }
      try verb()
    }
    for (number, place) in open.enumerated() {
      let share = rounds.shares[number]
      guard let verdict = share.verdict else { continue }
      var kept = share.made[...]
      if let end = kept.firstIndex(where: context.endTokens.contains) {
        kept = kept[...end]
        blocks[place].isDone = true
      }
      try rounds.commit(number, rows: kept.count)
      blocks[place].proposal.tokens += kept
      blocks[place].proposal.distributions += share.distributions.prefix(kept.count)
      blocks[place].made += 1
      slots[share.number]?.planner.learn(round: kept.count)
      planner.learn(round: kept.count, size: blocks[place].choice.size)
      counts.speculation.add(
        drafted: share.proposal.tokens.count, accepted: min(verdict.accepted, kept.count), emitted: kept.count)
    }
    let after = rounds.metrics
    counts.draftSeconds = after.draftSeconds
    counts.selectSeconds = after.selectSeconds
    counts.verifySeconds = after.verifySeconds
    counts.acceptSeconds = after.acceptSeconds
    counts.signalCoverage = after.coverageRounds > 0 ? after.coverage / Double(after.coverageRounds) : nil
    costs.add(
      round: monotonicSeconds() - start, draft: after.draftSeconds - before.draftSeconds, size: rounds.size ?? 0)
    return true
  }
}
