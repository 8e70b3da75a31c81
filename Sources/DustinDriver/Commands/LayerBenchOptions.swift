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
    try check("--layer-context", layerContext, in: 64...1 << 20)
    try check("--layer-budget", layerBudget, in: 20...1 << 20)
    try check("--layer-rows", layerRows, in: 1...64)
    try check("--layer-turns", layerTurns, in: 1...1000)
    try check("--layer-batch", layerBatch, in: 1...512)
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
