import DustinCodegen
import DustinIR
import DustinRunner
import DustinRuntime
import DustinSupport

/// Every call of a model's functions behind a context, with the bytes that it reads and the time that it takes.
struct CallTimes {
  struct Call {
    let family: String
    let kernel: String
    let operation: Operation
    /// Of weights and caches; an op with several calls counts them once.
    let bytes: Double
    /// The best of the runs.
    let seconds: Double
  }
  struct Function {
    let name: String
    /// Rows of the step; 0 for a function that takes none.
    let rows: Int
    let calls: [Call]

    var seconds: Double { calls.reduce(0) { $0 + $1.seconds } }
    var bytes: Double { calls.reduce(0) { $0 + $1.bytes } }
  }
  private(set) var target: [Function] = []
  private(set) var draft: [Function] = []

  private let runs: Int

  /// Reads a prompt of `length` tokens, makes two rounds, so that signals and sets are what rounds leave, and times every
  /// call of the functions of a round by itself.
  ///
  /// - Parameters:
  ///   - gamma: tokens that the draft proposes; verification has a row more.
  ///   - runs: the best of so many counts.
  init(_ pair: ModelPair, team: ThreadTeam, length: Int, gamma: Int, runs: Int) throws {
    self.runs = runs
    let room = 16 * (gamma + 1)
    func engine(_ model: LoadedModel) throws -> Engine {
      try Engine(model: try model.callByCall(Self.measured(model)), team: team)
    }
    let targetEngine = try engine(pair.target)
    let draftEngine = try pair.draft.map { try engine($0) }
    let vocabulary = min(pair.target.config.vocabSize, pair.draft?.config.vocabSize ?? .max)
    let prompt = (0..<length).map { Int32($0 * 7919 % vocabulary) }
    let targetCache = try KVCache(targetEngine.model, positions: min(pair.target.contextSize, length + room))
    let draftCache = try draftEngine.flatMap { engine in
      try pair.draft.map { try KVCache(engine.model, positions: min($0.contextSize, length + room)) }
    }
    var options = GenerationOptions()
    options.gamma = draftEngine == nil ? 0 : gamma
    let drafter = try draftEngine.flatMap { engine in
      try pair.draft.map { try ModelDrafter(engine: engine, contextSize: $0.contextSize) }
    }
    let loop = try SpeculativeLoop(target: targetEngine, drafter: drafter, options: options, cancel: interruption)
    var bar = ProgressBar("reading", unit: "tokens")
    loop.onPrefill = { bar.update($0, of: $1) }
    // Two rounds at least: a round brings the proposals and the bonus token at most.
    _ = try loop.run([
      GenerationRequest(
        prompt: prompt, maxNewTokens: 2 * (gamma + 1), targetCache: targetCache, draftCache: draftCache)
    ])
    bar.clear()
    try checkInterruption()
    target = try measure(pair.target, targetEngine, targetCache, Array(prompt.prefix(gamma + 1)))
    if let model = pair.draft, let draftEngine, let draftCache {
      draft = try measure(model, draftEngine, draftCache, Array(prompt.prefix(1)))
    }
  }

  /// The functions of a round; prompts are another matter.
  private static func measured(_ model: LoadedModel) -> [String] {
    model.compiled.program.functions.map(\.name).filter { $0 != "prefill" }
  }

  private func measure(
    _ model: LoadedModel, _ engine: Engine, _ cache: KVCache, _ tokens: [Int32]
  ) throws -> [Function] {
    var functions: [Function] = []
    for name in Self.measured(model) {
      guard let calls = model.plan.calls(of: name), let compiled = engine.model.program.function(name) else { continue }
      let share = [compiled.takesTokens ? StepRows(cache, tokens) : StepRows(cache)]
      // What this context has no rows for, such as the choice at the prompt's end, has no time either.
      guard (try? engine.step(name, share)) != nil else { continue }
      let best = try model.callSeconds(of: name, in: engine, share, runs: runs)
      var seen: Set<Operation> = []
      let timed = zip(calls, best).map { call, seconds in
        // A norm of its own stands in front of some matrices: it reads none of them.
        let readsAll = call.operation.name != "linear" || call.family == "matmul"
        let isFirst = readsAll && seen.insert(call.operation).inserted
        return Call(
          family: call.family, kernel: call.kernel, operation: call.operation,
          bytes: isFirst ? Self.bytes(call.operation, model.module, length: cache.length) : 0, seconds: seconds)
      }
      functions.append(Function(name: name, rows: compiled.takesTokens ? tokens.count : 0, calls: timed))
    }
    return functions
  }

  /// Weights of the op's matrices, and the positions of the cache that it reads.
  static func bytes(_ operation: Operation, _ module: Module, length: Int) -> Double {
    let weights = operation.name == "linear" ? operation[group: "weight"] : []
    let matrices = weights.reduce(0.0) { sum, weight in
      sum + weight.type.shape.reduce(Double(weight.type.element.byteCount)) { $0 * Double($1.fixedValue ?? 0) }
    }
    return matrices + FunctionCost(of: [operation], in: module, length: length).cacheBytes
  }
}
