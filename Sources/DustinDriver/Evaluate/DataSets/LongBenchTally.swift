import DustinRunner
import DustinRuntime
import DustinSupport

/// Scores of one way of verifying on one data set, beside the dense scores of the same items.
struct LongBenchTally: Codable {
  let mode: EvaluationMode
  let dataset: String
  private(set) var scores: [Double] = []
  private(set) var denseScores: [Double] = []
  private(set) var speed = SpeedTally()

  init(mode: EvaluationMode, dataset: String) {
    self.mode = mode
    self.dataset = dataset
  }

  mutating func add(_ score: Double, dense: Double, _ metrics: RunMetrics) {
    scores.append(score)
    denseScores.append(dense)
    speed.add(metrics)
  }

  /// Mean, 0 … 100, as the benchmark reports it.
  var score: Double { scores.isEmpty ? 0 : 100 * scores.reduce(0, +) / Double(scores.count) }
  var denseScore: Double { denseScores.isEmpty ? 0 : 100 * denseScores.reduce(0, +) / Double(denseScores.count) }

  var json: JSON {
    .object([
      (key: "preset", value: .string(mode.text)), (key: "name", value: .string(mode.preset)),
      (key: "budget", value: mode.budget.map { .int($0) } ?? .null), (key: "length", value: .null),
      (
        key: "longbench",
        value: .object([
          (key: "dataset", value: .string(dataset)),
          (key: "metric", value: .string(LongBench.dataSet(dataset)?.metric.name ?? "")),
          (key: "items", value: .int(scores.count)), (key: "score", value: .double(score)),
          (key: "dense_score", value: .double(denseScore)),
          (key: "tokens_per_round", value: .double(speed.tokensPerRound)),
          (key: "decode_tokens_per_s", value: .double(speed.tokensPerSecond)),
        ])
      ),
    ])
  }
}

extension Evaluation {
  /// Has every target answer the items of a benchmark.
  ///
  /// - Parameter limit: Most tokens of prompt and answer together; the middle of longer prompts is cut out.
  func longBench(_ items: [LongBench.Item], template: PromptTemplate, limit: Int, endTokens: Set<Int32>) throws {
    var progress = PartProgress("longbench", items.count, unit: "item", isAsked: session.forcesProgress)
    defer { progress.clear() }
    for (number, item) in items.enumerated() {
      try checkInterruption()
      let name = "longbench \(item.dataset) \(item.id) \(number)"
      if isDone(name) {
        progress.skip(number + 1)
        continue
      }
      guard let dataset = LongBench.dataSet(item.dataset) else { continue }
      let most = min(dataset.answerTokens, max(1, limit - 16))
      let tokens = cutMiddle(session.tokenizer.encode(template.prompt(item)), to: limit - most)
      if tokens.isEmpty { continue }
      let context = try session.prepare(tokens)
      var options = session.options()
      options.endTokens = endTokens
      let outputs = try session.targets.map { try $0.generate(context, maxNewTokens: most, options: options) }
      let scores = outputs.map { LongBench.score(String(decoding: $0.text, as: UTF8.self), item) }
      for (place, target) in session.targets.enumerated() {
        add(target.mode, item.dataset) { $0.add(scores[place], dense: scores[0], outputs[place].metrics) }
      }
      try finish(name)
      progress.finish(number + 1)
    }
  }

  private func add(_ mode: EvaluationMode, _ dataset: String, _ change: (inout LongBenchTally) -> Void) {
    if let index = state.longBench.firstIndex(where: { $0.mode == mode && $0.dataset == dataset }) {
      return change(&state.longBench[index])
    }
    var tally = LongBenchTally(mode: mode, dataset: dataset)
    change(&tally)
    state.longBench.append(tally)
  }

  /// A row for each data set, a column for each way of verifying; nil without items.
  var longBenchTable: FigureTable? {
    let modes = session.targets.map(\.mode)
    let names = longBench.reduce(into: [String]()) { if !$0.contains($1.dataset) { $0.append($1.dataset) } }
    if names.isEmpty { return nil }
    let rows = names.map { name -> [String] in
      let tallies = modes.map { mode in longBench.first { $0.mode == mode && $0.dataset == name } }
      return [name, LongBench.dataSet(name)?.metric.name ?? "", "\(tallies[0]?.scores.count ?? 0)"]
        + tallies.map { $0.map { fixed($0.score, 2) } ?? "" }
    }
    return FigureTable(title: "LongBench", header: ["LongBench", "metric", "items"] + modes.map(\.text), rows: rows)
  }
}
