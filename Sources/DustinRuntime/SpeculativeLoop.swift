import DustinSupport

/// Continues sequences: `begin`, then rounds of `draft`, `select`, `verify`, `accept` and `commit`. Plain decoding is the
/// same loop with nothing drafted, so that a greedy run makes the same tokens with any drafter, as long as verification
/// reads everything.
///
/// The sequences of a run go in lockstep and share the reading of the weights; each has its own state, random numbers and
/// γ, so that what it says does not depend on the others. Whatever is thrown, or when the run is cancelled, the state is
/// that of the last commit; only keys and values of committed positions may already be those of a later dense pass.
public final class SpeculativeLoop {
  /// Called after every commit, sequence by sequence.
  public var onEvent: ((GenerationEvent) -> Void)?
  /// Called while prompts are read, with the tokens done and in all, of target and draft together. Never after the first
  /// event: who shows both need not draw progress over text.
  public var onPrefill: ((_ done: Int, _ total: Int) -> Void)?
  public private(set) var metrics = RunMetrics()
  /// f32[vocabulary] behind each prompt.
  public private(set) var promptLogits: [[Float]] = []

  let target: Engine
  let drafter: (any Drafter)?
  let options: GenerationOptions
  let cancel: CancelFlag?
  var sequences: [SequenceState] = []
  let rounds: Rounds
  /// Number of the sequence of each of the round's shares.
  private var places: [Int] = []
  private var targetBefore = CacheTraffic()
  private var draftBefore = CacheTraffic()
  private var start = 0.0
  /// Of the round.
  private var verifySeconds = 0.0

  /// - Parameter drafter: nil: plain decoding.
  /// - Throws: `DiagnosticError` for options that cannot be and for a program without the functions.
  public init(
    target: Engine, drafter: (any Drafter)? = nil, options: GenerationOptions, cancel: CancelFlag? = nil
  ) throws {
    try options.sampling.validate()
    guard 0...65_536 ~= options.gamma else {
      throw DiagnosticError("gamma", "the number of drafted tokens must be 0 … 65536, not \(options.gamma)")
    }
    guard !options.stopStrings.contains("") else { throw DiagnosticError("stop", "a stop string is empty") }
    guard options.stopStrings.isEmpty || options.tokenBytes != nil else {
      throw DiagnosticError("stop", "stop strings need a tokenizer")
    }
    _ = try target.model.function(options.prefillFunction).result("logits")
    self.target = target
    self.drafter = options.gamma > 0 ? drafter : nil
    rounds = try Rounds(
      target: target, drafter: self.drafter, verify: options.verifyFunction, sampling: options.sampling)
    self.options = options
    self.cancel = cancel
  }

  /// All sequences are finished.
  public var isFinished: Bool { sequences.allSatisfy { $0.finish != nil } }

  /// Begins, and makes rounds until every sequence is finished or the run is cancelled.
  public func run(_ requests: [GenerationRequest]) throws -> [GenerationResult] {
    try begin(requests)
    while !isFinished { try makeRound() }
    return results
  }

  /// `draft`, `select`, `verify`, `accept`, `commit`. A cancelled run stops between two of them and finishes all sequences.
  public func makeRound() throws {
    for verb in [draft, select, verify, accept, commit] {
      if cancel?.isCancelled == true { return finishAll() }
      try verb()
    }
  }

  /// What was made so far.
  public var results: [GenerationResult] { sequences.map(\.result) }

  // MARK: Verbs

  /// Reads the prompts with the target, which gives each sequence's first token, and with the drafter; then tells them.
  public func begin(_ requests: [GenerationRequest]) throws {
    start = monotonicSeconds()
    metrics = RunMetrics()
    promptLogits = []
    endRound()
    sequences = try requests.enumerated().map { try SequenceState($1, number: $0, target.model, options) }
    let rows = sequences.compactMap { sequence in
      sequence.cache.map { StepRows($0, sequence.tokens[$0.length...]) }
    }
    if rows.isEmpty { return }
    let total = rows.reduce(0) { $0 + $1.tokens.count }
    let draftTotal = drafter == nil ? 0 : sequences.reduce(0) { $0 + $1.tokens.count }
    let prefilled = try target.prefill(
      rows, function: options.prefillFunction, cancel: cancel,
      progress: { [onPrefill] done, _ in onPrefill?(done, total + draftTotal) })
    metrics.prefillSeconds = monotonicSeconds() - start
    guard prefilled.isComplete else { return finishAll() }
    metrics.prefillTokens = total
    promptLogits = prefilled.logits
    var firsts = Array(repeating: [Int32](), count: sequences.count)
    for index in sequences.indices where sequences[index].finish == nil {
      let first = try promptLogits[index].withUnsafeBufferPointer { logits in
        try choose(logits, sequences[index], position: sequences[index].tokens.count)
      }
      firsts[index] = sequences[index].append([first])
    }
    try rounds.begin(
      sequences.filter { $0.finish == nil }.compactMap { sequence in
        sequence.cache.map { (sequence.number, $0, Array(sequence.tokens.prefix(sequence.promptCount))) }
      })
    try beginDraft(prompts: total, total: total + draftTotal)
    for index in sequences.indices {
      if !firsts[index].isEmpty {
        let now = monotonicSeconds() - start
        metrics.timeToFirstToken = metrics.timeToFirstToken ?? now
        sequences[index].timeToFirstToken = now
      }
      tell(firsts[index], index)
    }
    targetBefore = target.traffic
    draftBefore = drafter?.traffic ?? CacheTraffic()
  }

  /// Has up to γ tokens proposed for each unfinished sequence.
  public func draft() throws {
    try timed {
      places = sequences.indices.filter { sequences[$0].finish == nil && sequences[$0].cache != nil }
      rounds.open(
        places.compactMap { index in
          let sequence = sequences[index]
          // The last token of a sequence needs no proposal: it is the bonus token or the correction.
          let wanted = drafter == nil ? 0 : max(0, min(options.gamma, sequence.room - 1))
          return sequence.cache.map {
            RoundShare(
              number: sequence.number, cache: $0, random: sequence.random, tokens: sequence.tokens, wanted: wanted)
          }
        })
      try rounds.draft()
    }
  }

  /// Chooses the positions that verification reads, if it does not read everything.
  public func select() throws { try timed { try rounds.select() } }

  /// Runs the target over each sequence's last token and its proposed ones.
  public func verify() throws {
    let before = rounds.metrics.verifySeconds
    try timed { try rounds.verify() }
    verifySeconds = rounds.metrics.verifySeconds - before
  }

  /// Decides how many proposed tokens stand and which token follows them.
  public func accept() throws {
    try timed {
      try rounds.accept()
      drafter?.learn(
        rounds.shares.compactMap { share in
          share.verdict.map {
            DraftOutcome(index: share.number, proposed: share.proposal.tokens.count, accepted: $0.accepted)
          }
        }, seconds: verifySeconds)
    }
  }

  /// Appends what stands, in the caches and in the sequences, and tells the caller.
  public func commit() throws {
    try timed {
      for (place, share) in rounds.shares.enumerated() {
        guard let verdict = share.verdict else { continue }
        let index = places[place]
        let kept = sequences[index].append(share.made[...])
        // The cache gets the token that was last before, and all new ones but the last.
        try rounds.commit(place, rows: kept.count)
        let accepted = min(verdict.accepted, kept.count)
        let drafted = share.proposal.tokens.count
        sequences[index].speculation.add(drafted: drafted, accepted: accepted, emitted: kept.count)
        metrics.speculation.add(drafted: drafted, accepted: accepted, emitted: kept.count)
        tell(kept, index)
      }
      endRound()
      metrics.targetTraffic = target.traffic - targetBefore
      metrics.draftTraffic = (drafter?.traffic ?? CacheTraffic()) - draftBefore
    }
  }

  // MARK: Parts of the verbs

  private func timed(_ verb: () throws -> Void) rethrows {
    let before = monotonicSeconds()
    try verb()
    metrics.decodeSeconds += monotonicSeconds() - before
    let parts = rounds.metrics
    metrics.draftSeconds = parts.draftSeconds
    metrics.selectSeconds = parts.selectSeconds
    metrics.verifySeconds = parts.verifySeconds
    metrics.acceptSeconds = parts.acceptSeconds
    metrics.denseRounds = parts.denseRounds
    metrics.signalCoverage = parts.coverageRounds > 0 ? parts.coverage / Double(parts.coverageRounds) : nil
  }

  private func endRound() {
    rounds.close()
    places = []
  }

  private func beginDraft(prompts: Int, total: Int) throws {
    let open = sequences.filter { $0.finish == nil }
    guard let drafter, cancel?.isCancelled != true else { return }
    let before = monotonicSeconds()
    try drafter.begin(
      open.map {
        DraftSequence(
          index: $0.number, prompt: Array($0.tokens.prefix($0.promptCount)), limit: $0.limit, random: $0.random,
          cache: $0.request.draftCache, targetCache: $0.cache)
      },
      DraftContext(
        sampling: options.sampling, endTokens: options.endTokens, cancel: cancel,
        progress: { [onPrefill] done, _ in onPrefill?(min(prompts + done, total), total) }))
    onPrefill?(total, total)
    metrics.draftPrefillSeconds = monotonicSeconds() - before
  }

  private func choose(
    _ logits: UnsafeBufferPointer<Float>, _ sequence: SequenceState, position: Int
  ) throws -> Int32 {
    if options.sampling.isGreedy { return try argMax(logits, of: "the target") }
    return try Distribution(logits: logits, sampling: options.sampling, of: "the target")
      .sample(sequence.random.uniform(.sample, position: position))
  }

  private func tell(_ tokens: [Int32], _ index: Int) {
    let finish = sequences[index].finish
    let text = sequences[index].releaseText()
    if finish != nil {
      sequences[index].cache = nil
      rounds.end(sequences[index].number)
      drafter?.end(sequences[index].number)
    }
    onEvent?(GenerationEvent(sequence: index, tokens: tokens, text: text, finish: finish))
  }

  private func finishAll() {
    endRound()
    for index in sequences.indices where sequences[index].finish == nil {
      sequences[index].finish = .cancelled
      tell([], index)
    }
  }
}
