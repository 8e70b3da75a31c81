import DustinSupport

/// A sequence as a drafter meets it first.
public struct DraftSequence {
  /// Number by which later calls name it.
  public var index: Int
  public var prompt: [Int32]
  /// The most tokens that it will ever have, prompt included.
  public var limit: Int
  public var random: KeyedRandom
  /// A cache of the drafter's model that already holds a part of the prompt.
  public var cache: KVCache?
  /// The target's cache, which holds the prompt. A drafter that uses it leaves it as it was, but for what lies behind its
  /// committed positions.
  public var targetCache: KVCache?
}

/// What a round wants to know of one sequence.
public struct DraftWish {
  public var index: Int
  /// All tokens so far, prompt included. The target's cache holds all but the last.
  public var tokens: [Int32]
  /// Tokens wanted; fewer or none may be proposed. 0 only with `wantsValues`.
  public var count: Int
  /// Whether the target is about to choose positions: a drafter that offers signals or sets makes them now.
  public var wantsValues = false
  /// The proposal will be taken for certain, whatever distributions come with it: the most probable tokens are best.
  public var wantsCertain = false
  /// Numbers for this proposal; nil: those that the sequence began with.
  public var random: KeyedRandom?

  public init(index: Int, tokens: [Int32], count: Int, wantsValues: Bool = false, random: KeyedRandom? = nil) {
    self.index = index
    self.tokens = tokens
    self.count = count
    self.wantsValues = wantsValues
    self.random = random
  }
}

/// Tokens for the positions `tokens.count …`.
public struct Proposal: Sendable {
  public var tokens: [Int32]
  /// The distribution that each token was drawn from; empty: every token was certain (drawn greedily).
  public var distributions: [Distribution]

  public init(tokens: [Int32] = [], distributions: [Distribution] = []) {
    self.tokens = tokens
    self.distributions = distributions
  }
}

/// What became of a proposal.
public struct DraftOutcome: Sendable {
  public var index: Int
  public var proposed: Int
  public var accepted: Int
}

/// What a drafter needs to know of the run.
public struct DraftContext {
  public var sampling: Sampling
  /// Tokens that end a sequence: nothing needs to be proposed behind them.
  public var endTokens: Set<Int32> = []
  public var cancel: CancelFlag?
  /// Called with the prompt tokens done and in all.
  public var progress: ((Int, Int) -> Void)?
}

/// Proposes tokens that the target then verifies. Proposals never change what a greedy run says under dense
/// verification, nor the distribution of a sampled one, as long as each proposed token was drawn from the distribution
/// that is handed over.
public protocol Drafter: AnyObject {
  /// KV bytes read so far.
  var traffic: CacheTraffic { get }
  /// Signals and sets that it makes of a round's proposal, for the target to choose positions by.
  var offers: [Program.SequenceValue] { get }
  /// Called once, with all sequences of a run; reads the prompts.
  func begin(_ sequences: [DraftSequence], _ context: DraftContext) throws
  /// One proposal a wish, in order. May return early with less when the run is cancelled.
  func propose(_ wishes: [DraftWish]) throws -> [Proposal]
  /// Copies what it offers into the target's cache of a sequence.
  /// - Returns: False when the last proposal has left nothing of this sequence.
  func offer(_ index: Int, to cache: KVCache) throws -> Bool
  /// Called after acceptance, before commit.
  /// - Parameter seconds: That the target took for verification.
  func learn(_ outcomes: [DraftOutcome], seconds: Double)
  /// The sequence is finished.
  func end(_ index: Int)
}

extension Drafter {
  public var offers: [Program.SequenceValue] { [] }
  public func offer(_ index: Int, to cache: KVCache) throws -> Bool { false }
  public func learn(_ outcomes: [DraftOutcome], seconds: Double) {}
}
