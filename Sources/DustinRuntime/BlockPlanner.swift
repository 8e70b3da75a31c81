/// Chooses how many rounds of the middle level go into a block before everything is read, by METHODS' marginal rule:
/// most tokens per time.
///
/// With e tokens a round, of which each one agrees with the dense model with probability a if those before it do, a block
/// of R rounds gives E(R) = 1 + a + … + a^(R e) tokens (the one behind the accepted ones included) in R rounds and one
/// dense pass. 0 rounds stand for the inner drafter's own proposal, verified at once.
struct BlockPlanner {
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
  // Sums that fade, begun with weak guesses.
  private var tokens = 2.0 * 3
  private var rounds = 2.0
  private var agreed = 2.0 * 0.9
  private var tested = 2.0
  private var draftAgreed = 2.0 * 0.6
  private var draftTested = 2.0
  private var blocksWithout = 0

  init(gamma: Int, mostRounds: Int) {
    self.gamma = gamma
    self.mostRounds = max(mostRounds, 1)
  }

  /// Probability that a block's next token is the dense model's.
  var agreement: Double { agreed / tested }
  var tokensPerRound: Double { tokens / rounds }

  /// A round of the middle level made `made` tokens.
  mutating func learn(round made: Int) {
    tokens = tokens * Self.fading + Double(made)
    rounds = rounds * Self.fading + 1
  }

  /// A dense pass over a block kept `accepted` of its `proposed` tokens.
  mutating func learn(accepted: Int, of proposed: Int, rounds: Int) {
    guard proposed > 0 else { return }
    let looked = Double(min(accepted + 1, proposed))
    if rounds == 0 {
      draftAgreed = draftAgreed * Self.fading + Double(accepted)
      draftTested = draftTested * Self.fading + looked
      blocksWithout += 1
    } else {
      agreed = agreed * Self.fading + Double(accepted)
      tested = tested * Self.fading + looked
      blocksWithout = 0
    }
  }

  /// Tokens per unit of time with a number of rounds.
  func rate(rounds count: Int, _ costs: Costs) -> Double {
    let (a, length): (Double, Double) =
      count == 0 ? (draftAgreed / draftTested, Double(gamma)) : (agreement, Double(count) * tokensPerRound)
    // 1 + a + … + a^n, also for n between whole numbers.
    let expected = a >= 1 ? length + 1 : (1 - power(a, length + 1)) / (1 - a)
    let time = (count == 0 ? costs.draft : Double(count) * costs.round) + costs.dense + costs.denseRow * length
    return time > 0 ? expected / time : 0
  }

  func choose(_ costs: Costs) -> Int {
    var best = (rounds: 1, rate: rate(rounds: 1, costs))
    for count in 2...max(mostRounds, 2) where count <= mostRounds {
      let rate = rate(rounds: count, costs)
      if rate > best.rate { best = (count, rate) }
    }
    return rate(rounds: 0, costs) > best.rate && blocksWithout < Self.patience ? 0 : best.rounds
  }
}

/// Measured times, fading.
struct BlockCosts {
  private var roundSum = 0.0
  private var draftSum = 0.0
  private var rounds = 0.0
  // Least squares of seconds over rows.
  private var (n, x, y, xx, xy) = (0.0, 0.0, 0.0, 0.0, 0.0)

  mutating func add(round seconds: Double, draft: Double) {
    roundSum = roundSum * 0.95 + seconds
    draftSum = draftSum * 0.95 + draft
    rounds = rounds * 0.95 + 1
  }

  mutating func add(draft seconds: Double) {
    guard rounds > 0 else { return }
    // The mean moves a little towards it.
    draftSum = draftSum * 0.95 + seconds * rounds * 0.05
  }

  mutating func add(dense seconds: Double, rows: Int) {
    let row = Double(rows)
    (n, x, y) = (n * 0.95 + 1, x * 0.95 + row, y * 0.95 + seconds)
    (xx, xy) = (xx * 0.95 + row * row, xy * 0.95 + row * seconds)
  }

  /// Nil until both kinds were measured.
  var costs: BlockPlanner.Costs? {
    guard rounds > 0, n > 0 else { return nil }
    let spread = n * xx - x * x
    let slope = spread > 1e-9 ? max(0, (n * xy - x * y) / spread) : 0
    let base = max(y / n * 0.1, (y - slope * x) / n)
    return BlockPlanner.Costs(round: roundSum / rounds, draft: draftSum / rounds, dense: base, denseRow: slope)
  }
}
