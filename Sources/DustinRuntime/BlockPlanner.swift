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

  /// Blocks without the middle level before it is tried again; twice as many after each try in vain.
  private static let patience = (least: 16, most: 256)
  /// Blocks before another size has its first turn, and blocks of others before it has its next one.
  private static let settling = 6
  private static let interval = 48
  /// Share of a round's time behind drafting that a smaller set may need before it was measured.
  private static let hopedTime = 0.6
  /// What an old measurement may be short of.
  private static let hopedGain = 1.15
  /// What blocks without the middle level may give more than is guessed before they were measured.
  private static let hopedGuess = 1.3

  let gamma: Int
  let mostRounds: Int

  // Sums that fade, begun with guesses; that of the agreement outweighs what bad luck in one block says.
  private struct Sums {
    var tokens = 2.0 * 3
    var rounds = 2.0
    var agreed = 16.0 * 0.95
    var tested = 16.0
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

  /// Probability that a block's next token is the dense model's: a larger set holds what a smaller one does.
  func agreement(size: Int = 0) -> Double {
    sizes[..<size].filter { $0.blocks > 0 }.reduce(sizes[size].agreement) { max($0, $1.agreement) }
  }
  func tokensPerRound(size: Int = 0) -> Double { sizes[size].tokensPerRound }

  /// Probability that an inner proposal's next token is the dense model's.
  private var draftAgreement: Double {
    (direct.agreed + guess * acceptance.agreed / acceptance.tested) / (direct.tested + guess)
  }

  /// A round of the middle level made `made` tokens.
  mutating func learn(round made: Int, size: Int = 0) {
    acceptance.agreed = acceptance.agreed * fading + Double(max(made - 1, 0))
    acceptance.tested = acceptance.tested * fading + Double(min(made, gamma))
    sizes[size].tokens = sizes[size].tokens * fading + Double(made)
    sizes[size].rounds = sizes[size].rounds * fading + 1
  }

  /// A dense pass over a block kept `accepted` of its `proposed` tokens.
  mutating func learn(accepted: Int, of proposed: Int, _ choice: Choice) {
    guard proposed > 0 else { return }
    let looked = Double(min(accepted + 1, proposed))
    if choice.rounds == 0 {
      direct.agreed = direct.agreed * fading + Double(accepted)
      direct.tested = direct.tested * fading + looked
      guess *= fading
    } else {
      sizes[choice.size].agreed = sizes[choice.size].agreed * fading + Double(accepted)
      sizes[choice.size].tested = sizes[choice.size].tested * fading + looked
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
      : (agreement(size: choice.size), Double(choice.rounds) * sizes[choice.size].tokensPerRound)
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
    // A try is short, and shows what the guess is worth.
    let hope = direct.tested == 0 ? Self.hopedGuess : 1
    if rate(none, costs[choice.size] ?? known) * hope > most, blocksWithout < patience { return none }
    return trial(costs, most) ?? choice
  }

  /// A size whose turn it is and that may give more than `rate`.
  private func trial(_ costs: [Costs?], _ most: Double) -> Choice? {
    guard sizes.count > 1, blocks - lastChange >= Self.settling else { return nil }
    for size in sizes.indices.reversed() {
      if sizes[size].blocks > 0 {
        guard blocks - sizes[size].lastBlock >= Self.interval, let costs = costs[size] else { continue }
        let choice = best(size: size, costs)
        if rate(choice, costs) * Self.hopedGain > most { return choice }
      } else if size + 1 < sizes.count, sizes[size + 1].blocks > 0, let larger = costs[size + 1] {
        var costs = larger
        costs.round = costs.draft + (costs.round - costs.draft) * Self.hopedTime
        var choice = best(size: size + 1, costs)
        guard rate(choice, costs) > most else { continue }
        choice.size = size
        return choice
      }
    }
    return nil
  }
}

/// Measured times, fading: rounds by the size of their sets, dense passes over all. The first time of each kind counts until
/// there is another: it has caches and pages to warm.
struct BlockCosts {
  /// Between what a dense pass's time grows by with each row, as a share of the first row's: passes of about the same length
  /// tell little of it.
  private static let perRow = 0.02...0.2
  private static let usualRow = 0.04

  private struct Mean {
    var seconds = 0.0
    var count = 0.0
    var isWarm = false

    mutating func add(_ time: Double) {
      if count > 0, !isWarm { (seconds, count, isWarm) = (0, 0, true) }
      seconds = seconds * fading + time
      count = count * fading + 1
    }
    var value: Double? { count > 0 ? seconds / count : nil }
  }
  private var rounds: [Mean]
  private var draft = Mean()
  // Least squares of seconds over rows.
  private struct Line {
    var (n, x, y, xx, xy) = (0.0, 0.0, 0.0, 0.0, 0.0)
    var isWarm = false

    mutating func add(_ y1: Double, at x1: Double) {
      if n > 0, !isWarm { (n, x, y, xx, xy, isWarm) = (0, 0, 0, 0, 0, true) }
      (n, x, y) = (n * fading + 1, x * fading + x1, y * fading + y1)
      (xx, xy) = (xx * fading + x1 * x1, xy * fading + x1 * y1)
    }
  }
  private var dense = Line()

  init(sizes: Int = 1) { rounds = Array(repeating: Mean(), count: max(sizes, 1)) }

  mutating func add(round seconds: Double, draft: Double, size: Int = 0) {
    rounds[size].add(seconds)
    self.draft.add(draft)
  }

  mutating func add(draft seconds: Double) { draft.add(seconds) }

  mutating func add(dense seconds: Double, rows: Int) { dense.add(seconds, at: Double(rows)) }

  /// Of each size; nil until both its rounds and dense passes were measured.
  var costs: [BlockPlanner.Costs?] {
    let (n, x, y) = (dense.n, dense.x, dense.y)
    let spread = n * dense.xx - x * x
    // A pass takes first * (1 + share * (rows - 1)).
    var share = Self.usualRow
    if spread > 1e-9 * n * dense.xx {
      let slope = (n * dense.xy - x * y) / spread
      let first = (y - slope * x) / n + slope
      share =
        first > 0 ? min(max(slope / first, Self.perRow.lowerBound), Self.perRow.upperBound) : Self.perRow.upperBound
    }
    let first = n > 0 ? y / (n + share * (x - n)) : 0
    return rounds.map { round in
      guard let round = round.value, let draft = draft.value, n > 0 else { return nil }
      return BlockPlanner.Costs(round: round, draft: draft, dense: first, denseRow: first * share)
    }
  }
}

/// By which old rounds and times count less with each new one: the text changes.
private let fading = 0.95
