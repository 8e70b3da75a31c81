import DustinRunner
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
    return try generate(
      context, maxNewTokens: maxNewTokens, options: options, on: try fork(context, positions: positions))
  }

  /// The same on caches that hold all of the context but its last token; they grow.
  func generate(
    _ context: PreparedContext, maxNewTokens: Int, options: GenerationOptions,
    on caches: (target: KVCache?, draft: KVCache?)
  ) throws -> Continuation {
    var drafter: (any Drafter)?
    if options.gamma > 0 { drafter = try makeDrafter() }
    let loop = try SpeculativeLoop(target: targetEngine, drafter: drafter, options: options, cancel: interruption)
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
    func copy(_ cache: KVCache?, for model: LoadedModel?) throws -> KVCache? {
      guard let cache, let model else { return nil }
      // A draft's context may be shorter than the text.
      return try cache.fork(for: model.compiled, positions: max(cache.length + 1, min(positions, model.contextSize)))
    }
    return (try copy(context.target, for: target), try copy(context.draft, for: draft))
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
