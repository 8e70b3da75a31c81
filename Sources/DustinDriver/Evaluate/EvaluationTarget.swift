import DustinRuntime
import DustinSupport

/// A text that target and draft have read, for any number of forks.
///
/// The last token is not read: every way of verifying reads it by itself, and so has what it keeps of a row.
final class PreparedContext {
  /// All tokens, the last one included.
  let tokens: [Int32]
  /// Hold all tokens but the last. Nil for a text of one token.
  let target: KVCache?
  let draft: KVCache?

  init(tokens: [Int32], target: KVCache?, draft: KVCache?) {
    self.tokens = tokens
    self.target = target
    self.draft = draft
  }
}

/// What greedy decoding made of a prompt.
struct Continuation {
  var tokens: [Int32]
  var text: [UInt8]
  var metrics: RunMetrics
}

/// Positions of the cache that the verification of one round read, beside the ones behind them.
struct ReadSets {
  /// Ascending positions of each plane.
  var sets: [[Int32]]
  /// The set of each KV head of each layer; nil: it reads everything.
  var ofLayer: [[Int?]]
}

/// Rounds over a text that is given: the draft proposes and the set is chosen as in a real round, but the verified rows
/// are the text's tokens.
protocol ForcedRounds: AnyObject {
  /// Runs draft, selection and verification; nothing is committed.
  ///
  /// - Parameter rows: The last committed token, then the text's next ones.
  /// - Returns: The target's rows, valid until the next call.
  func verify(_ rows: [Int32]) throws -> StepResult
  /// Makes the first `count` rows of the last `verify` stay.
  func commit(_ count: Int) throws
  /// What the last `verify` read through; nil for a dense one.
  func sets() throws -> ReadSets?
}

/// A pair of models that verifies in one way, ready to run.
///
/// All targets of one evaluation share the layout of their caches, so that a text is read once and forked for each.
protocol EvaluationTarget: AnyObject {
  var mode: EvaluationMode { get }
  /// Continues the text of a context greedily.
  func generate(_ context: PreparedContext, maxNewTokens: Int, options: GenerationOptions) throws -> Continuation
  /// - Parameter positions: The most tokens of text and rows together.
  func rounds(_ context: PreparedContext, positions: Int, gamma: Int) throws -> any ForcedRounds
}

/// Loads a target and a draft that verify as a preset says. Weights are shared, and so are the layouts of the caches.
typealias PairFactory = (_ preset: String) throws -> (target: LoadedModel, draft: LoadedModel?)

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
    var drafter: (any Drafter)?
    if options.gamma > 0, let draftEngine, let draft {
      drafter = try ModelDrafter(engine: draftEngine, contextSize: draft.contextSize)
    }
    let loop = try SpeculativeLoop(target: targetEngine, drafter: drafter, options: options, cancel: interruption)
    let request = GenerationRequest(
      prompt: context.tokens, maxNewTokens: maxNewTokens, id: 0,
      targetCache: try context.target.map { try fork($0, for: target, positions: positions) },
      draftCache: try draft.flatMap { draft in try context.draft.map { try fork($0, for: draft, positions: positions) }
      })
    let results = try loop.run([request])
    try checkInterruption()
    return Continuation(tokens: results[0].tokens, text: results[0].text, metrics: loop.metrics)
  }

  func rounds(_ context: PreparedContext, positions: Int, gamma: Int) throws -> any ForcedRounds {
    let cache =
      try context.target.map { try fork($0, for: target, positions: positions) }
      ?? KVCache(target.compiled, positions: positions)
    return DenseRounds(engine: targetEngine, cache: cache)
  }

  /// A copy that this target's program may write. The draft's copy may be shorter than asked for, as its context is.
  private func fork(_ cache: KVCache, for model: LoadedModel, positions: Int) throws -> KVCache {
    guard cache.model === model.compiled else {
      throw DiagnosticError("cache", "the caches of '\(mode.text)' cannot be shared with dense verification")
    }
    return try cache.fork(positions: max(cache.length + 1, min(positions, model.contextSize)))
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

  func verify(_ rows: [Int32]) throws -> StepResult { try engine.step("verify", [StepRows(cache, rows)]) }
  func commit(_ count: Int) throws { try cache.commit(count) }
  func sets() throws -> ReadSets? { nil }
}
