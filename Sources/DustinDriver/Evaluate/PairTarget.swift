import DustinRuntime
import DustinSupport

/// Two compiled models, of which the target's program says how it verifies.
final class PairTarget: EvaluationTarget {
  let mode: EvaluationMode
  let target: LoadedModel
  let draft: LoadedModel?
  let targetEngine: Engine
  let draftEngine: Engine?
  /// How the models were compiled.
  let options: LoadOptions
  /// The text that was read last by these programs themselves, for contexts that cannot be forked.
  private weak var ownContext: PreparedContext?
  private var own: (target: KVCache?, draft: KVCache?)

  init(
    _ mode: EvaluationMode, target: LoadedModel, draft: LoadedModel?, options: LoadOptions, team: ThreadTeam
  ) throws {
    self.mode = mode
    self.options = options
    self.target = target
    self.draft = draft
    targetEngine = try Engine(model: target.compiled, team: team)
    draftEngine = try draft.map { try Engine(model: $0.compiled, team: team) }
  }

  func generate(
    _ context: PreparedContext, maxNewTokens: Int, options: GenerationOptions
  ) throws -> Continuation {
    let positions = min(target.contextSize, context.tokens.count + maxNewTokens)
    var drafter: (any Drafter)?
    if options.gamma > 0 { drafter = try makeDrafter() }
    let loop = try SpeculativeLoop(target: targetEngine, drafter: drafter, options: options, cancel: interruption)
    let caches = try fork(context, positions: positions)
    let results = try loop.run([
      GenerationRequest(
        prompt: context.tokens, maxNewTokens: maxNewTokens, id: 0, targetCache: caches.target,
        draftCache: drafter == nil ? nil : caches.draft)
    ])
    try checkInterruption()
    return Continuation(tokens: results[0].tokens, text: results[0].text, metrics: loop.metrics)
  }

  func rounds(_ context: PreparedContext, positions: Int, gamma: Int) throws -> any ForcedRounds {
    let positions = min(positions, target.contextSize)
    let caches = try fork(context, positions: positions)
    let cache = try caches.target ?? KVCache(target.compiled, positions: positions)
    if mode.isDense { return DenseRounds(engine: targetEngine, cache: cache) }
    return try PairRounds(
      self, cache: cache, draftCache: caches.draft, tokens: Array(context.tokens.dropLast()), positions: positions,
      gamma: gamma)
  }

  func makeDrafter() throws -> (any Drafter)? {
    guard let draftEngine, let draft else { return nil }
    return try ModelDrafter(engine: draftEngine, contextSize: draft.contextSize)
  }

  // MARK: Caches

  /// Caches of a context that these programs may write.
  private func fork(_ context: PreparedContext, positions: Int) throws -> (target: KVCache?, draft: KVCache?) {
    var caches = (target: context.target, draft: context.draft)
    let fits =
      (caches.target?.model ?? target.compiled) === target.compiled
      && (draft == nil || caches.draft.map { $0.model === draft?.compiled } ?? true)
    if !fits { caches = try read(context) }
    func copy(_ cache: KVCache?, of model: LoadedModel?) throws -> KVCache? {
      guard let cache, let model else { return nil }
      // A draft's context may be shorter than the text.
      return try cache.fork(positions: max(cache.length + 1, min(positions, model.contextSize)))
    }
    return (try copy(caches.target, of: target), try copy(caches.draft, of: draft))
  }

  /// Reads a context with these programs, once for all that is done with it.
  private func read(_ context: PreparedContext) throws -> (target: KVCache?, draft: KVCache?) {
    if ownContext === context { return own }
    func read(_ engine: Engine?, _ model: LoadedModel?, like other: KVCache?) throws -> KVCache? {
      guard let engine, let model, other != nil else { return nil }
      let cache = try KVCache(model.compiled, positions: context.tokens.count)
      let done = try engine.prefill(
        [StepRows(cache, context.tokens.dropLast())], wantLogits: false, cancel: interruption)
      if !done.isComplete { throw Interrupted() }
      return cache
    }
    // The memory of the last text first: long caches are large.
    own = (nil, nil)
    own = (
      try read(targetEngine, target, like: context.target), try read(draftEngine, draft, like: context.draft)
    )
    ownContext = context
    return own
  }
}

/// Dense verification reads everything whatever the draft proposes: no draft is run.
final class DenseRounds: ForcedRounds {
  private let engine: Engine
  private let cache: KVCache

  init(engine: Engine, cache: KVCache) {
    self.engine = engine
    self.cache = cache
  }

  func verify(_ rows: [Int32]) throws -> VerifiedRows {
    VerifiedRows(step: try engine.step("verify", [StepRows(cache, rows)]))
  }
  func commit(_ count: Int) throws { try cache.commit(count) }
  func sets() throws -> ReadSets? { nil }
}
