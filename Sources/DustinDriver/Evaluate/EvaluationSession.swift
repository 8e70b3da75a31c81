import DustinRunner
import DustinRuntime
import DustinSupport
import DustinText

/// Targets to compare, the first of which is dense, and how they read texts.
final class EvaluationSession {
  /// The pair that reads all texts, densely.
  let base: PairTarget
  /// The base first.
  let targets: [any EvaluationTarget]
  let tokenizer: Tokenizer
  /// Tokens drafted a round.
  let gamma: Int
  /// Show progress although standard error is no terminal.
  let forcesProgress: Bool
  private var previous: PreparedContext?

  init(
    base: PairTarget, others: [any EvaluationTarget], tokenizer: Tokenizer, gamma: Int, forcesProgress: Bool = false
  ) {
    self.base = base
    targets = [base] + others
    self.tokenizer = tokenizer
    self.gamma = gamma
    self.forcesProgress = forcesProgress
  }

  var contextSize: Int { base.target.contextSize }

  /// Options of greedy decoding that no token ends.
  func options(gamma: Int? = nil) -> GenerationOptions {
    var options = GenerationOptions()
    options.gamma = gamma ?? self.gamma
    options.contextSize = base.target.contextSize
    options.tokenBytes = { [tokenizer] in tokenizer.isSpecial($0) ? [] : tokenizer.bytes(of: $0) ?? [] }
    return options
  }

  /// Has target and draft read a text, all but its last token. What the text before had in common with it is not read
  /// again: its keys and values are the same bits.
  ///
  /// - Throws: `Interrupted` after Ctrl-C, else as `Engine.prefill`.
  func prepare(_ tokens: [Int32], progress: ((_ done: Int, _ total: Int) -> Void)? = nil) throws -> PreparedContext {
    guard let last = tokens.indices.last else { throw DiagnosticError("prompt", "a text to evaluate is empty") }
    guard tokens.count <= contextSize else {
      throw DiagnosticError(
        "context",
        "a text to evaluate has \(grouped(tokens.count)) tokens, more than the context of \(grouped(contextSize))")
    }
    if last == 0 { return PreparedContext(tokens: tokens, target: nil, draft: nil) }
    let shared = min(
      zip(previous?.tokens ?? [], tokens).prefix { $0 == $1 }.count, last - 1, (previous?.tokens.count ?? 1) - 1)
    // Else its memory is free before the new text takes as much.
    let before = shared > last / 2 ? previous : nil
    previous = nil
    func read(_ engine: Engine, _ model: LoadedModel, _ known: KVCache?) throws -> KVCache? {
      if tokens.count > model.contextSize { return nil }
      let cache: KVCache
      if let known {
        cache = try known.fork(for: model.compiled, positions: max(known.length, tokens.count))
        cache.truncate(to: shared)
      } else {
        cache = try KVCache(model.compiled, positions: tokens.count)
      }
      let done = try engine.prefill(
        [StepRows(cache, tokens[cache.length..<last])], wantLogits: false, cancel: interruption, progress: progress)
      if !done.isComplete { throw Interrupted() }
      return cache
    }
    let target = try read(base.targetEngine, base.target, before?.target)
    var draft: KVCache?
    if let engine = base.draftEngine, let model = base.draft {
      draft = try read(engine, model, before?.draft)
    }
    let context = PreparedContext(tokens: tokens, target: target, draft: draft)
    previous = context
    return context
  }
}
