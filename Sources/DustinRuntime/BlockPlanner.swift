/// Chooses how many rounds of the middle level go into a block before everything is read, by METHODS' marginal rule:
/// most tokens per time.
///
/// With e tokens a round, of which each one agrees with the dense model with probability a if those before it do, a block
/// of R rounds gives E(R) = 1 + a + … + a^(R e) tokens (the one behind the accepted ones included) in R rounds and one
/// dense pass. 0 rounds stand for the inner drafter's own proposal, verified at once. Sets may come in several sizes, each
/// with its own agreement, tokens and costs; every size is tried at first and now and then.
struct BlockPlanner {
  /// What a block is to be.
  struct Choice: Equatable {
    var rounds: Int
    var size = 0
  }

  /// Seconds, or any unit.
  struct Costs: Equatable {
    /// A round: drafting, choosing positions, verifying through them.
    var round = 1.0
    /// Drafting alone.
    var draft = 0.3
    /// A dense pass: of one row, and of each more.
    var dense = 4.0
    var denseRow = 0.0
  }

  /// Old rounds fade: the text changes.
  private static let fading = 0.95
  /// Blocks without the middle level before it is tried again.
  private static let patience = 16

  let gamma: Int
  let mostRounds: Int
  /// Blocks of a size before it is judged, and blocks of others before it is tried again.
  private static let trials = 2
  private static let interval = 48

  // Sums that fade, begun with weak guesses.
  private struct Sums {
    var tokens = 2.0 * 3
    var rounds = 2.0
    var agreed = 2.0 * 0.9
    var tested = 2.0
    var blocks = 0
    /// Blocks of all sizes before its last one.
    var lastBlock = 0

    var agreement: Double { agreed / tested }
    var tokensPerRound: Double { tokens / rounds }
  }
  private var sizes: [Sums]
  private var blocks = 0
  private var draftAgreed = 2.0 * 0.6
  private var draftTested = 2.0
  private var blocksWithout = 0

  init(gamma: Int, mostRounds: Int, sizes: Int = 1) {
    self.sizes = Array(repeating: Sums(), count: max(sizes, 1))
    self.gamma = gamma
    self.mostRounds = max(mostRounds, 1)
  }

  /// Probability that a block's next token is the dense model's.
  func agreement(size: Int = 0) -> Double { sizes[size].agreement }
  func tokensPerRound(size: Int = 0) -> Double { sizes[size].tokensPerRound }

  /// A round of the middle level made `made` tokens.
  mutating func learn(round made: Int, size: Int = 0) {
    sizes[size].tokens = sizes[size].tokens * Self.fading + Double(made)
    sizes[size].rounds = sizes[size].rounds * Self.fading + 1
  }

  /// A dense pass over a block kept `accepted` of its `proposed` tokens.
  mutating func learn(accepted: Int, of proposed: Int, _ choice: Choice) {
    guard proposed > 0 else { return }
    let looked = Double(min(accepted + 1, proposed))
    if choice.rounds == 0 {
      draftAgreed = draftAgreed * Self.fading + Double(accepted)
      draftTested = draftTested * Self.fading + looked
    } else {
      sizes[choice.size].agreed = sizes[choice.size].agreed * Self.fading + Double(accepted)
      sizes[choice.size].tested = sizes[choice.size].tested * Self.fading + looked
    }
  }

  /// A dense pass is over; the blocks of all sequences that it looked at count as one.
  mutating func endBlock(_ choice: Choice) {
    blocks += 1
    if choice.rounds == 0 {
      blocksWithout += 1
    } else {
      sizes[choice.size].blocks += 1
      sizes[choice.size].lastBlock = blocks
      blocksWithout = 0
    }
  }

  /// Tokens per unit of time.
  func rate(_ choice: Choice, _ costs: Costs) -> Double {
    let (a, length): (Double, Double) =
      choice.rounds == 0
      ? (draftAgreed / draftTested, Double(gamma))
      : (sizes[choice.size].agreement, Double(choice.rounds) * sizes[choice.size].tokensPerRound)
    // 1 + a + … + a^n, also for n between whole numbers.
    let expected = a >= 1 ? length + 1 : (1 - power(a, length + 1)) / (1 - a)
    let round = choice.rounds == 0 ? costs.draft : Double(choice.rounds) * costs.round
    let time = round + costs.dense + costs.denseRow * length
    return time > 0 ? expected / time : 0
  }

  /// The best number of rounds with sets of one size.
  func best(size: Int = 0, _ costs: Costs) -> Choice {
    (2...max(mostRounds, 2)).filter { $0 <= mostRounds }.reduce(Choice(rounds: 1, size: size)) { best, count in
      let other = Choice(rounds: count, size: size)
      return rate(other, costs) > rate(best, costs) ? other : best
    }
  }

  /// - Parameter costs: of each size; nil: not measured yet.
  func choose(_ costs: [Costs?]) -> Choice {
    let known = costs.compactMap { $0 }.first ?? Costs()
    let tried = sizes.indices.filter { sizes[$0].blocks < Self.trials }
    let old = sizes.indices.filter { sizes.count > 1 && blocks - sizes[$0].lastBlock >= Self.interval }
    if sizes.count > 1, let size = tried.min(by: { sizes[$0].blocks < sizes[$1].blocks }) ?? old.first {
      return best(size: size, costs[size] ?? known)
    }
    var choice = best(size: 0, costs[0] ?? known)
    for size in sizes.indices.dropFirst() {
      let other = best(size: size, costs[size] ?? known)
      if rate(other, costs[size] ?? known) > rate(choice, costs[choice.size] ?? known) { choice = other }
    }
    let none = Choice(rounds: 0, size: choice.size)
    let chosen = costs[choice.size] ?? known
    return rate(none, chosen) > rate(choice, chosen) && blocksWithout < Self.patience ? none : choice
  }
}

/// Measured times, fading: rounds by the size of their sets, dense passes over all.
struct BlockCosts {
  private struct Round {
    var seconds = 0.0
    var count = 0.0
  }
  private var rounds: [Round]
  private var draft = Round()
  // Least squares of seconds over rows.
  private var (n, x, y, xx, xy) = (0.0, 0.0, 0.0, 0.0, 0.0)

  init(sizes: Int = 1) { rounds = Array(repeating: Round(), count: max(sizes, 1)) }

  mutating func add(round seconds: Double, draft: Double, size: Int = 0) {
    rounds[size].seconds = rounds[size].seconds * 0.95 + seconds
    rounds[size].count = rounds[size].count * 0.95 + 1
    add(draft: draft)
  }

  mutating func add(draft seconds: Double) {
    draft.seconds = draft.seconds * 0.95 + seconds
    draft.count = draft.count * 0.95 + 1
  }

  mutating func add(dense seconds: Double, rows: Int) {
    let row = Double(rows)
    (n, x, y) = (n * 0.95 + 1, x * 0.95 + row, y * 0.95 + seconds)
    (xx, xy) = (xx * 0.95 + row * row, xy * 0.95 + row * seconds)
  }

  /// Of each size; nil until both its rounds and dense passes were measured.
  var costs: [BlockPlanner.Costs?] {
    let spread = n * xx - x * x
    let slope = spread > 1e-9 ? max(0, (n * xy - x * y) / spread) : 0
    return rounds.map { round in
      guard round.count > 0, n > 0, draft.count > 0 else { return nil }
      let base = max(y / n * 0.1, (y - slope * x) / n)
      return BlockPlanner.Costs(
        round: round.seconds / round.count, draft: draft.seconds / draft.count, dense: base + slope, denseRow: slope)
    }
  }
}
