import DustinSupport

/// One sequence of a run.
struct SequenceState {
  let request: GenerationRequest
  let number: Int
  let promptCount: Int
  /// The most tokens, prompt included.
  let limit: Int
  let random: KeyedRandom
  /// Prompt and new tokens. Between rounds the cache holds all but the last.
  var tokens: [Int32]
  /// Nil once the sequence is finished: memory is for those that go on.
  var cache: KVCache?
  var finish: FinishReason?
  var speculation = SpeculationMetrics()
  var timeToFirstToken: Double?
  private var text: StopMatcher
  private let endTokens: Set<Int32>
  private let stopStrings: [String]
  private let tokenBytes: (@Sendable (Int32) -> [UInt8])?

  /// - Throws: `DiagnosticError` with id `prompt` for an empty prompt, `context` for one that is too long.
  init(_ request: GenerationRequest, number: Int, _ model: CompiledModel, _ options: GenerationOptions) throws {
    guard !request.prompt.isEmpty else { throw DiagnosticError("prompt", "the prompt is empty") }
    guard request.maxNewTokens >= 0 else {
      throw DiagnosticError("length", "the number of new tokens must be 0 or more, not \(request.maxNewTokens)")
    }
    let (wanted, overflow) = request.prompt.count.addingReportingOverflow(request.maxNewTokens)
    limit = min(request.targetCache?.limit ?? .max, options.contextSize ?? .max, overflow ? .max : wanted)
    guard request.prompt.count <= limit else {
      throw DiagnosticError(
        "context", "the prompt has \(request.prompt.count) tokens, but the context holds \(limit)")
    }
    let cache = try request.targetCache ?? KVCache(model, positions: limit)
    // The last position is computed again for its logits.
    cache.truncate(to: request.prompt.count - 1)
    self.cache = cache
    self.request = request
    self.number = number
    promptCount = request.prompt.count
    random = KeyedRandom(seed: options.sampling.seed, sequence: request.id ?? UInt64(number))
    tokens = request.prompt
    text = StopMatcher(stops: options.stopStrings)
    endTokens = options.endTokens
    stopStrings = options.stopStrings
    tokenBytes = options.tokenBytes
    finish = request.maxNewTokens == 0 ? .length : promptCount == limit ? .context : nil
  }

  var made: Int { tokens.count - promptCount }
  /// New tokens that there is still room for.
  var room: Int { min(request.maxNewTokens - made, limit - tokens.count) }

  /// Appends tokens up to the one that finishes the sequence, and returns those.
  mutating func append(_ new: ArraySlice<Int32>) -> [Int32] {
    var kept: [Int32] = []
    for token in new where finish == nil {
      tokens.append(token)
      kept.append(token)
      if endTokens.contains(token) {
        finish = .endToken(token)
      } else if let tokenBytes, let stop = text.append(tokenBytes(token)) {
        finish = .stopString(stopStrings[stop])
      } else if made >= request.maxNewTokens {
        finish = .length
      } else if tokens.count >= limit {
        finish = .context
      }
    }
    return kept
  }

  /// Text that can be shown and was not yet.
  mutating func releaseText() -> [UInt8] { text.release(isLast: finish != nil) }

  var result: GenerationResult {
    GenerationResult(
      tokens: Array(tokens[promptCount...]), text: text.bytes, finish: finish ?? .cancelled, speculation: speculation,
      timeToFirstToken: timeToFirstToken)
  }
}
