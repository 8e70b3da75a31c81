import DustinSupport

/// Rounds of one sequence over a text that is given: the draft proposes and positions are chosen as in generation, by the
/// same code, but the verified rows are the text's tokens, and the caller says how many stay.
public final class GivenRounds {
  private let loop: SpeculativeLoop
  private let cache: KVCache
  private let random = KeyedRandom(seed: 0, sequence: 0)
  private let gamma: Int
  /// All committed tokens; the cache holds them all.
  private var tokens: [Int32]

  /// What a round's verification left, until the engine's next step.
  public struct Verified {
    public let step: StepResult
    /// Rows of the step in front of the round's own.
    public let skipped: Int
    /// It read everything by policy or for want of a signal, and not as the program's sets say.
    public let isDense: Bool
  }

  /// - Parameters:
  ///   - cache: holds all of `tokens` and has room for `positions`.
  ///   - draftCache: of the drafter's model, which may hold a part of them; nil: the drafter reads them.
  /// - Throws: as `SpeculativeLoop` and its `begin`.
  public init(
    target: Engine, drafter: (any Drafter)?, gamma: Int, cache: KVCache, draftCache: KVCache?, tokens: [Int32],
    positions: Int, cancel: CancelFlag?
  ) throws {
    self.cache = cache
    self.tokens = tokens
    self.gamma = gamma
    var options = GenerationOptions()
    options.gamma = gamma
    loop = try SpeculativeLoop(target: target, drafter: drafter, options: options, cancel: cancel)
    if tokens.isEmpty { return }
    // The loop begins as always: the last row by this program, what is chosen once, the draft's own reading. Its first
    // token is not the text's, and it makes no round of its own.
    try loop.begin([
      GenerationRequest(
        prompt: tokens, maxNewTokens: max(2, positions - tokens.count), id: 0, targetCache: cache,
        draftCache: drafter == nil ? nil : draftCache)
    ])
  }

  /// Drafts, selects and verifies; nothing is committed.
  ///
  /// - Parameter rows: The last committed token, then the text's next ones.
  public func verify(_ rows: [Int32]) throws -> Verified {
    guard let first = rows.first else { throw DiagnosticError("rows", "a round has no rows to verify") }
    let rounds = loop.rounds
    // What verification reads without choosing needs no proposal.
    var share = RoundShare(
      number: 0, cache: cache, random: random, tokens: tokens + [first],
      wanted: rounds.functions.choosesPositions ? gamma : 0)
    share.given = Array(rows.dropFirst())
    rounds.open([share])
    try rounds.draft()
    try rounds.select()
    try rounds.verify()
    guard let share = rounds.shares.first, let step = share.verified else {
      throw DiagnosticError("rows", "the round was not verified")
    }
    return Verified(step: step, skipped: share.fedAgain, isDense: share.reading != .plain)
  }

  /// Makes the first `count` rows of the last `verify` stay.
  public func commit(_ count: Int) throws {
    guard let share = loop.rounds.shares.first, count > 0 else { return }
    try loop.rounds.commit(0, rows: count)
    tokens += (share.tokens.suffix(1) + (share.given ?? [])).prefix(count)
    loop.rounds.close()
  }
}
