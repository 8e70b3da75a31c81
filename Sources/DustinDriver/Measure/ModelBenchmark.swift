import DustinRunner
import DustinRuntime
import DustinSupport

/// Times of one model: prompts, steps and kernels at several lengths.
struct ModelBenchmark {
  struct Line {
    let what: String
    let length: Int
    let rows: Int
    let seconds: Double
    let cost: StepCost
  }
  struct Share {
    let what: String
    let length: Int
    /// Seconds of each kernel family, the longest first.
    let families: [(name: String, seconds: Double)]
  }
  private(set) var lines: [Line] = []
  private(set) var shares: [Share] = []

  private let model: LoadedModel
  private let runs: Int
  /// The function of a step: `verify` of a target, `draft` of a draft.
  private let function: String
  private let engine: Engine

  init(_ model: LoadedModel, _ role: ModelRole, team: ThreadTeam, runs: Int) throws {
    self.model = model
    self.runs = runs
    function = role == .target ? "verify" : "draft"
    engine = try Engine(model: try model.callByCall([function, "prefill"]), team: team)
  }

  /// Reads prompts of the given lengths, and measures steps behind each of the contexts.
  mutating func run(prompts: [Int], contexts: [Int], stepRows: [Int]) throws {
    let longest = max(prompts.max() ?? 1, (contexts.max() ?? 0) + (stepRows.max() ?? 1))
    // Room for the steps, and for a tile behind the longest context.
    let cache = try KVCache(engine.model, positions: min(model.contextSize, longest + 512))
    let tokens = (0..<max(longest, 512)).map { Int32($0 * 7919 % model.config.vocabSize) }
    for length in prompts.sorted() {
      // The long ones take their time and vary little.
      let count = length <= 4096 ? runs : 1
      let times = try (0..<count).map { _ in
        cache.truncate(to: 0)
        return try read(tokens[..<length], cache)
      }
      let tile = model.compiled.program.function("prefill")?.maxRows ?? 1
      add("prefill", 0, length, median(times), .prefill(model, tokens: length, tile: tile))
    }
    for length in contexts.sorted(by: >) {
      cache.truncate(to: length)
      if cache.length < length { _ = try read(tokens[cache.length..<length], cache) }
      for rows in stepRows {
        let share = [StepRows(cache, Array(tokens[..<rows]))]
        _ = try engine.step(function, share)
        let times = try (0..<max(runs, 9)).map { _ in
          try checkInterruption()
          return try timed { _ = try engine.step(function, share) }
        }
        // A draft's step makes logits of its last row only.
        let logitRows = function == "verify" ? rows : 1
        add(function, length, rows, median(times), StepCost(model, rows: rows, length: length, logitRows: logitRows))
        try addShare(function, cache, Array(tokens[..<rows]), runs: max(runs, 5))
      }
      let tile = min(
        model.compiled.program.function("prefill")?.maxRows ?? 1, cache.limit - cache.length, tokens.count)
      try addShare("prefill", cache, Array(tokens[..<tile]), runs: 2)
    }
    lines.sort { ($0.what, $0.rows, $0.length) < ($1.what, $1.rows, $1.length) }
  }

  private func read(_ tokens: ArraySlice<Int32>, _ cache: KVCache) throws -> Double {
    var bar = ProgressBar("reading", unit: "tokens")
    defer { bar.clear() }
    return try timed {
      let done = try engine.prefill([StepRows(cache, tokens)], cancel: interruption) { bar.update($0, of: $1) }
      if !done.isComplete { throw Interrupted() }
    }
  }

  private mutating func add(_ what: String, _ length: Int, _ rows: Int, _ time: Double, _ cost: StepCost) {
    lines.append(Line(what: what, length: length, rows: rows, seconds: time, cost: cost))
  }

  private mutating func addShare(_ function: String, _ cache: KVCache, _ tokens: [Int32], runs: Int) throws {
    shares.append(
      Share(
        what: "\(function), \(tokens.count) row\(tokens.count == 1 ? "" : "s")", length: cache.length,
        families: try model.kernelSeconds(of: function, in: engine, [StepRows(cache, tokens)], runs: runs)))
  }
}
