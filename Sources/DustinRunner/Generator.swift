import DustinRuntime
import DustinSupport

/// Runs prompts through a loaded pair, a batch at a time.
package final class Generator {
  package let pair: RunnablePair
  package let team: ThreadTeam
  package var options: GenerationOptions
  /// Called with a number of the prompt and news of it.
  package var onEvent: ((Int, GenerationEvent) -> Void)?
  /// Called after the first tokens and after every round in which a sequence ended, with what there is so far.
  package var onEnd: ((Batch) throws -> Void)?
  /// Show how far prompts are read although standard error is no terminal.
  package var forcesProgress = false
  /// Sparse verification only proposes, and a dense pass decides.
  package var isExact = false
  /// Stops the runs: with Ctrl-C, or by itself.
  package let cancel = CancelFlag(following: interruption)
  private let target: Engine
  private let draft: Engine?
  /// What sparse programs call the exact function.
  private let dense = "dense"

  /// One batch: the results in the order of its prompts, and the logits behind each prompt.
  package struct Batch {
    package let results: [GenerationResult]
    package let promptLogits: [[Float]]
    package let metrics: RunMetrics
    /// Of the middle level of an exact run with a preset.
    package let stack: StackDrafter.Metrics?
  }

  package init(_ pair: RunnablePair, team: ThreadTeam, options: GenerationOptions) throws {
    self.pair = pair
    self.team = team
    self.options = options
    target = try Engine(model: pair.target.compiled, team: team)
    draft = try pair.draft.map { try Engine(model: $0.compiled, team: team) }
  }

  /// Verification reads everything with or without `isExact`.
  package var isDense: Bool {
    let program = pair.target.compiled.program
    return program.function(dense) == nil && program.function(options.verifyFunction)?.isExact == true
  }

  /// Throws, before anything is computed, when a prompt does not fit into the context or holds an unknown token.
  package func check(_ prompts: [Prompt]) throws {
    let limit = pair.target.contextSize
    let vocabulary = pair.target.vocabularySize
    for prompt in prompts {
      let name = prompt.id.map { "the prompt \($0.text)" } ?? "the prompt"
      guard !prompt.tokens.isEmpty else { throw DiagnosticError("prompt", "\(name) is empty", at: prompt.range) }
      guard prompt.tokens.count <= limit else {
        let made = pair.target.contextLength
        throw DiagnosticError(
          "context",
          "\(name) has \(grouped(prompt.tokens.count)) tokens, more than the context of \(grouped(limit)) tokens",
          at: prompt.range,
          notes: limit < made ? [.note("-c may be up to \(grouped(made)) with this model")] : [])
      }
      if let index = prompt.tokens.firstIndex(where: { Int($0) >= vocabulary }) {
        let token = prompt.tokens[index]
        throw DiagnosticError(
          "token", "\(name) holds the token \(token), but the vocabulary has \(vocabulary) tokens",
          at: index < prompt.idRanges.count ? prompt.idRanges[index] : prompt.range)
      }
    }
  }

  /// - Parameters:
  ///   - caches: of the prompts, in order, to continue from; empty for none.
  ///   - drafts: false for plain decoding.
  ///   - first: the number of the first prompt, which keys its random numbers.
  /// - Throws: `Interrupted` after Ctrl-C.
  package func run(
    _ prompts: [Prompt], maxNewTokens: Int, first: Int = 0, drafts: Bool = true,
    targetCaches: [KVCache] = [], draftCaches: [KVCache] = []
  ) throws -> Batch {
    var drafter: (any Drafter)?
    var options = options
    var middle: StackDrafter?
    if drafts, let draft, let model = pair.draft {
      let proposer = try ModelDrafter(engine: draft, contextSize: model.contextSize)
      drafter = proposer
      if isExact, options.gamma > 0, pair.target.compiled.program.function(dense) != nil {
        var levels = StackDrafter.Options()
        levels.gamma = options.gamma
        middle = try StackDrafter(target: target, inner: proposer, options: levels)
        options.gamma = middle?.blockLimit ?? options.gamma
        drafter = middle
      }
    }
    if isExact, pair.target.compiled.program.function(dense) != nil { options.verifyFunction = dense }
    if isExact { try requireExact(pair.target.compiled.program, function: options.verifyFunction) }
    let loop = try SpeculativeLoop(target: target, drafter: drafter, options: options, cancel: cancel)
    var bar = ProgressBar("reading", unit: "tokens", isForced: forcesProgress)
    defer { bar.clear() }
    let promptTokens = prompts.reduce(0) { $0 + $1.tokens.count }
    loop.onPrefill = { done, total in
      // Target and draft both read the prompt; people count it once. What is in a cache is not read.
      if min(promptTokens, total) > 1024 { bar.update(done * promptTokens / total, of: promptTokens) }
    }
    var someEnded = false
    loop.onEvent = { [onEvent] event in
      if event.finish != nil { someEnded = true }
      // Both models have read the prompts: the bar does not come back.
      bar.clear()
      onEvent?(first + event.sequence, event)
    }
    let requests = prompts.enumerated().map { index, prompt in
      GenerationRequest(
        prompt: prompt.tokens, maxNewTokens: prompt.maxNewTokens ?? maxNewTokens, id: UInt64(first + index),
        targetCache: index < targetCaches.count ? targetCaches[index] : nil,
        draftCache: index < draftCaches.count ? draftCaches[index] : nil)
    }
    func batch() -> Batch {
      Batch(results: loop.results, promptLogits: loop.promptLogits, metrics: loop.metrics, stack: middle?.metrics)
    }
    try loop.begin(requests)
    while true {
      // Behind the whole round, whose figures are then complete.
      if someEnded { try onEnd?(batch()) }
      if loop.isFinished { break }
      someEnded = false
      try loop.makeRound()
    }
    try checkInterruption()
    return batch()
  }
}
