import ArgumentParser
import DustinRunner
import DustinRuntime
import DustinSupport

struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Continues a text, with a draft model faster.",
    discussion: """
      Text goes to standard output as it comes, figures to standard error. Without --temp the most probable token is \
      taken, and a draft changes nothing but the speed; with --temp it changes no probability.
      """)

  @OptionGroup var models: PairOptions
  @OptionGroup var machine: MachineOptions
  @OptionGroup var presets: PresetOptions
  @OptionGroup var plugins: PluginOptions
  @Flag(help: .of(.exact)) var exact = false

  @Option(name: [.customShort("p"), .long], parsing: .unconditional, help: .of(.prompt)) var prompt: String?
  @Option(name: .shortAndLong, help: .of(.file)) var file: String?
  @Option(help: .of(.promptIds)) var promptIds: String?
  @Option(parsing: .unconditional, help: .of(.promptLimit)) var promptLimit: Int?
  @Option(help: .of(.prompts, "One JSON object a line comes out, in the same order.")) var prompts: String?

  @Option(
    name: [.customShort("n"), .customLong("predict"), .customLong("n-predict")], parsing: .unconditional,
    help: .of(.count))
  var count = RunSettings().count
  @Option(name: [.customShort("c"), .customLong("ctx-size")], parsing: .unconditional, help: .of(.contextSize))
  var contextSize: Int?
  @Option(parsing: .unconditional, help: .of(.draftMax)) var draftMax = RunSettings().draftMax
  @Option(parsing: .unconditional, help: .of(.batchSize)) var batchSize = RunSettings().batchSize

  @Option(name: .customLong("temp"), parsing: .unconditional, help: .of(.temperature)) var temperature: Float = 0
  @Option(parsing: .unconditional, help: .of(.topK)) var topK = 0
  @Option(parsing: .unconditional, help: .of(.topP)) var topP: Float = 1
  @Option(parsing: .unconditional, help: .of(.minP)) var minP: Float = 0
  @Option(name: .shortAndLong, parsing: .unconditional, help: .of(.seed)) var seed: UInt64 = 0

  @Option(parsing: .unconditionalSingleValue, help: .of(.stop)) var stop: [String] = []
  @Flag(help: .of(.ignoreEos)) var ignoreEos = false
  @Flag(help: .of(.json)) var json = false
  @Flag(help: .of(.noStream)) var noStream = false
  @Flag(name: .shortAndLong, help: .of(.quiet)) var quiet = false
  @Flag(help: .of(.progress)) var progress = false
  @Option(help: .of(.logits)) var logits: String?
  @Option(
    help: ArgumentHelp(
      "plain: decodes once more without the draft and prints both runs' figures. interpreter: compares every compiled op.",
      discussion:
        "The comparison with the interpreter takes the prompt's first tokens and names the first op out of bound."))
  var compare: Reference?

  enum Reference: String, ExpressibleByArgument, CaseIterable { case plain, interpreter }

  func validate() throws {
    let hasDraft = models.draftModel != nil
    if let problem = settings.problem(hasDraft: hasDraft, hasPreset: presets.preset != nil) {
      throw ValidationError(problem)
    }
    if compare != nil, prompts != nil || json || logits != nil {
      throw ValidationError("--compare prints a table for a single prompt: it takes no --prompts, --json and --logits.")
    }
    if compare == .plain, presets.preset != nil, !exact {
      throw ValidationError("--compare plain with a preset needs --exact: sparse verification gives other tokens.")
    }
    if compare == .plain, !hasDraft || draftMax == 0 {
      throw ValidationError("--compare plain needs a draft: give -md DIR, and --draft-max above 0.")
    }
  }

  private var settings: RunSettings {
    var settings = RunSettings()
    (settings.prompt, settings.file, settings.promptIds, settings.prompts) = (prompt, file, promptIds, prompts)
    settings.promptLimit = promptLimit
    settings.count = count
    settings.contextSize = contextSize
    settings.threads = machine.threads
    settings.draftMax = draftMax
    settings.batchSize = batchSize
    settings.sampling = Sampling(temperature: temperature, topK: topK, topP: topP, minP: minP, seed: seed)
    settings.stop = stop
    (settings.ignoreEos, settings.json, settings.noStream) = (ignoreEos, json, noStream)
    (settings.quiet, settings.progress) = (quiet, progress)
    settings.logits = logits
    settings.exact = exact
    return settings
  }

  func run() throws {
    catchInterrupts()
    var loadOptions = try machine.loadOptions()
    loadOptions.contextSize = contextSize
    let choice = try presets.choice(target: models.model, draft: models.draftModel)
    loadOptions.preset = choice?.text
    loadOptions.isExact = exact
    let pair = try ModelPair.load(target: models.model, draft: models.draftModel, options: loadOptions)
    let session = try RunSession(pair.runnable(preset: choice?.summary), settings)
    switch compare {
    case nil: try session.run()
    case .interpreter: try InterpreterComparison(pair, team: session.team).run(session.prompts[0].tokens)
    case .plain: try compareWithPlain(session)
    }
  }

  private func compareWithPlain(_ session: RunSession) throws {
    var comparison: PlainComparison?
    _ = try session.answer {
      let both = try PlainComparison(session.generator, session.prompts[0], maxNewTokens: count)
      comparison = both
      return both.speculative
    }
    guard let comparison else { return }
    let isGreedy = session.settings.sampling.isGreedy
    try Console.current.write("\n" + comparison.table(isGreedy: isGreedy))
    guard !isGreedy || comparison.isEqual else {
      throw DiagnosticError("lossless", "plain and speculative decoding gave different tokens")
    }
  }
}

extension ArgumentHelp {
  /// An option's text stands in one place, which executables read too.
  static func of(_ option: RunOption, _ discussion: String = "") -> ArgumentHelp {
    ArgumentHelp(option.help, discussion: discussion, valueName: option.value)
  }
}
