import DustinSupport

/// What holds for all sequences of a run.
public struct GenerationOptions: Sendable {
  /// γ, tokens drafted a round; 0: plain decoding. Default 4. Near the end of a sequence fewer are drafted.
  public var gamma = 4
  public var sampling = Sampling()
  /// Tokens that end a sequence; the token itself is the last one returned, its text is not.
  public var endTokens: Set<Int32> = []
  /// Strings that end a sequence; the text ends before the string. Need `tokenBytes`.
  public var stopStrings: [String] = []
  /// The bytes that a token stands for in text; nil: there is no text.
  public var tokenBytes: (@Sendable (Int32) -> [UInt8])?
  /// The most tokens of a sequence, prompt included; default: prompt and `maxNewTokens`.
  public var contextSize: Int?
  /// The target's functions: prompts, and the rows of a round. What a round needs besides is found by name (`select`,
  /// `observe`, `dense`).
  public var prefillFunction = "prefill"
  public var verifyFunction = "verify"

  public init() {}
}

/// One sequence to continue.
public struct GenerationRequest {
  public var prompt: [Int32]
  /// 0: the prompt is read and `promptLogits` are there.
  public var maxNewTokens: Int
  /// Keys the random numbers; default: the number of the request in the run.
  public var id: UInt64?
  /// Caches to use, of target and draft. What they hold must be the prompt's beginning; only the rest is computed. After
  /// the run the target's holds all tokens but the last.
  public var targetCache: KVCache?
  public var draftCache: KVCache?

  public init(
    prompt: [Int32], maxNewTokens: Int, id: UInt64? = nil, targetCache: KVCache? = nil, draftCache: KVCache? = nil
  ) {
    self.prompt = prompt
    self.maxNewTokens = maxNewTokens
    self.id = id
    self.targetCache = targetCache
    self.draftCache = draftCache
  }
}

public enum FinishReason: Sendable, Equatable {
  /// `maxNewTokens` were made.
  case length
  /// One of the end tokens, which is the last token.
  case endToken(Int32)
  case stopString(String)
  /// No position of the context is left.
  case context
  case cancelled
}

/// News of one sequence after a commit.
public struct GenerationEvent: Sendable {
  /// Number of the request.
  public var sequence: Int
  /// New tokens, in order.
  public var tokens: [Int32]
  /// New text in whole characters; what may become a stop string is held back until it is decided.
  public var text: [UInt8]
  public var finish: FinishReason?
}

public struct GenerationResult: Sendable {
  /// New tokens, an end token included.
  public var tokens: [Int32]
  /// Their bytes, without end token, up to a stop string. May be broken UTF-8 if the model says so.
  public var text: [UInt8]
  public var finish: FinishReason
  public var speculation: SpeculationMetrics
  /// Seconds from `begin` until the first token was told, the draft's reading of the prompts included; nil without tokens.
  public var timeToFirstToken: Double?
}

/// Counts of draft and acceptance, over the sequences' rounds: a round of three sequences counts three times.
public struct SpeculationMetrics: Sendable, Equatable {
  public var rounds = 0
  /// Tokens proposed, and those of them that were kept.
  public var drafted = 0
  public var accepted = 0
  /// Tokens kept in rounds: accepted ones and the bonus token or correction.
  public var emitted = 0
  /// How often a token was proposed, and kept, at the first, second, … position of a round.
  public var draftedPerPosition: [Int] = []
  public var acceptedPerPosition: [Int] = []

  public init() {}

  /// Tokens a round, the bonus token included; 0 without rounds.
  public var meanAcceptedLength: Double { rounds == 0 ? 0 : Double(emitted) / Double(rounds) }

  mutating func add(drafted: Int, accepted: Int, emitted: Int) {
    rounds += 1
    self.drafted += drafted
    self.accepted += accepted
    self.emitted += emitted
    while draftedPerPosition.count < drafted {
      draftedPerPosition.append(0)
      acceptedPerPosition.append(0)
    }
    for position in 0..<drafted { draftedPerPosition[position] += 1 }
    for position in 0..<accepted { acceptedPerPosition[position] += 1 }
  }
}

/// Times in seconds and KV traffic of a whole run.
public struct RunMetrics: Sendable {
  /// Reading the prompts with the target: the time of `prefillTokens`.
  public var prefillSeconds = 0.0
  /// Reading them with the draft, afterwards; 0 without one.
  public var draftPrefillSeconds = 0.0
  /// From `begin` until the first token of any sequence is told, which is when target and draft have read the prompts;
  /// nil without tokens.
  public var timeToFirstToken: Double?
  /// All rounds; it divides into the five below.
  public var decodeSeconds = 0.0
  /// Proposing tokens, and making the signals that the drafter offers.
  public var draftSeconds = 0.0
  /// Choosing the positions that verification reads.
  public var selectSeconds = 0.0
  public var verifySeconds = 0.0
  public var acceptSeconds = 0.0
  /// Bookkeeping, text and the caller's own callback.
  public var otherSeconds: Double {
    max(0, decodeSeconds - draftSeconds - selectSeconds - verifySeconds - acceptSeconds)
  }
  /// Rounds of a sequence that were verified by reading everything, although `verify` reads through sets.
  public var denseRounds = 0
  /// Share of the look-ahead signal, as it was chosen by, that lies on chosen positions, mean over rounds: an estimate of
  /// the attention that verification recovers. Nil when positions are not chosen by a signal that the draft offers.
  public var signalCoverage: Double?
  /// Prompt tokens that were computed by the target, not found in a cache.
  public var prefillTokens = 0
  /// Tokens made in rounds: those of `decodeSeconds`. Each sequence's first token comes from its prefill.
  public var decodeTokens: Int { speculation.emitted }
  public var speculation = SpeculationMetrics()
  /// KV bytes that the rounds read; per token: divide by `decodeTokens`.
  public var targetTraffic = CacheTraffic()
  public var draftTraffic = CacheTraffic()

  public init() {}

  public var decodeTokensPerSecond: Double { decodeSeconds > 0 ? Double(decodeTokens) / decodeSeconds : 0 }
}
