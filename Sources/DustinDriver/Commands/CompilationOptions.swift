import ArgumentParser
import DustinIR
import DustinModels
import DustinPasses
import DustinSupport

/// `dustin opt`: a model instead of a file, and the standard passes up to a stage.
struct CompilationOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Runs the standard passes that the module still needs behind those of -p: tensor, kernel or planned.",
      valueName: "stage"))
  var compileTo: Stage?
  @Option(name: [.short, .long], help: ArgumentHelp("A model directory in the file's place.", valueName: "dir"))
  var model: String?
  @Option(
    name: .draftModel,
    help: ArgumentHelp("The model's draft: --role draft rewrites it, presets may need it.", valueName: "dir"))
  var draftModel: String?
  @Option(help: "What --compile-to makes of the model: target or draft.")
  var role = ModelRole.target
  @Option(help: "Where --compile-to rounds: fast or f32.")
  var numerics = NumericsChoice.fast
  @OptionGroup var presets: PresetOptions

  func validate() throws {
    if draftModel != nil, model == nil { throw ValidationError("-md needs the target's -m.") }
    if presets.preset != nil, compileTo == nil {
      throw ValidationError("--preset is for --compile-to; in -p a preset is a pass.")
    }
    if presets.sparsity != nil, model == nil { throw ValidationError("--sparsity is for a model, -m.") }
  }

  /// The model as its front end writes it; nil when a file is read.
  func module() throws -> Module? {
    guard let model else { return nil }
    return try ModelDirectory(path: role == .draft ? draftModel ?? model : model)
      .importModule(context: nil, maxRows: 512)
  }

  /// The passes behind those of `-p`; nil without `--compile-to`.
  func rest(for module: Module, _ registry: PassRegistry) throws -> PassPipeline? {
    guard let compileTo else { return nil }
    // Beside a model there may be a calibration; a preset for a file is what its text says.
    let preset = try model.map { try presets.choice(target: $0, draft: draftModel)?.text } ?? presets.preset
    let text = try PassPipeline.missing(
      in: module, to: compileTo, role: role.rawValue, numerics: numerics.rawValue, preset: preset)
    return try PassPipeline.parse(text, registry: registry, source: "<passes to stage \(compileTo.rawValue)>")
  }
}
