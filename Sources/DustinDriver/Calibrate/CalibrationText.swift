import DustinRunner
import DustinRuntime
import DustinSupport

/// A text that every candidate is measured on: what dense verification makes of it is known.
struct CalibrationText {
  /// Texts of one group are averaged before groups are.
  enum Group: Hashable {
    case prose(length: Int)
    case retrieval
  }
  let group: Group
  /// With caches of the first candidate's programs, and room for what follows.
  let context: PreparedContext
  /// What the forced rounds verify: the book's own text, or the answer.
  let continuation: [Int32]
  /// Nil for prose.
  let prompt: EvaluationPrompt?
  /// Tokens to generate freely.
  let newTokens: Int
  let dense: DenseLogits
  /// Greedy text of dense verification.
  let denseOutput: Continuation
  /// Dense attention of some rounds, by their first row.
  let rounds: [Int: RecoveryProbe.Round]
}

/// Has dense models read the texts, and notes what heads look at while answers are given.
struct CalibrationReader {
  let plan: CalibrationPlan
  let session: EvaluationSession
  let programs: CandidatePrograms
  let first: Candidate
  let forcesProgress: Bool

  /// Nil scores: the prompts say nothing about heads, since none was answered with a value of one place.
  struct Read {
    var texts: [CalibrationText] = []
    var target: HeadScores?
    var draft: HeadScores?
  }

  /// - Parameter wantsHeads: False leaves the scores of heads out.
  func read(_ books: [Book], wantsHeads: Bool) throws -> Read {
    let windows = try plan.proseLengths.flatMap { length in
      try BookWindow.spread(
        over: books, count: plan.windows, length: length, continuation: plan.tokens,
        decode: { session.tokenizer.decode($0, skipSpecial: true) })
    }
    let generator = RetrievalGenerator(books: books, tokenizer: session.tokenizer, seed: plan.seed)
    let prompts = try plan.promptLengths.flatMap { length in
      try generator.prompts(length: length, count: plan.prompts).filter { !$0.isCopy }
    }
    var bar = ProgressBar("reading", unit: "texts", isForced: forcesProgress)
    defer { bar.clear() }
    let total = windows.count + prompts.count
    var result = Read()
    let targetProbe = try RecoveryProbe(session.base, gamma: plan.gamma)
    let draftProbe = try session.base.draft.map {
      try RecoveryProbe(path: $0.path, options: session.base.options, team: session.base.targetEngine.team, gamma: 0)
    }
    var sums = (target: HeadScoreSum(), draft: HeadScoreSum())
    for prompt in prompts {
      bar.update(result.texts.count, of: total)
      let context = try session.prepare(prompt.tokens)
      if wantsHeads, let value = prompt.valueTokens(bytes: { session.tokenizer.bytes(of: $0) ?? [] }) {
        try targetProbe.read(context, continuation: prompt.answerTokens)
        sums.target.add(try targetProbe.masses(on: value), rows: prompt.answerTokens.count)
        if let draftProbe {
          try draftProbe.read(
            PreparedContext(tokens: context.tokens, target: context.draft, draft: nil),
            continuation: prompt.answerTokens)
          sums.draft.add(try draftProbe.masses(on: value), rows: prompt.answerTokens.count)
        }
      }
      result.texts.append(
        try text(
          .retrieval, context, prompt.answerTokens, prompt: prompt, newTokens: prompt.maxNewTokens, rounds: { _ in [:] }
        ))
    }
    let shortest = plan.proseLengths.min()
    for window in windows {
      bar.update(result.texts.count, of: total)
      let context = try session.prepare(window.context)
      let looksAtAttention = window.context.count == shortest
      result.texts.append(
        try text(
          .prose(length: window.context.count), context, window.continuation, prompt: nil, newTokens: plan.generated
        ) { starts in
          guard looksAtAttention else { return [:] }
          try targetProbe.read(context, continuation: window.continuation)
          return try Dictionary(uniqueKeysWithValues: starts.map { ($0, try targetProbe.round(at: $0)) })
        })
    }
    bar.update(total, of: total)
    result.target = sums.target.scores
    result.draft = sums.draft.scores
    return result
  }

  private func text(
    _ group: CalibrationText.Group, _ context: PreparedContext, _ continuation: [Int32], prompt: EvaluationPrompt?,
    newTokens: Int, rounds: ([Int]) throws -> [Int: RecoveryProbe.Round]
  ) throws -> CalibrationText {
    try checkInterruption()
    let task = PerplexityTask(session: session, context: context, continuation: continuation)
    let dense = try task.denseLogits()
    let output = try session.base.generate(context, maxNewTokens: newTokens, options: session.options())
    let looked = try rounds(task.roundStarts(count: plan.recoveryRounds))
    let positions = context.tokens.count + max(continuation.count, newTokens) + plan.gamma + 2
    // The dense programs' caches end here; what stays is as the first candidate keeps it.
    let kept = PreparedContext(
      tokens: context.tokens,
      target: try context.target?.fork(for: programs.targetModel(first).compiled, positions: positions),
      draft: try context.draft?.fork(for: programs.draftModel(first).compiled, positions: positions))
    return CalibrationText(
      group: group, context: kept, continuation: continuation, prompt: prompt, newTokens: newTokens, dense: dense,
      denseOutput: output, rounds: looked)
  }
}
