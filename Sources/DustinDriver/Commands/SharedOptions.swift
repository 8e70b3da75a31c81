import ArgumentParser
import DustinCodegen
import DustinRunner
import DustinRuntime

extension NumericsChoice: ExpressibleByArgument {}

/// A model, and its draft if it has one.
struct PairOptions: ParsableArguments {
  @Option(name: [.short, .long], help: .target)
  var model: String
  @Option(name: .draftModel, help: .draftModel)
  var draftModel: String?

  func validate() throws {
    if model.isEmpty { throw ValidationError("-m needs the path of a model directory.") }
  }
}

/// Options that several commands have, some of them without a default.
extension NameSpecification {
  static let draftModel: NameSpecification = [
    .customLong("md", withSingleDash: true), .customLong("draft-model"), .customLong("model-draft"),
  ]
}

extension ArgumentHelp {
  static let target = ArgumentHelp("The target: a Hugging Face model directory.", valueName: "dir")
  static let draftModel = ArgumentHelp("The draft: a smaller model with the same tokenizer.", valueName: "dir")
  static let numerics = ArgumentHelp(
    "fast: bf16 weights, cache and dot inputs, f32 sums. f32: weights as in the file, all else in f32.")
}

/// How models are compiled and on what they run.
struct MachineOptions: ParsableArguments {
  @Option(help: .numerics)
  var numerics = NumericsChoice.fast
  @Option(help: "CPU path: \(CPUChoice.list).")
  var cpu = CPUChoice.native
  @Option(name: .shortAndLong, parsing: .unconditional, help: .of(.threads)) var threads: Int?
  @Flag(help: .hidden)
  var verifyEach = false

  func validate() throws {
    if let problem = RunSettings.problem(threads: threads) { throw ValidationError(problem) }
  }

  var threadCount: Int { threads ?? usableCores() }

  func loadOptions() throws -> LoadOptions {
    var options = LoadOptions(target: try cpu.runnableTarget())
    options.numerics = numerics
    options.verifyEach = verifyEach
    return options
  }
}

/// How verification is made sparse.
struct PresetOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Verification reads a set of positions in the place of all: dustin, 'dustin{budget=256}', … ('dustin presets').",
      valueName: "preset"))
  var preset: String?
  @Option(
    help: ArgumentHelp(
      "What 'dustin calibrate' found; default: sparsity.json in the target's directory, if there is one.",
      valueName: "file"))
  var sparsity: String?

  func validate() throws {
    if sparsity != nil, preset == nil { throw ValidationError("--sparsity is for a --preset.") }
  }

  /// The preset with what is known of the models; nil without `--preset`.
  func choice(target: String, draft: String?) throws -> PresetChoice? {
    guard let preset else { return nil }
    return try PresetChoice(preset, sparsity: sparsity, target: target, draft: draft)
  }
}
