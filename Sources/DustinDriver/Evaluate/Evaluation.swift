import DustinRunner
import DustinRuntime
import DustinSupport

/// The figures of all targets at all lengths, as they come in. A prompt or window counts when all targets have done it.
final class Evaluation {
  let session: EvaluationSession
  var state: EvaluationState
  /// Where the state is kept after every prompt and window; nil: nowhere.
  var file: String?
  /// Perplexity is shown by the word too: it is of texts that others tokenize in other ways.
  var showsWordPerplexity = false

  /// - Parameter state: What an earlier run has done.
  init(_ session: EvaluationSession, state: EvaluationState = EvaluationState(settings: [])) {
    self.session = session
    self.state = state
  }

  var cells: [EvaluationCell] { state.cells }
  var plain: [Int: SpeedTally] { state.plain }
  var longBench: [LongBenchTally] { state.longBench }
  var hasFigures: Bool { !cells.isEmpty || !longBench.isEmpty }
  var lengths: [Int] { Set(cells.map(\.length)).sorted() }

  func cell(_ mode: EvaluationMode, _ length: Int) -> EvaluationCell? {
    cells.first { $0.mode == mode && $0.length == length }
  }

  func isDone(_ name: String) -> Bool { state.done.contains(name) }

  /// The name, and a number where a list holds it more than once: each of them counts.
  private func numbered(_ name: String, _ seen: inout [String: Int]) -> String {
    let count = seen[name, default: 0] + 1
    seen[name] = count
    return count == 1 ? name : "\(name) #\(count)"
  }

  /// All targets have done a prompt or a window.
  func finish(_ name: String) throws {
    state.done.insert(name)
    if let file { try state.write(to: file) }
  }

  private func update(_ target: any EvaluationTarget, _ length: Int, _ change: (inout EvaluationCell) -> Void) {
    if let index = state.cells.firstIndex(where: { $0.mode == target.mode && $0.length == length }) {
      return change(&state.cells[index])
    }
    var cell = EvaluationCell(mode: target.mode, length: length)
    change(&cell)
    state.cells.append(cell)
  }

  private func sameLength(_ prompts: [EvaluationPrompt]) -> String {
    let lengths = Set(prompts.map(\.length))
    return lengths.count == 1 ? " of \(grouped(lengths.first ?? 0))" : ""
  }

  // MARK: Retrieval

  /// Asks every target the same questions; each text is read once.
  ///
  /// - Throws: `Interrupted` after Ctrl-C; what is done by then is in `cells`.
  func retrieval(_ prompts: [EvaluationPrompt]) throws {
    var progress = PartProgress(
      "retrieval\(sameLength(prompts))", prompts.count, unit: "prompt", isAsked: session.forcesProgress)
    defer { progress.clear() }
    var seen: [String: Int] = [:]
    for (number, prompt) in prompts.enumerated() {
      try checkInterruption()
      let name = numbered("prompt \(prompt.length) \(prompt.id)", &seen)
      if isDone(name) {
        progress.skip(number + 1)
        continue
      }
      let context = try session.prepare(prompt.tokens)
      let outputs = try session.targets.map {
        try $0.generate(context, maxNewTokens: prompt.maxNewTokens, options: session.options())
      }
      for (target, output) in zip(session.targets, outputs) {
        update(target, prompt.length) {
          $0.retrieval = $0.retrieval ?? RetrievalTally()
          $0.retrieval?.add(prompt, output, dense: outputs[0])
          $0.answerSpeed = $0.answerSpeed ?? SpeedTally()
          $0.answerSpeed?.add(output.metrics)
        }
      }
      try finish(name)
      progress.finish(number + 1)
    }
  }

  // MARK: Windows of books

  /// What is done with each window.
  struct WindowTasks {
    var perplexity = false
    var recovery = false
    var drift = false
    /// Tokens of greedy output for drift.
    var driftTokens = 1024
    /// Rounds of each window whose attention is looked at.
    var recoveryRounds = 8
    /// Tokens of plain decoding for comparison.
    var plainTokens = 64
  }

  func windows(_ windows: [BookWindow], length: Int, tasks: WindowTasks) throws {
    let names = [(tasks.perplexity, "perplexity"), (tasks.recovery, "arr"), (tasks.drift, "drift")]
    var progress = PartProgress(
      "\(names.filter(\.0).map(\.1).joined(separator: ", ")) of \(grouped(length))", windows.count, unit: "window",
      isAsked: session.forcesProgress)
    defer { progress.clear() }
    let probe =
      tasks.recovery && session.targets.count > 1 ? try RecoveryProbe(session.base, gamma: session.gamma) : nil
    var seen: [String: Int] = [:]
    for (number, window) in windows.enumerated() {
      try checkInterruption()
      let name = numbered("window \(length) \(window.book) \(window.start)", &seen)
      if isDone(name) {
        progress.skip(number + 1)
        continue
      }
      let context = try session.prepare(window.context)
      if tasks.perplexity || probe != nil {
        try text(context, window, length, tasks, probe)
      }
      if tasks.drift { try drift(context, length, tasks) }
      try finish(name)
      progress.finish(number + 1)
    }
  }

  /// Perplexity of the given continuation, and the attention of some of its rounds.
  private func text(
    _ context: PreparedContext, _ window: BookWindow, _ length: Int, _ tasks: WindowTasks, _ probe: RecoveryProbe?
  ) throws {
    let task = PerplexityTask(session: session, context: context, continuation: window.continuation)
    let dense = try task.denseLogits()
    let looked = probe == nil ? [] : task.roundStarts(count: tasks.recoveryRounds)
    var scores: [[PerplexityTally.Token]] = []
    var sets: [[Int: ReadSets]] = []
    for target in session.targets {
      let (tokens, read) =
        target.mode.isDense
        ? (try task.denseScores(dense), [:]) : try task.scores(target, dense: dense, lookAt: Set(looked))
      scores.append(tokens)
      sets.append(read)
    }
    var measured: [(target: any EvaluationTarget, recovery: RecoveryProbe.Measured)] = []
    if let probe {
      try probe.read(context, continuation: window.continuation)
      for start in looked {
        try checkInterruption()
        let round = try probe.round(at: start)
        for (target, read) in zip(session.targets, sets) {
          if let set = read[start] { measured.append((target, round.measure(set))) }
        }
      }
    }
    if tasks.perplexity {
      for (target, tokens) in zip(session.targets, scores) {
        update(target, length) {
          $0.perplexity = $0.perplexity ?? PerplexityTally()
          $0.perplexity?.add(window: tokens, words: window.words)
        }
      }
    }
    for (target, recovery) in measured {
      update(target, length) {
        $0.recovery = $0.recovery ?? RecoveryTally()
        $0.recovery?.add(recovery)
      }
    }
  }

  private func drift(_ context: PreparedContext, _ length: Int, _ tasks: WindowTasks) throws {
    let room = session.contextSize - context.tokens.count
    let count = min(tasks.driftTokens, room)
    guard count > 0 else { return }
    let task = DriftTask(session: session, context: context)
    let outputs = try session.targets.map {
      try $0.generate(context, maxNewTokens: count, options: session.options())
    }
    let scores = try outputs.map { try task.score($0.tokens) }
    let plain = try session.base.generate(
      context, maxNewTokens: min(count, tasks.plainTokens), options: session.options(gamma: 0))
    state.plain[length, default: SpeedTally()].add(plain.metrics)
    for (number, target) in session.targets.enumerated() {
      let equal = zip(outputs[number].tokens, outputs[0].tokens).prefix { $0 == $1 }.count
      update(target, length) {
        $0.drift = $0.drift ?? DriftTally()
        $0.drift?.add(agrees: scores[number].agrees, loss: scores[number].loss, equalTokens: equal)
        $0.proseSpeed = $0.proseSpeed ?? SpeedTally()
        $0.proseSpeed?.add(outputs[number].metrics)
      }
    }
  }
}
