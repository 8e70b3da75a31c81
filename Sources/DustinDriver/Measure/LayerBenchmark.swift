import DustinCodegen
import DustinRunner
import DustinRuntime
import DustinSupport

/// One attention layer of a large model over generated numbers: dense verification against a set, with the choice of the
/// set divided by the layers that share it. Caches are cold: the layers of a model follow each other.
struct LayerBenchmark {
  struct Line {
    let threads: Int
    /// Seconds of one layer, medians over rotations.
    let dense: Double
    let sparse: Double
    /// Seconds of one round's scoring and selection of a sequence.
    let scoring: Double
    /// Of the machine's own products on as many threads.
    let peak: Double
  }
  let shape: LayerShape
  let context: Int
  let rows: Int
  let budget: Int
  let rotated: Int
  /// Sequences whose sets are chosen in one step.
  let batch: Int
  private(set) var lines: [Line] = []

  /// Multiplications and additions of dense attention, and bytes of keys and values, of one layer.
  var operations: Double { 4 * Double(rows * shape.heads * shape.dim) * Double(context) }
  var denseBytes: Double { Double(context * 2 * shape.kvHeads * shape.dim * 2) }
  var sparseBytes: Double { Double((budget + rows) * 2 * shape.kvHeads * shape.dim * 2) }
  /// Keys that scoring reads, per round.
  var scoringBytes: Double {
    let draft = shape.draft
    let draftHeads = min(4, draft.kvHeads)
    return Double(context)
      * Double(min(4, shape.kvHeads) * shape.dim * 2 + draft.scoringLayers * draftHeads * draft.dim * 2)
  }

  init(_ shape: LayerShape, context: Int, rows: Int, budget: Int, rotated: Int, batch: Int) {
    self.shape = shape
    self.context = context
    self.rows = rows
    self.budget = budget
    self.rotated = rotated
    self.batch = batch
  }

  mutating func run(_ options: LoadOptions, threads: [Int], limits: MachineLimits, runs: Int) throws {
    let tokens = (0..<rows).map { Int32($0 * 7) }
    let target = try GeneratedAttention(
      heads: shape.heads, kvHeads: shape.kvHeads, dim: shape.dim, layers: rotated, positions: context + 64, rows: rows,
      budget: budget,
      scoring: .init(heads: Self.spread(4, over: shape.heads), layers: 1, takesLast: true, takesLook: true),
      machine: options)
    let draft = try GeneratedAttention(
      heads: shape.draft.heads, kvHeads: shape.draft.kvHeads, dim: shape.draft.dim, layers: shape.draft.scoringLayers,
      positions: context + 64, rows: rows, budget: nil,
      scoring: .init(
        heads: Self.spread(4, over: shape.draft.heads), layers: shape.draft.scoringLayers, takesLast: false,
        takesLook: false),
      machine: options)
    let filler = try Engine(model: target.compiled, team: try ThreadTeam(threads: threads.max() ?? 1))
    let sequence = try target.sequence(filler, positions: context, room: 64, seed: 1)
    let draftFiller = try Engine(model: draft.compiled, team: filler.team)
    let looking = try (0..<batch).map { try draft.sequence(draftFiller, positions: context, room: 64, seed: $0) }
    for count in threads {
      let team = try ThreadTeam(threads: count)
      let engine = try Engine(model: target.compiled, team: team)
      let draftEngine = try Engine(model: draft.compiled, team: team)
      let share = [StepRows(sequence, tokens)]
      let looks = looking.map { StepRows($0, tokens) }
      // Once in full: queries stand in the arena afterwards, and there is a set.
      _ = try draftEngine.step("select", looks)
      try sequence.copyValues(from: looking[0], positions: context)
      _ = try engine.step("select", share)
      _ = try engine.step("layers", share)
      func rotations(_ name: String) throws -> Double {
        try median(
          (0..<runs).map { _ in
            try checkInterruption()
            return try timed {
              for layer in 0..<rotated { _ = try engine.step("\(name)\(layer)", share) }
            } / Double(rotated)
          })
      }
      // Sides in turn, so that a busy neighbour meets both.
      var (dense, sparse, scoring): ([Double], [Double], [Double]) = ([], [], [])
      for _ in 0..<3 {
        dense.append(try rotations("dense"))
        sparse.append(try rotations("sparse"))
        scoring.append(
          try median(
            (0..<runs).map { _ in
              let look = try timed { _ = try draftEngine.step("choose", looks) } / Double(batch)
              // Layers in between: the scored keys are cold, as in a round.
              _ = try engine.step("dense\(rotated - 1)", share)
              return try look + timed { _ = try engine.step("choose", share) }
            }))
      }
      let rate = limits.rates.first { $0.threads == count } ?? limits.all
      lines.append(
        Line(
          threads: count, dense: median(dense), sparse: median(sparse), scoring: median(scoring), peak: rate.bf16))
    }
  }

  /// Heads as far from each other as can be, so that they belong to different KV heads.
  private static func spread(_ count: Int, over heads: Int) -> [Int] {
    (0..<min(count, heads)).map { $0 * heads / min(count, heads) }
  }

  var text: String {
    var text = "\(shape.name): one layer, \(shape.heads)/\(shape.kvHeads) heads of \(shape.dim), \(rows) rows behind "
    text += "\(grouped(context)) positions, budget \(budget); generated numbers, for times only\n"
    text += "caches of \(rotated) layers in turn; scoring as \(shape.draft.name) and one layer of the target do it, "
    text += "4 heads a layer, \(batch) sequences a step\n"
    text += "dense: \(fixed(operations / 1e9, 2)) GFLOP, \(fixed(denseBytes / 1e6, 1)) MB; through the set: "
    text += "\(fixed(sparseBytes / 1e6, 2)) MB; scoring: \(fixed(scoringBytes / 1e6, 1)) MB a round\n\n"
    var table = TextTable([
      "threads", "dense us", "of bf16 peak", "sparse us", "choice us", "choice/\(shape.layers) us", "ratio",
      "ratio, choice undivided", "choice of dense",
    ])
    for line in lines {
      let layers = Double(shape.layers)
      func us(_ seconds: Double) -> String { fixed(1e6 * seconds, 1) }
      table.add([
        "\(line.threads)", us(line.dense), "\(fixed(100 * operations / line.dense / line.peak, 0)) %", us(line.sparse),
        us(line.scoring), us(line.scoring / layers), fixed(line.dense / (line.sparse + line.scoring / layers), 2),
        fixed(line.dense / (line.sparse + line.scoring), 2),
        "\(fixed(100 * line.scoring / (layers * line.dense), 3)) %",
      ])
    }
    return text + table.text
  }

  var json: JSON {
    .object([
      (key: "shape", value: .string(shape.name)), (key: "context", value: .int(context)),
      (key: "rows", value: .int(rows)),
      (key: "budget", value: .int(budget)), (key: "layers_in_turn", value: .int(rotated)),
      (key: "dense_flop", value: .double(operations)), (key: "dense_bytes", value: .double(denseBytes)),
      (key: "sparse_bytes", value: .double(sparseBytes)), (key: "scoring_bytes", value: .double(scoringBytes)),
      (
        key: "lines",
        value: .array(
          lines.map { line in
            .object([
              (key: "threads", value: .int(line.threads)), (key: "dense_s", value: .double(line.dense)),
              (key: "sparse_s", value: .double(line.sparse)), (key: "choice_s", value: .double(line.scoring)),
              (key: "dense_of_bf16_peak", value: .double(operations / line.dense / line.peak)),
              (
                key: "ratio",
                value: .double(line.dense / (line.sparse + line.scoring / Double(shape.layers)))
              ),
            ])
          })
      ),
    ])
  }
}
