import ArgumentParser
import DustinCodegen
import DustinRunner
import DustinRuntime
import DustinSupport

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measures prefill and decoding as fractions of the machine's limits.",
    discussion: """
      The limits are measured before and after, in the same run: memory is read in order, and products are computed in \
      registers. A fraction is the least time that the bytes or operations of a step need, over the time that it took; it can exceed \
      1 where weights or cache lie in the processor's own caches. Medians of several runs; the machine should be idle.

      With --preset whole rounds are measured on windows of books: plain decoding, speculation of the preset's draft with dense verification, \
      the preset and an exact stack, one after the other behind the same contexts. With --layer one attention layer of a \
      large model's shape is timed over generated numbers, dense and through a set.
      """)

  @Option(name: [.short, .long], help: .target)
  var model: String?
  @Option(name: .draftModel, help: .draftModel)
  var draftModel: String?
  @OptionGroup var machine: MachineOptions
  @Option(help: "Lengths of the prompts to read, separated by commas.")
  var prompts = "512,4096,32768"
  @Option(help: "Lengths of the contexts to decode behind, separated by commas.")
  var contexts = "0,4096,32768"
  @Option(help: "Rows of the steps, separated by commas: 1 is plain decoding, 5 the verification of 4 drafted tokens.")
  var rows = "1,5"
  @Option(parsing: .unconditional, help: "Runs of every measurement; the longest prompts are read once.")
  var runs = 5
  @OptionGroup var presets: PresetOptions
  @OptionGroup var plugins: PluginOptions
  @OptionGroup var rounds: RoundBenchOptions
  @OptionGroup var layer: LayerBenchOptions
  @Flag(help: "Prints one JSON object instead of tables.")
  var json = false

  func validate() throws {
    if (model ?? "").isEmpty, layer.layer == nil {
      throw ValidationError("-m needs the path of a model directory, or give --layer SHAPE.")
    }
    try check("--runs", runs, in: 1...1000)
    _ = try (promptLengths(), contextLengths(), stepRows())
  }

  private func promptLengths() throws -> [Int] { try numberList(prompts, "--prompts", in: 1...1 << 24) }
  private func contextLengths() throws -> [Int] { try numberList(contexts, "--contexts", in: 0...1 << 24) }
  private func stepRows() throws -> [Int] { try numberList(rows, "--rows", in: 1...1 << 24) }

  func run() throws {
    catchInterrupts()
    if let shape = layer.layer { return try layer.run(shape, machine, runs: runs, json: json) }
    let model = model ?? ""
    if let choice = try presets.choice(target: model, draft: draftModel) {
      return try rounds.run(
        choice, target: model, draft: draftModel, machine, runs: runs, json: json)
    }
    let options = try machine.loadOptions()
    let pair = try ModelPair.load(target: model, draft: draftModel, options: options)
    let team = try ThreadTeam(threads: machine.threadCount)
    func limits() throws -> MachineLimits {
      try MachineLimits(target: options.target, threads: team.count, runs: max(runs, 20))
    }
    let before = try limits()
    var results: [(name: String, benchmark: ModelBenchmark)] = []
    for (model, role) in [(pair.target, ModelRole.target)] + (pair.draft.map { [($0, .draft)] } ?? []) {
      var benchmark = try ModelBenchmark(model, role, team: team, runs: runs)
      let stepRows = try stepRows()
      // A context that the model was not made for is left out.
      let most = model.contextSize
      try benchmark.run(
        prompts: promptLengths().filter { $0 <= most },
        contexts: contextLengths().filter { $0 + (stepRows.max() ?? 1) <= most },
        stepRows: stepRows.filter { $0 <= options.maxRows })
      results.append((role.rawValue, benchmark))
    }
    let report = BenchReport(
      limits: before.best(with: try limits()), results: results, numerics: options.numerics, target: options.target,
      runs: runs)
    try Console.current.write(json ? report.json.text + "\n" : report.text)
  }
}

/// What `dustin bench` prints.
struct BenchReport {
  let limits: MachineLimits
  let results: [(name: String, benchmark: ModelBenchmark)]
  let numerics: NumericsChoice
  let target: CPUTarget
  let runs: Int

  var text: String {
    var text = "limits of this machine (the best before and after; buffer \(limits.bufferBytes >> 20) MiB,"
    text += " last-level cache \(limits.cacheBytes >> 20) MiB; path \(target))\n\n"
    var machine = TextTable(["threads", "read GB/s", "bf16 GFLOP/s", "f32 GFLOP/s"])
    for rate in limits.rates {
      machine.add([
        "\(rate.threads)", fixed(rate.readBytes / 1e9, 1), fixed(rate.bf16 / 1e9, 0), fixed(rate.f32 / 1e9, 0),
      ])
    }
    text += machine.text
    for (name, benchmark) in results {
      text += "\n\(name), numerics \(numerics.rawValue), \(limits.all.threads) threads (medians)\n\n"
      var table = TextTable(["what", "context", "rows", "ms", "rows/s", "MB", "GFLOP", "of the limit"])
      for line in benchmark.lines {
        table.add([
          line.what, grouped(line.length), grouped(line.rows), fixed(line.seconds * 1e3, 3),
          fixed(Double(line.rows) / line.seconds, 1), fixed(line.cost.bytes / 1e6, 1),
          fixed(line.cost.operations / 1e9, 3), "\(fixed(100 * fraction(line), 0)) %",
        ])
      }
      text += table.text
      for share in benchmark.shares {
        let total = share.families.reduce(0) { $0 + $1.seconds }
        let parts = share.families.prefix(6).map {
          "\($0.name) \(fixed(100 * $0.seconds / max(total, 1e-12), 0)) %"
        }
        text += "\n\(share.what) behind \(grouped(share.length)), call by call \(fixed(total * 1e3, 3)) ms: "
        text += parts.joined(separator: ", ")
      }
      text += "\n"
    }
    return text
  }

  /// Least time that the machine needs, over the time taken.
  private func fraction(_ line: ModelBenchmark.Line) -> Double {
    line.seconds > 0 ? line.cost.least(limits.all, numerics) / line.seconds : 0
  }

  var json: JSON {
    .object([
      (key: "path", value: .string(target.name)), (key: "numerics", value: .string(numerics.rawValue)),
      (
        key: "limits",
        value: .array(
          limits.rates.map { rate in
            .object([
              (key: "threads", value: .int(rate.threads)), (key: "read_bytes_per_s", value: .double(rate.readBytes)),
              (key: "bf16_flop_per_s", value: .double(rate.bf16)), (key: "f32_flop_per_s", value: .double(rate.f32)),
            ])
          })
      ),
      (key: "models", value: .object(results.map { (key: $0.name, value: json($0.benchmark)) })),
    ])
  }

  private func json(_ benchmark: ModelBenchmark) -> JSON {
    .object([
      (
        key: "steps",
        value: .array(
          benchmark.lines.map { line in
            .object([
              (key: "what", value: .string(line.what)), (key: "context", value: .int(line.length)),
              (key: "rows", value: .int(line.rows)), (key: "seconds", value: .double(line.seconds)),
              (key: "bytes", value: .double(line.cost.bytes)), (key: "flop", value: .double(line.cost.operations)),
              (key: "fraction_of_limit", value: .double(fraction(line))),
            ])
          })
      ),
      (
        key: "kernels",
        value: .array(
          benchmark.shares.map { share in
            .object([
              (key: "what", value: .string(share.what)), (key: "context", value: .int(share.length)),
              (key: "seconds", value: .object(share.families.map { (key: $0.name, value: .double($0.seconds)) })),
            ])
          })
      ),
    ])
  }
}
