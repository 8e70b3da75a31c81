import DustinSupport

/// Continues sequences: `begin`, then rounds of `draft`, `verify`, `accept` and `commit`. Plain decoding is the same loop
/// with nothing drafted, so that a greedy run makes the same tokens with any drafter.
///
/// The sequences of a run go in lockstep and share the reading of the weights; each has its own state, random numbers and
/// γ, so that what it says does not depend on the others. Whatever is thrown, or when the run is cancelled, the state is
/// that of the last commit.
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
  private var round: [RoundShare] = []
  private var verified: StepResult?
  private var targetBefore = CacheTraffic()
  private var draftBefore = CacheTraffic()
  private var start = 0.0

  /// A sequence's part in a round.
  private struct RoundShare {
    var sequence: Int
    var proposal = Proposal()
    var verdict: Verdict?
  }

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
    for name in [options.prefillFunction, options.verifyFunction] {
      _ = try target.model.function(name).result("logits")
    }
    self.target = target
    self.drafter = options.gamma > 0 ? drafter : nil
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

  /// `draft`, `verify`, `accept`, `commit`. A cancelled run stops between two of them and finishes all sequences.
  public func makeRound() throws {
    for verb in [draft, verify, accept, commit] {
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
    round = []
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
    let before = monotonicSeconds()
    verified = nil
    round = sequences.indices.filter { sequences[$0].finish == nil }.map { RoundShare(sequence: $0) }
    if let drafter {
      // The last token of a sequence needs no proposal: it is the bonus token or the correction.
      let wishes = round.indices.compactMap { place -> (place: Int, wish: DraftWish)? in
        let sequence = sequences[round[place].sequence]
        let count = min(options.gamma, sequence.room - 1)
        return count < 1
          ? nil : (place, DraftWish(index: sequence.number, tokens: sequence.tokens, count: count))
      }
      let proposals = wishes.isEmpty ? [] : try drafter.propose(wishes.map(\.wish))
      guard proposals.count == wishes.count else {
        throw DiagnosticError("proposal", "the drafter made \(proposals.count) proposals for \(wishes.count) sequences")
      }
      for ((place, wish), proposal) in zip(wishes, proposals) {
        round[place].proposal.tokens = Array(proposal.tokens.prefix(wish.count))
        round[place].proposal.distributions = Array(proposal.distributions.prefix(wish.count))
      }
    }
    metrics.draftSeconds += monotonicSeconds() - before
    metrics.decodeSeconds += monotonicSeconds() - before
  }

  /// Runs the target over each sequence's last token and its proposed ones.
  public func verify() throws {
    if round.isEmpty { return }
    let before = monotonicSeconds()
    let vocabulary = try target.model.function(options.verifyFunction).vocabulary
    verified = try target.step(
      options.verifyFunction,
      round.compactMap { share in
        let sequence = sequences[share.sequence]
        // A token that the target does not know cannot be fed; nor need it be, since it will be rejected.
        let known = share.proposal.tokens.prefix { 0 <= $0 && Int($0) < vocabulary }
        return sequence.cache.map { StepRows($0, sequence.tokens.suffix(1) + known) }
      })
    metrics.verifySeconds += monotonicSeconds() - before
    metrics.decodeSeconds += monotonicSeconds() - before
  }

  /// Decides how many proposed tokens stand and which token follows them.
  public func accept() throws {
    guard let verified else { return }
    let before = monotonicSeconds()
    for place in round.indices {
      let sequence = sequences[round[place].sequence]
      if options.sampling.isGreedy {
        round[place].verdict = try Acceptance.greedy(round[place].proposal.tokens) { row in
          try argMax(verified.logits(sequence: place, row: row), of: "the target")
        }
      } else {
        round[place].verdict = try Acceptance.sampled(
          round[place].proposal, position: sequence.tokens.count, random: sequence.random
        ) { row in
          try Distribution(
            logits: verified.logits(sequence: place, row: row), sampling: options.sampling, of: "the target")
        }
      }
    }
    metrics.acceptSeconds += monotonicSeconds() - before
    metrics.decodeSeconds += monotonicSeconds() - before
  }

  /// Appends what stands, in the caches and in the sequences, and tells the caller.
  public func commit() throws {
    let before = monotonicSeconds()
    for share in round {
      guard let verdict = share.verdict else { continue }
      let tokens = share.proposal.tokens.prefix(verdict.accepted) + [verdict.next]
      let kept = sequences[share.sequence].append(tokens)
      // The cache gets the token that was last before, and all new ones but the last.
      try sequences[share.sequence].cache?.commit(kept.count)
      let accepted = min(verdict.accepted, kept.count)
      let drafted = share.proposal.tokens.count
      sequences[share.sequence].speculation.add(drafted: drafted, accepted: accepted, emitted: kept.count)
      metrics.speculation.add(drafted: drafted, accepted: accepted, emitted: kept.count)
      tell(kept, share.sequence)
    }
    round = []
    verified = nil
    metrics.targetTraffic = target.traffic - targetBefore
    metrics.draftTraffic = (drafter?.traffic ?? CacheTraffic()) - draftBefore
    metrics.decodeSeconds += monotonicSeconds() - before
  }

  // MARK: Parts of the verbs

  private func beginDraft(prompts: Int, total: Int) throws {
    let open = sequences.filter { $0.finish == nil }
    guard let drafter, cancel?.isCancelled != true else { return }
    let before = monotonicSeconds()
    try drafter.begin(
      open.map {
        DraftSequence(
          index: $0.number, prompt: Array($0.tokens.prefix($0.promptCount)), limit: $0.limit, random: $0.random,
          cache: $0.request.draftCache)
      },
      DraftContext(
        sampling: options.sampling, cancel: cancel,
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
      drafter?.end(sequences[index].number)
    }
    onEvent?(GenerationEvent(sequence: index, tokens: tokens, text: text, finish: finish))
  }

  private func finishAll() {
    round = []
    verified = nil
    for index in sequences.indices where sequences[index].finish == nil {
      sequences[index].finish = .cancelled
      tell([], index)
    }
  }
}
