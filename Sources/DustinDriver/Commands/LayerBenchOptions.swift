import ArgumentParser
import DustinRunner
import DustinRuntime
import DustinSupport

/// `dustin bench --layer`: one attention layer of a large model's shape.
struct LayerBenchOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Times one layer of a shape: \(LayerShape.all.map(\.name).joined(separator: ", ")).", valueName: "shape"))
  var layer: String?
  @Option(parsing: .unconditional, help: "With --layer: positions of the cache.")
  var layerContext = 32_768
  @Option(parsing: .unconditional, help: "With --layer: positions of the set.")
  var layerBudget = 512
  @Option(parsing: .unconditional, help: "With --layer: rows of the step, one more than tokens are drafted.")
  var layerRows = 5
  @Option(parsing: .unconditional, help: "With --layer: layers whose caches are read in turn, so that they are cold.")
  var layerTurns = 20
  @Option(parsing: .unconditional, help: "With --layer: sequences whose sets are chosen in one step.")
  var layerBatch = 16

  func validate() throws {
    if !(64...1 << 20).contains(layerContext) {
      throw ValidationError("--layer-context must be from 64 to 1048576, not \(layerContext).")
    }
    if !(20...1 << 20).contains(layerBudget) {
      throw ValidationError("--layer-budget must be from 20 to 1048576, not \(layerBudget).")
    }
    if !(1...64).contains(layerRows) { throw ValidationError("--layer-rows must be from 1 to 64, not \(layerRows).") }
    if !(1...1000).contains(layerTurns) {
      throw ValidationError("--layer-turns must be from 1 to 1000, not \(layerTurns).")
    }
    if !(1...512).contains(layerBatch) {
      throw ValidationError("--layer-batch must be from 1 to 512, not \(layerBatch).")
    }
  }

  func run(_ name: String, _ machine: MachineOptions, runs: Int, json: Bool) throws {
    let shape = try LayerShape.named(name)
    let options = try machine.loadOptions()
    let threads = Set([1, machine.threadCount]).sorted()
    let limits = try MachineLimits(target: options.target, threads: machine.threadCount, runs: 20)
    var benchmark = LayerBenchmark(
      shape, context: layerContext, rows: layerRows, budget: layerBudget, rotated: layerTurns, batch: layerBatch)
    try benchmark.run(options, threads: threads, limits: limits, runs: runs)
    try Console.current.write(json ? benchmark.json.text + "\n" : benchmark.text)
  }
}
