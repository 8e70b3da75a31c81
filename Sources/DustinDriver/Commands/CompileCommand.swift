import ArgumentParser
import DustinCodegen
import DustinRunner
import DustinSupport

struct CompileCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compile", abstract: "Makes an executable of a model, or of a model and its draft.",
    discussion: """
      The executable needs neither Swift nor LLVM nor this tool: it takes the options of 'dustin run' that are about \
      prompts and text, and gives the same tokens. With several CPU levels it runs the best that its machine can.
      """)

  enum Emission: String, ExpressibleByArgument, CaseIterable {
    case executable, bundle, object, llvm, asm, plan, ir
  }
  enum Placement: String, ExpressibleByArgument, CaseIterable { case embedded, external }

  @OptionGroup var models: PairOptions
  @OptionGroup var presets: PresetOptions
  @OptionGroup var plugins: PluginOptions
  @Option(
    help: ArgumentHelp(
      "In the place of a preset: passes for the target, between numerics and kernels ('dustin passes').",
      valueName: "pipeline"))
  var passes: String?
  @Option(help: ArgumentHelp("The same for the draft.", valueName: "pipeline"))
  var draftPasses: String?
  @Option(help: .numerics)
  var numerics = NumericsChoice.fast
  @Option(
    help: ArgumentHelp(
      "CPU levels, with commas: native (this machine's), all, \(CPULevel.allCases.map(\.rawValue).joined(separator: ", ")).",
      valueName: "list"))
  var cpu = "native"
  @Option(
    name: [.customShort("c"), .customLong("ctx-size")], parsing: .unconditional,
    help: ArgumentHelp(
      "Most tokens of prompt and answer together; default: what the model was made for.", valueName: "n"))
  var contextSize: Int?
  @Option(
    help: ArgumentHelp(
      "executable; bundle: a directory with an object, a C header and a main.c; or of one model at one level: object, "
        + "llvm, asm, plan, ir.", valueName: "kind"))
  var emit = Emission.executable
  @Option(help: ArgumentHelp("Of which model an object or a text is made: target or draft.", valueName: "role"))
  var role = ModelRole.target
  @Option(
    help: ArgumentHelp(
      "embedded: in the executable. external: in a file beside it, with .weights behind its name.", valueName: "where"))
  var weights = Placement.embedded
  @Option(
    help: ArgumentHelp("The runner that executables begin with; default: the one beside this tool.", valueName: "file"))
  var runner: String?
  @Option(name: [.short, .long], help: ArgumentHelp("What to write.", valueName: "file"))
  var output: String
  @Flag(name: .shortAndLong, help: "Prints no figures.")
  var quiet = false
  @Flag(help: "Prints the figures as one JSON object.")
  var json = false
  @Flag(help: .hidden)
  var verifyEach = false

  private var isApplication: Bool { emit == .executable || emit == .bundle }

  func validate() throws {
    if let contextSize, contextSize < 1 { throw ValidationError("-c must be 1 or more, not \(contextSize).") }
    if presets.preset != nil, passes != nil || draftPasses != nil {
      throw ValidationError("Give a --preset, or --passes and --draft-passes, not both.")
    }
    if draftPasses != nil, models.draftModel == nil {
      throw ValidationError("--draft-passes needs a draft: give -md DIR.")
    }
    if role == .draft, models.draftModel == nil { throw ValidationError("--role draft needs a draft: give -md DIR.") }
    if output.isEmpty { throw ValidationError("-o needs a path.") }
    if isApplication {
      if output == "-" {
        throw ValidationError("-o - is for --emit=llvm, asm, plan and ir: an executable needs a name.")
      }
      if emit == .bundle, weights == .external { throw ValidationError("A bundle's weights are a file of their own.") }
      if role == .draft { throw ValidationError("--role is for --emit=object, llvm, asm, plan and ir.") }
    } else {
      if weights == .external {
        throw ValidationError("--weights is for executables: --emit=\(emit.rawValue) has none.")
      }
      if runner != nil { throw ValidationError("--runner is for executables: --emit=\(emit.rawValue) has none.") }
      if json { throw ValidationError("--json is for executables and bundles.") }
      if try levels().count != 1 {
        throw ValidationError("--emit=\(emit.rawValue) is made for one CPU level: give one to --cpu.")
      }
    }
    if output == "-", emit == .object { throw ValidationError("-o - is for texts: an object needs a name.") }
    _ = try levels()
  }

  /// `--cpu`, best first.
  private func levels() throws -> [CPULevel] {
    var levels: Set<CPULevel> = []
    for word in cpu.split(separator: ",", omittingEmptySubsequences: false).map(String.init) {
      if word == "all" {
        levels.formUnion(CPULevel.allCases)
      } else if word == "native" {
        guard let host = CPULevel.host else {
          throw ValidationError("This CPU is less than '\(CPULevel.v2)': name a level in the place of native.")
        }
        levels.insert(host)
      } else if let level = CPULevel(rawValue: word) {
        levels.insert(level)
      } else {
        let names = ["native", "all"] + CPULevel.allCases.map(\.rawValue)
        let hint = suggestion(for: word, in: names)
        throw ValidationError("There is no CPU level '\(word)', only \(names.joined(separator: ", "))\(hint).")
      }
    }
    return CPULevel.allCases.filter(levels.contains)
  }

  func run() throws {
    catchInterrupts()
    let levels = try levels()
    let choice = try presets.choice(target: models.model, draft: models.draftModel)
    var options = LoadOptions(target: CPUTarget(levels[0]))
    options.numerics = numerics
    options.contextSize = contextSize
    options.preset = choice?.text
    // The executable takes --exact when it runs.
    options.isExact = models.draftModel != nil
    options.passTexts = (passes, draftPasses)
    options.verifyEach = verifyEach
    if !quiet { for note in choice?.notes ?? [] { Console.current.writeError("note: \(note)\n") } }
    switch emit {
    case .executable: try writeExecutable(options, levels, choice?.summary)
    case .bundle: try writeBundle(options, levels, choice?.summary)
    default: try writeOne(options, levels[0])
    }
  }

  private func writeExecutable(_ options: LoadOptions, _ levels: [CPULevel], _ preset: PresetSummary?) throws {
    let start = monotonicSeconds()
    // Before the work: without a runner it would be in vain.
    let runner = try RunnerFile(.program, runner)
    let weightsPath = weights == .external ? output + ".weights" : nil
    let pair = try CompiledPair(
      target: models.model, draft: models.draftModel, options: options, levels: levels, preset: preset,
      weightsFile: weightsPath.map { $0.split(separator: "/").last.map(String.init) ?? $0 })
    warn(of: pair)
    let compiled = monotonicSeconds()
    let written = try pair.write(to: output, weights: weightsPath, runner: runner.bytes)
    try report(
      written, weightsName: weightsPath ?? "", runner: runner.bytes.count, compile: compiled - start,
      total: monotonicSeconds() - start, levels)
  }

  /// As a run says it of the same model.
  private func warn(of pair: CompiledPair) {
    if quiet || pair.info.hasTokenizer { return }
    if let problem = pair.info.tokenizerProblem {
      return Console.current.writeError("warning: there will be no text: \(problem)\n")
    }
    let only = emit == .bundle ? "dustin_generate_tokens" : "--prompt-ids and prompts of 'prompt_ids'"
    Console.current.writeError(
      "note: '\(models.model)' has no tokenizer.json: what is written takes token ids only, by \(only)\n")
  }

  private func writeBundle(_ options: LoadOptions, _ levels: [CPULevel], _ preset: PresetSummary?) throws {
    let start = monotonicSeconds()
    let runtime = try RunnerFile(.object, runner)
    try Bundle.checkPlace(output)
    let pair = try CompiledPair(
      target: models.model, draft: models.draftModel, options: options, levels: levels, preset: preset,
      weightsFile: Bundle.weightsName)
    warn(of: pair)
    let compiled = monotonicSeconds()
    let written = try Bundle(pair, RuntimeObject(runtime.bytes, path: runtime.path)).write(to: output)
    try report(
      written, weightsName: Bundle.weightsName, runner: runtime.bytes.count, compile: compiled - start,
      total: monotonicSeconds() - start, levels)
  }

  /// A text or an object of one model.
  private func writeOne(_ options: LoadOptions, _ level: CPULevel) throws {
    let path = role == .draft ? models.draftModel ?? models.model : models.model
    let planned = try PlannedModel(path: path, role: role, options: role == .draft ? options.forDraft : options)
    if emit == .ir { return try writeResult(planned.module.text(), to: output) }
    let plan = try KernelPlan(lowering: planned.module, for: CPUTarget(level))
    switch emit {
    case .object: try writeFileAtomically(output, bytes: plan.objectFile())
    case .llvm: try writeResult(plan.llvmText(), to: output)
    case .asm: try writeResult(plan.assembly(), to: output)
    default: try writeResult(plan.text(), to: output)
    }
  }

  private func report(
    _ written: CompiledPair.Written, weightsName: String, runner: Int, compile: Double, total: Double,
    _ levels: [CPULevel]
  ) throws {
    func sum(_ kind: String) -> Int {
      written.table.sections.reduce(0) { $0 + ($1.name.hasSuffix(kind) ? $1.count : 0) }
    }
    let (weightBytes, code, programs) = (sum("weights"), sum("/code"), sum("/program"))
    if json {
      let object = JSON.object([
        (key: "file", value: .string(output)), (key: "bytes", value: .int(written.bytes)),
        (key: "weights_file_bytes", value: .int(written.weightsBytes)), (key: "runner", value: .int(runner)),
        (key: "weights", value: .int(weightBytes)), (key: "code", value: .int(code)),
        (key: "programs", value: .int(programs)), (key: "tokenizer", value: .int(sum("tokenizer"))),
        (key: "cpu", value: .array(levels.map { .string($0.rawValue) })),
        (key: "compile_s", value: .double(compile)), (key: "total_s", value: .double(total)),
      ])
      return try Console.current.write(object.text + "\n")
    }
    guard !quiet else { return }
    func megabytes(_ count: Int) -> String { fixed(Double(count) / 1e6, 1) + " MB" }
    let beside = written.weightsBytes > 0 ? " and '\(weightsName)': \(megabytes(written.weightsBytes))" : ""
    Console.current.writeError(
      "'\(output)': \(megabytes(written.bytes))\(beside), of it weights \(megabytes(weightBytes)), "
        + "runner \(megabytes(runner)), code \(megabytes(code)); for \(levels.map(\.rawValue).joined(separator: ", "))\n"
        + "compiled in \(fixed(compile, 2)) s, written after \(fixed(total, 2)) s\n")
  }
}

extension CompileCommand: PluginCommand {}
