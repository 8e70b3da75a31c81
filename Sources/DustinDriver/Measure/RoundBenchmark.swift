import DustinRunner
import DustinRuntime
import DustinSupport

/// Whole rounds on real text: plain decoding, speculation with dense verification, a preset, and exact stacks, all behind
/// the same contexts, one after the other in one run.
///
/// Every sequence has a window of a book and caches of its own, read once. All ways run on the program that the preset
/// was compiled to: its `dense` function reads the packed blocks of the cache, which is the best layout for it.
struct RoundBenchmark {
  enum Way: String, CaseIterable {
    case plain
    case dense = "dense verification"
    case sparse = "sparse verification"
    case exact = "exact stack"
  }
  struct Line {
    let way: Way
    let length: Int
    let batch: Int
    /// Of the middle one of the runs.
    let metrics: RunMetrics
    let stack: StackDrafter.Metrics?
    /// Tokens a second of every run, ascending.
    let rates: [Double]
    /// Least seconds a token at this run's limits, with the acceptance and the bytes that were measured.
    let leastSecondsPerToken: Double

    /// The steps of a round, call by call; sparse rounds only.
    var steps: [Step] = []

    var rate: Double { rates[rates.count / 2] }
  }
  /// One function over all sequences of a batch.
  struct Step {
    let function: String
    /// Of each sequence; 0: it reads none.
    let rows: Int
    /// Seconds of each kernel family, the longest first.
    let kernels: [(name: String, seconds: Double)]

    var seconds: Double { kernels.reduce(0) { $0 + $1.seconds } }
  }
  private(set) var lines: [Line] = []

  let pair: ModelPair
  let numerics: NumericsChoice
  let rates: MachineLimits.Rates
  let tokens: Int
  let gamma: Int
  let runs: Int
  /// Contexts beyond this are copies of what was read up to it.
  let longestText: Int
  private let target: Engine
  private let draft: Engine?

  init(
    _ pair: ModelPair, numerics: NumericsChoice, rates: MachineLimits.Rates, team: ThreadTeam, tokens: Int, gamma: Int,
    runs: Int, longestText: Int
  ) throws {
    self.pair = pair
    self.numerics = numerics
    self.rates = rates
    self.tokens = tokens
    self.gamma = gamma
    self.runs = runs
    self.longestText = longestText
    func engine(_ model: LoadedModel, _ functions: [String]) throws -> Engine {
      try Engine(
        model: model.callByCall(functions.filter { model.compiled.program.function($0) != nil }), team: team)
    }
    target = try engine(pair.target, ["select", "verify"])
    draft = try pair.draft.map { try engine($0, ["draft", "look"]) }
  }

  private struct Sequence {
    let prompt: [Int32]
    let target: KVCache
    let draft: KVCache?
  }

  /// - Parameter windows: token windows of at least `length` tokens, as many as the largest batch.
  mutating func run(length: Int, batches: [Int], windows: [[Int32]], ways: [Way]) throws {
    let largest = batches.max() ?? 1
    // A block of an exact stack may overshoot the last token.
    let room = tokens + 16 * (gamma + 1)
    var bar = ProgressBar("reading \(grouped(length)) tokens", unit: "windows")
    defer { bar.clear() }
    var sequences: [Sequence] = []
    for number in 0..<largest {
      let text = Array(windows[number % windows.count].prefix(min(length, longestText)))
      func read(_ engine: Engine) throws -> KVCache {
        let cache = try KVCache(engine.model, positions: length + room)
        let done = try engine.prefill([StepRows(cache, text)], wantLogits: false, cancel: interruption)
        if !done.isComplete { throw Interrupted() }
        if length > text.count { try cache.repeatPositions(to: length) }
        return cache
      }
      let targetCache = try read(target)
      let draftCache = try draft.map(read)
      // Beyond the text the prompt repeats as the caches do.
      let prompt = (0..<length).map { text[$0 % (text.count / 16 * 16)] }
      sequences.append(
        Sequence(
          prompt: length > text.count ? Array(text + prompt[text.count...]) : text, target: targetCache,
          draft: draftCache))
      bar.update(number + 1, of: largest)
    }
    bar.clear()
    for batch in batches {
      for way in ways { try measure(way, sequences.prefix(batch), length: length) }
    }
  }

  private mutating func measure(_ way: Way, _ sequences: ArraySlice<Sequence>, length: Int) throws {
    var results: [(metrics: RunMetrics, stack: StackDrafter.Metrics?)] = []
    for _ in 0..<runs {
      try checkInterruption()
      var options = GenerationOptions()
      options.gamma = way == .plain ? 0 : gamma
      let program = pair.target.compiled.program
      if way != .sparse, program.function("dense") != nil { options.verifyFunction = "dense" }
      var drafter: (any Drafter)?
      var stack: StackDrafter?
      if way != .plain, let draft, let model = pair.draft {
        let inner = try ModelDrafter(engine: draft, contextSize: max(model.contextSize, length + tokens))
        drafter = inner
        if way == .exact {
          var levels = StackDrafter.Options()
          levels.gamma = gamma
          let middle = try StackDrafter(target: target, inner: inner, options: levels)
          options.gamma = middle.blockLimit
          (stack, drafter) = (middle, middle)
        }
      }
      let loop = try SpeculativeLoop(target: target, drafter: drafter, options: options, cancel: interruption)
      let requests = sequences.map { sequence in
        // The last position is computed again: it leaves what the first round needs.
        sequence.target.truncate(to: length - 1)
        sequence.draft?.truncate(to: length - 1)
        return GenerationRequest(
          prompt: sequence.prompt, maxNewTokens: tokens + 1, targetCache: sequence.target, draftCache: sequence.draft)
      }
      _ = try loop.run(requests)
      try checkInterruption()
      results.append((loop.metrics, stack?.metrics))
    }
    results.sort { $0.metrics.decodeTokensPerSecond < $1.metrics.decodeTokensPerSecond }
    let middle = results[results.count / 2]
    var line = Line(
      way: way, length: length, batch: sequences.count, metrics: middle.metrics, stack: middle.stack,
      rates: results.map(\.metrics.decodeTokensPerSecond),
      leastSecondsPerToken: least(way, middle.metrics, middle.stack, batch: sequences.count))
    if way == .sparse { line.steps = try callByCall(sequences) }
    lines.append(line)
  }

  /// The steps of a round behind what the last run wrote, through the sets that it chose last.
  private func callByCall(_ sequences: ArraySlice<Sequence>) throws -> [Step] {
    var steps: [Step] = []
    func measure(_ model: LoadedModel, _ engine: Engine, _ function: String, rows: Int, _ cache: (Sequence) -> KVCache?)
      throws
    {
      guard let compiled = model.compiled.program.function(function) else { return }
      let share = sequences.compactMap { sequence in
        cache(sequence).map { compiled.takesTokens ? StepRows($0, sequence.prompt.prefix(rows)) : StepRows($0) }
      }
      let kernels = try model.kernelSeconds(of: function, in: engine, share, runs: max(runs, 5))
      let read = compiled.takesTokens || compiled.arguments.contains { $0.role == "rows" } ? rows : 0
      steps.append(Step(function: function, rows: read, kernels: kernels))
    }
    if let model = pair.draft, let draft {
      try measure(model, draft, "draft", rows: 1) { $0.draft }
      let share = sequences.compactMap { sequence in
        sequence.draft.map { StepRows($0, sequence.prompt.prefix(gamma + 1)) }
      }
      // A full round's rows: the last round of a run may have had fewer.
      let ahead = try draft.step("draft", share)
      for sequence in share.indices { try ahead.keep(sequence: sequence, rows: 0..<gamma + 1) }
      try measure(model, draft, "look", rows: gamma + 1) { $0.draft }
    }
    try measure(pair.target, target, "select", rows: gamma + 1) { $0.target }
    try measure(pair.target, target, "verify", rows: gamma + 1) { $0.target }
    return steps
  }

  /// What bytes and operations need at the limits: caches as they were read, the weights once a step, two operations a
  /// weight and row.
  private func least(_ way: Way, _ run: RunMetrics, _ stack: StackDrafter.Metrics?, batch: Int) -> Double {
    guard run.decodeTokens > 0 else { return 0 }
    let steps = Double(run.speculation.rounds) / Double(batch)
    func seconds(_ model: LoadedModel, steps: Double, rows: Double, cacheBytes: Int) -> Double {
      let weights = Double(model.compiled.program.weightBytes)
      let perWeight = numerics == .fast ? 2.0 : 4.0
      let operations = 2 * weights / perWeight * rows
      let rate = numerics == .fast ? rates.bf16 : rates.f32
      // Weights are read once a step, or multiplied for all its rows, whichever takes longer; caches come on top.
      return max(steps * weights / rates.readBytes, operations / rate) + Double(cacheBytes) / rates.readBytes
    }
    let drafted = Double(run.speculation.drafted + run.speculation.rounds)
    if let stack {
      let inner = Double(stack.speculation.rounds) / Double(batch)
      let innerRows = Double(stack.speculation.drafted + stack.speculation.rounds)
      let verify = seconds(
        pair.target, steps: steps + inner, rows: drafted + innerRows, cacheBytes: run.targetTraffic.bytesRead)
      let draft = pair.draft.map {
        seconds(
          $0, steps: inner * Double(gamma + 1), rows: innerRows, cacheBytes: run.draftTraffic.bytesRead)
      }
      return (verify + (draft ?? 0)) / Double(run.decodeTokens)
    }
    let verify = seconds(pair.target, steps: steps, rows: drafted, cacheBytes: run.targetTraffic.bytesRead)
    let draft =
      way == .plain
      ? 0
      : pair.draft.map {
        seconds($0, steps: steps * Double(gamma + 1), rows: drafted, cacheBytes: run.draftTraffic.bytesRead)
      } ?? 0
    return (verify + draft) / Double(run.decodeTokens)
  }
}
