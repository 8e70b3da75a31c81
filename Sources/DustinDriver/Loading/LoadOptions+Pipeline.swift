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
  ///
  /// - Parameter module: as the front end writes it.
  func pipeline(for role: ModelRole, of module: Module) throws -> PreparedPipeline {
    var manager = PassManager()
    manager.verifyEach = verifyEach
    let own = role == .target ? passTexts.target : passTexts.draft
    let sizes = isExact && role == .target ? ",add-budgets" : ""
    let text =
      try (preset ?? own).map {
        try PassPipeline.missing(
          in: module, to: .planned, role: role.rawValue, numerics: numerics.rawValue, preset: $0 + sizes)
      } ?? "\(role.rawValue)-\(numerics.rawValue)"
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
