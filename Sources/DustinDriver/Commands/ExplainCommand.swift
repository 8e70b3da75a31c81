import ArgumentParser
import DustinCodegen
import DustinIR
import DustinModels
import DustinPasses
import DustinRunner
import DustinRuntime
import DustinSupport

struct ExplainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain",
    abstract: "Draws what the passes make of a model as a page: functions, ops, kernels, times.",
    discussion: """
      The page needs no network and no scripts. It shows every pass with what it changed, where sparsity entered, every \
      function as boxes of ops with their shapes, and the kernels of a round with the bytes that they read and the time \
      that they take behind a context of --length positions.
      """)

  @OptionGroup var models: PairOptions
  @OptionGroup var machine: MachineOptions
  @OptionGroup var presets: PresetOptions
  @OptionGroup(title: "Passes from outside")
  var plugins: PluginOptions
  @Option(name: .shortAndLong, help: "The page to write; '-' is standard output.")
  var output: String
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Positions of the context that kernels are timed behind.", valueName: "n"))
  var length = 8192
  @Option(parsing: .unconditional, help: ArgumentHelp("Tokens that the draft proposes.", valueName: "n"))
  var draftMax = 4
  @Option(parsing: .unconditional, help: ArgumentHelp("Times that every call is run; the best counts.", valueName: "n"))
  var runs = 5
  @Flag(help: "Only what follows from the models: no times.")
  var noTimes = false

  func validate() throws {
    try check("--length", length, in: 64...1 << 24)
    try check("--draft-max", draftMax, in: 1...64)
    try check("--runs", runs, in: 1...1000)
  }

  func run() throws {
    catchInterrupts()
    let choice = try presets.choice(target: models.model, draft: models.draftModel)
    var options = try machine.loadOptions()
    options.preset = choice?.text
    let pair = try ModelPair.load(target: models.model, draft: models.draftModel, options: options)
    let length = min(length, [pair.target, pair.draft].compactMap { $0?.contextSize }.min() ?? length)
    let room = 16 * (draftMax + 1)
    let context = max(
      64, min(length, ([pair.target, pair.draft].compactMap { $0?.contextSize }.min() ?? length) - room))
    let team = try ThreadTeam(threads: machine.threadCount)
    let times = try noTimes ? nil : CallTimes(pair, team: team, length: context, gamma: draftMax, runs: runs)

    var drawn: [ExplainPage.Model] = []
    for (role, model) in [(ModelRole.target, pair.target)] + (pair.draft.map { [(.draft, $0)] } ?? []) {
      drawn.append(
        ExplainPage.Model(
          title: role.rawValue, module: model.module, record: try record(model, role, options, length: length),
          program: model.compiled.program, times: (role == .target ? times?.target : times?.draft) ?? []))
    }
    var facts = [(name: "target", value: models.model)]
    if let draft = models.draftModel { facts.append(("draft", draft)) }
    facts.append(("preset", choice?.text ?? "none: verification is dense"))
    for note in choice?.notes ?? [] { facts.append(("", note)) }
    facts.append(("numerics", options.numerics.rawValue))
    facts.append(("CPU path", "\(options.target)\(noTimes ? "" : ", \(team.count) threads, \(processorName())")"))
    if times != nil { facts.append(("timed behind", "\(grouped(context)) positions, best of \(runs)")) }
    facts.append(("written by", "dustin explain"))
    let page = ExplainPage(title: "What runs when dustin runs", facts: facts, models: drawn)
    try writeResult(page.text, to: output)
  }

  /// The model's compilation once more, watched.
  private func record(
    _ model: LoadedModel, _ role: ModelRole, _ options: LoadOptions, length: Int
  ) throws -> CompilationRecord {
    let module = try ModelDirectory(path: model.path).importModule(
      context: options.contextSize, maxRows: options.maxRows, mayBeLonger: options.mayBeLonger)
    let record = CompilationRecord(length: length)
    let prepared = try options.pipeline(for: role, of: module)
    var manager = prepared.manager
    manager.instrumentations = [record]
    try manager.run(prepared.pipeline, on: module)
    return record
  }
}
