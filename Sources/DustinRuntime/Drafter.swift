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
}

/// What a round wants to know of one sequence.
public struct DraftWish {
  public var index: Int
  /// All tokens so far, prompt included. Since the last wish only tokens were added: what was proposed then is among
  /// them as far as it was accepted.
  public var tokens: [Int32]
  /// Tokens wanted, at least 1; fewer or none may be proposed.
  public var count: Int
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

/// What a drafter needs to know of the run.
public struct DraftContext {
  public var sampling: Sampling
  public var cancel: CancelFlag?
  /// Called with the prompt tokens done and in all.
  public var progress: ((Int, Int) -> Void)?
}

/// Proposes tokens that the target then verifies. Proposals never change what a greedy run says, nor the distribution of
/// a sampled one, as long as each proposed token was drawn from the distribution that is handed over.
public protocol Drafter: AnyObject {
  /// KV bytes read so far.
  var traffic: CacheTraffic { get }
  /// Called once, with all sequences of a run; reads the prompts.
  func begin(_ sequences: [DraftSequence], _ context: DraftContext) throws
  /// One proposal a wish, in order. May return early with less when the run is cancelled.
  func propose(_ wishes: [DraftWish]) throws -> [Proposal]
  /// The sequence is finished.
  func end(_ index: Int)
}
