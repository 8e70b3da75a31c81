import DustinRunner
import DustinSupport

/// What was measured of a candidate.
struct CandidateResult: Equatable {
  /// D(dense ‖ sparse) in nats a token: the mean over the lengths of prose, and of the answers to retrieval prompts.
  var proseDivergence = 0.0
  var retrievalDivergence = 0.0
  /// The mean over all groups of texts: what decides.
  var divergence = 0.0
  /// Retrieval prompts, those that were answered right, and how they differ from dense verification.
  var prompts = 0
  var right = 0
  var lost = 0
  var won = 0
  /// Of free greedy text.
  var tokensPerRound = 0.0
  /// Bytes that a token of free text needs with one sequence: keys and values as they were read, weights once a step.
  var bytesPerToken = 0.0
  /// Windowed attention recovery, and that of the best sets of the same size.
  var recovery = 0.0
  var oracle = 0.0

  var netLost: Int { max(0, lost - won) }

  private static let numbers: [(key: String, path: WritableKeyPath<CandidateResult, Double> & Sendable)] = [
    ("kl", \.divergence), ("kl_prose", \.proseDivergence), ("kl_retrieval", \.retrievalDivergence),
    ("tokens_per_round", \.tokensPerRound), ("bytes_per_token", \.bytesPerToken), ("arr", \.recovery),
    ("arr_oracle", \.oracle),
  ]
  private static let counts: [(key: String, path: WritableKeyPath<CandidateResult, Int> & Sendable)] = [
    ("prompts", \.prompts), ("right", \.right), ("lost", \.lost), ("won", \.won),
  ]

  var json: [(key: String, value: JSON)] {
    Self.numbers.map { ($0.key, .double(self[keyPath: $0.path])) }
      + Self.counts.map { ($0.key, .int(self[keyPath: $0.path])) }
  }

  init() {}

  /// Nil when a figure is missing.
  init?(_ value: JSONValue) {
    for (key, path) in Self.numbers {
      guard let number = value[key]?.doubleValue else { return nil }
      self[keyPath: path] = number
    }
    for (key, path) in Self.counts {
      guard let number = value[key]?.intValue else { return nil }
      self[keyPath: path] = number
    }
  }
}

/// Measures candidates on the texts.
struct CandidateMeasurement {
  let session: EvaluationSession
  let texts: [CalibrationText]

  /// - Parameter progress: Called before each text.
  /// - Throws: `Interrupted` after Ctrl-C, else as the runtime does.
  func measure(_ target: CandidateTarget, progress: (_ done: Int) -> Void) throws -> CandidateResult {
    var divergences: [CalibrationText.Group: GroupedMean] = [:]
    var paired = PairedCount()
    var recovery = RecoveryTally()
    var (rounds, emitted, bytes) = (0, 0, 0.0)
    for (number, text) in texts.enumerated() {
      try checkInterruption()
      progress(number)
      let task = PerplexityTask(session: session, context: text.context, continuation: text.continuation)
      let (tokens, sets) = try task.scores(target, dense: text.dense, lookAt: Set(text.rounds.keys))
      divergences[text.group, default: GroupedMean()].add(
        sum: tokens.reduce(0) { $0 + $1.divergence }, count: tokens.count)
      for (start, round) in text.rounds.sorted(by: { $0.key < $1.key }) {
        if let read = sets[start] { recovery.add(round.measure(read)) }
      }
      let output = try target.generate(text.context, maxNewTokens: text.newTokens, options: session.options())
      if let prompt = text.prompt {
        paired.add(answers(output.text, prompt.answer), base: answers(text.denseOutput.text, prompt.answer))
      }
      let speculation = output.metrics.speculation
      rounds += speculation.rounds
      emitted += speculation.emitted
      bytes += Double(output.metrics.targetTraffic.bytesRead + output.metrics.draftTraffic.bytesRead)
      bytes += Double(speculation.rounds * target.pair.target.compiled.program.weightBytes)
      // γ proposals, and once more on the last one.
      bytes += Double(
        speculation.rounds * (session.gamma + 1) * (target.pair.draft?.compiled.program.weightBytes ?? 0))
    }
    var result = CandidateResult()
    let prose = divergences.filter { $0.key != .retrieval }.sorted { $0.value.mean < $1.value.mean }
    result.proseDivergence = prose.reduce(0) { $0 + $1.value.mean } / Double(max(1, prose.count))
    result.retrievalDivergence = divergences[.retrieval]?.mean ?? 0
    result.divergence =
      (result.proseDivergence * Double(prose.count) + result.retrievalDivergence)
      / Double(max(1, divergences.count))
    result.prompts = paired.count
    result.right = paired.right
    result.lost = paired.lost
    result.won = paired.won
    result.tokensPerRound = Double(emitted) / Double(max(1, rounds))
    result.bytesPerToken = bytes / Double(max(1, emitted))
    result.recovery = recovery.mean
    result.oracle = recovery.oracle
    return result
  }
}
