import DustinIR
import DustinPasses
import DustinRunner
import DustinRuntime
import DustinSupport

/// A candidate's two programs, on texts that others have read.
///
/// The text's own caches are written behind the text and cut back before each use, so that candidates with the same
/// program share them; other programs get copies.
final class CandidateTarget: EvaluationTarget {
  let pair: PairTarget
  var mode: EvaluationMode { pair.mode }
  /// The last text, with the caches in these programs' form.
  private var current: (context: PreparedContext, target: KVCache?, draft: KVCache?)?

  init(_ pair: PairTarget) { self.pair = pair }

  /// Gives back the copies of the last text.
  func forget() { current = nil }

  private func caches(_ context: PreparedContext) throws -> (target: KVCache?, draft: KVCache?) {
    if current?.context !== context {
      current = nil
      func own(_ cache: KVCache?, _ model: LoadedModel?) throws -> KVCache? {
        guard let cache, let model else { return nil }
        cache.truncate(to: context.tokens.count - 1)
        return cache.model === model.compiled ? cache : try cache.fork(for: model.compiled)
      }
      current = (context, try own(context.target, pair.target), try own(context.draft, pair.draft))
    }
    current?.target?.truncate(to: context.tokens.count - 1)
    current?.draft?.truncate(to: context.tokens.count - 1)
    return (current?.target, current?.draft)
  }

  func generate(
    _ context: PreparedContext, maxNewTokens: Int, options: GenerationOptions
  ) throws -> Continuation {
    try pair.generate(context, maxNewTokens: maxNewTokens, options: options, on: caches(context))
  }

  func rounds(_ context: PreparedContext, positions: Int, gamma: Int) throws -> any ForcedRounds {
    let caches = try caches(context)
    let cache = try caches.target ?? KVCache(pair.target.compiled, positions: positions)
    return try PairRounds(
      pair, cache: cache, draftCache: caches.draft, tokens: Array(context.tokens.dropLast()), positions: positions,
      gamma: gamma)
  }
}

/// Compiles the programs of candidates, each once as long as it is in use.
final class CandidatePrograms {
  private let target: String
  private let draft: String
  private let options: LoadOptions
  private let team: ThreadTeam
  private let budget: Int
  private var targets: [String: LoadedModel] = [:]
  private var drafts: [String: LoadedModel] = [:]
  /// The programs that all texts are kept for; they stay.
  private let firstTarget: String
  private let firstDraft: String

  init(target: String, draft: String, options: LoadOptions, team: ThreadTeam, first: Candidate, budget: Int) {
    self.target = target
    self.draft = draft
    self.options = options
    self.team = team
    self.budget = budget
    firstTarget = first.forTarget(budget: budget).pipeline(for: .target)
    firstDraft = first.forDraft(budget: budget).pipeline(for: .draft)
  }

  func pair(_ candidate: Candidate) throws -> PairTarget {
    let mode = EvaluationMode(text: candidate.text(budget: budget), preset: "dustin", budget: budget)
    return try PairTarget(
      mode, target: targetModel(candidate), draft: draftModel(candidate), options: options, team: team)
  }

  func targetModel(_ candidate: Candidate) throws -> LoadedModel {
    try model(target, .target, candidate.forTarget(budget: budget), &targets, kept: firstTarget)
  }

  func draftModel(_ candidate: Candidate) throws -> LoadedModel {
    try model(draft, .draft, candidate.forDraft(budget: budget), &drafts, kept: firstDraft)
  }

  private func model(
    _ path: String, _ role: ModelRole, _ preset: DustinPreset, _ known: inout [String: LoadedModel], kept: String
  ) throws -> LoadedModel {
    let key = preset.pipeline(for: role == .draft ? .draft : .target)
    if let model = known[key] { return model }
    // The others' memory is free before this one needs it.
    known = known.filter { $0.key == kept }
    try checkInterruption()
    var options = options
    options.preset = PassPipeline.text(of: preset)
    let made = try LoadedModel(path: path, role: role, options: options)
    known[key] = made
    return made
  }
}
