import DustinIR
import DustinPasses

extension LoadOptions {
  /// A pipeline with the manager's settings.
  struct PreparedPipeline {
    let text: String
    let pipeline: PassPipeline
    let manager: PassManager

    func run(on module: Module) throws { try manager.run(pipeline, on: module) }
  }

  /// `target-fast`, `draft-f32`, …: the named pipeline for a role at these numerics, or its parts around the preset.
  func pipeline(for role: ModelRole) throws -> PreparedPipeline {
    var manager = PassManager()
    manager.verifyEach = verifyEach
    let own = role == .target ? passTexts.target : passTexts.draft
    let sizes = isExact && role == .target ? ",add-budgets" : ""
    let text =
      (preset ?? own).map {
        "\(role.rawValue),numerics{mode=\(numerics.rawValue)},\($0)\(sizes),choose-kv-layout,kernels"
      }
      ?? "\(role.rawValue)-\(numerics.rawValue)"
    return PreparedPipeline(
      text: text, pipeline: try PassPipeline.parse(text, registry: passes, source: "<pipeline>"), manager: manager)
  }

  /// The draft takes what context it can: beyond that, the target goes on alone.
  var forDraft: LoadOptions {
    var options = self
    if !mayBeLonger { options.contextSize = nil }
    return options
  }
}
