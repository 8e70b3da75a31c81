/// Chooses how many rounds of the middle level go into a block before everything is read, by METHODS' marginal rule:
/// most tokens per time.
///
/// With e tokens a round, of which each one agrees with the dense model with probability a if those before it do, a block
/// of R rounds gives E(R) = 1 + a + … + a^(R e) tokens (the one behind the accepted ones included) in R rounds and one
/// dense pass. 0 rounds stand for the inner drafter's own proposal, verified at once; until that was measured, the rounds'
/// own acceptance stands for its. Sets may come in several sizes, each with its own agreement, tokens and costs. A trial
/// costs a block, so the largest size begins, and another one has its turn only if it may pay: with the agreement of the
/// next larger one and less to read.
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
  /// Blocks without the middle level before it is tried again; twice as many after each try in vain.
  private static let patience = (least: 16, most: 256)
  /// Blocks before another size has its first turn, and blocks of others before it has its next one.
  private static let settling = 6
  private static let interval = 48
  /// Share of a round's time behind drafting that a smaller set may need, and what an old measurement may have gained.
  private static let hope = (time: 0.6, gain: 1.15)

  let gamma: Int
  let mostRounds: Int

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
  /// Of the last block with rounds, and the blocks before it was another one.
  private var size = 0
  private var lastChange = 0
  // Of the inner proposals: what rounds accepted, and what dense passes did.
  private var acceptance = (agreed: 2.0 * 0.6, tested: 2.0)
  private var direct = (agreed: 0.0, tested: 0.0)
  /// How much the rounds' acceptance counts beside what dense passes measured, in tokens.
  private var guess = 4.0
  private var blocksWithout = 0
  private var patience = Self.patience.least

  init(gamma: Int, mostRounds: Int, sizes: Int = 1) {
    self.sizes = Array(repeating: Sums(), count: max(sizes, 1))
    self.gamma = gamma
    self.mostRounds = max(mostRounds, 1)
  }

  /// Probability that a block's next token is the dense model's.
  func agreement(size: Int = 0) -> Double { sizes[size].agreement }
  func tokensPerRound(size: Int = 0) -> Double { sizes[size].tokensPerRound }

  /// Probability that an inner proposal's next token is the dense model's.
  private var draftAgreement: Double {
    (direct.agreed + guess * acceptance.agreed / acceptance.tested) / (direct.tested + guess)
  }

  /// A round of the middle level made `made` tokens.
  mutating func learn(round made: Int, size: Int = 0) {
    acceptance.agreed = acceptance.agreed * Self.fading + Double(max(made - 1, 0))
    acceptance.tested = acceptance.tested * Self.fading + Double(min(made, gamma))
    sizes[size].tokens = sizes[size].tokens * Self.fading + Double(made)
    sizes[size].rounds = sizes[size].rounds * Self.fading + 1
  }

  /// A dense pass over a block kept `accepted` of its `proposed` tokens.
  mutating func learn(accepted: Int, of proposed: Int, _ choice: Choice) {
    guard proposed > 0 else { return }
    let looked = Double(min(accepted + 1, proposed))
    if choice.rounds == 0 {
      direct.agreed = direct.agreed * Self.fading + Double(accepted)
      direct.tested = direct.tested * Self.fading + looked
      guess *= Self.fading
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
      // A try after many blocks without it; if it was not in vain, there is time to forget that.
      patience = blocksWithout >= patience ? min(2 * patience, Self.patience.most) : Self.patience.least
      if choice.size != size { (size, lastChange) = (choice.size, blocks) }
      sizes[choice.size].blocks += 1
      sizes[choice.size].lastBlock = blocks
      blocksWithout = 0
    }
  }

  /// Tokens per unit of time.
  func rate(_ choice: Choice, _ costs: Costs) -> Double {
    let (a, length): (Double, Double) =
      choice.rounds == 0
      ? (draftAgreement, Double(gamma))
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
    let known = costs.compactMap { $0 }.last ?? Costs()
    let used = sizes.indices.filter { sizes[$0].blocks > 0 }
    guard let largest = used.last else { return best(size: sizes.count - 1, known) }
    var (choice, most) = (Choice(rounds: 0, size: largest), 0.0)
    for size in used {
      let other = best(size: size, costs[size] ?? known)
      let rate = rate(other, costs[size] ?? known)
      if rate > most { (choice, most) = (other, rate) }
    }
    let none = Choice(rounds: 0, size: choice.size)
    if rate(none, costs[choice.size] ?? known) > most, blocksWithout < patience { return none }
    return trial(costs, most) ?? choice
  }

  /// A size whose turn it is and that may give more than `rate`.
  private func trial(_ costs: [Costs?], _ most: Double) -> Choice? {
    guard sizes.count > 1, blocks - lastChange >= Self.settling else { return nil }
    for size in sizes.indices.reversed() {
      if sizes[size].blocks > 0 {
        guard blocks - sizes[size].lastBlock >= Self.interval, let costs = costs[size] else { continue }
        let choice = best(size: size, costs)
        if rate(choice, costs) * Self.hope.gain > most { return choice }
      } else if size + 1 < sizes.count, sizes[size + 1].blocks > 0, let larger = costs[size + 1] {
        var costs = larger
        costs.round = costs.draft + (costs.round - costs.draft) * Self.hope.time
        var choice = best(size: size + 1, costs)
        guard rate(choice, costs) > most else { continue }
        choice.size = size
        return choice
      }
    }
    return nil
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

  /// What a dense pass's time grows by with each row, of that of the first one, until passes of several lengths tell.
  private static let usualRow = 0.04

  mutating func add(dense seconds: Double, rows: Int) {
    let row = Double(rows)
    if n == 0 {
      let first = seconds / (1 + Self.usualRow * max(row - 1, 0))
      (n, x, y, xx, xy) = (1, 1, first, 1, first)
    }
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
