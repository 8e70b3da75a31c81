import DustinIR
import DustinSupport

/// A published method, or a mixture, as a choice of options for the sparsity passes: `dustin{budget=128}`.
///
/// A preset is a pass that runs other passes, so that `--preset` and a pipeline mean the same; its text is all that it
/// is. It belongs behind `numerics` and in front of `choose-kv-layout`, in the pipelines of both models.
public protocol Preset: Pass {
  /// Where the method was published.
  var source: String { get }
  /// How this differs from what was published, one sentence each.
  var deviations: [String] { get }
  /// Whether the target needs the draft's look-ahead.
  var needsDraft: Bool { get }
  /// Names of the options that a calibration of the models finds; all others are as published, whatever the models.
  var calibratedOptions: [String] { get }
  /// The passes for a model: of the target (it has `@verify`) or of the draft. Empty: the model stays as it is.
  func pipeline(for role: PresetRole) -> String
  /// What `pipeline` may name: the sparsity passes, and those that the preset brings itself:
  ///
  ///     var parts: PassRegistry { PassRegistry.sparsity.with([MyQuotas.init]) }
  var parts: PassRegistry { get }
}

public enum PresetRole: String, Sendable, CaseIterable { case target, draft }

extension Preset {
  public var deviations: [String] { [] }
  public var needsDraft: Bool { false }
  public var calibratedOptions: [String] { [] }
  public var parts: PassRegistry { .sparsity }

  public func validate() -> String? { PassPipeline.problem(of: self) }

  public func run(on module: Module, context: PassContext) throws {
    try context.require(.tensor, of: module)
    let role: PresetRole = module.function("verify") != nil ? .target : .draft
    guard role == .target || module.function("draft") != nil else {
      throw DiagnosticError(
        "unknown-function", "\(name): the module has neither @verify nor @draft; run target or draft first")
    }
    if case .string(let other)? = module.attributes["preset"] {
      throw DiagnosticError("preset-already", "\(name): the module already is as the preset '\(other)' makes it")
    }
    let text = pipeline(for: role)
    for pass in try PassPipeline.parse(text, registry: parts, source: "<preset \(name)>").passes {
      try RunningPass.noting(pass.name) { try pass.run(on: module, context: context) }
    }
    module.attributes["preset"] = .string(PassPipeline.text(of: self))
    context.noteChange()
  }
}

extension PassRegistry {
  /// The passes that presets are made of.
  public static let sparsity: PassRegistry = {
    var registry = PassRegistry()
    registry.register(LookAhead())
    registry.register(FuseLookAhead())
    registry.register(SparsifyDraft())
    registry.register(SparsifyVerify())
    registry.register(ShareSelection())
    registry.register(Policies())
    return registry
  }()

  /// This registry and some passes more; a name that is taken stays as it was.
  public func with(_ makers: [@Sendable () -> any Pass]) -> PassRegistry {
    var registry = self
    for make in makers { registry.register(make()) }
    return registry
  }

  /// One new preset of every kind, in the order of registration.
  public var presets: [any Preset] { passes.compactMap { $0 as? any Preset } }
}

/// The text of a pass with the options that are given: `passText("policy", [("refresh", 2), ("dense-every", nil)])` is
/// `policy{refresh=2}`.
public func passText(_ name: String, _ options: [(String, (any PassOptionValue)?)]) -> String {
  PassPipeline.text(of: name, options.compactMap { key, value in value.map { (key, $0.optionText) } })
}

extension PassPipeline {
  /// Why a preset's passes do not fit its options; nil when they do. What a preset without a `validate` of its own says.
  public static func problem(of preset: some Preset) -> String? {
    for role in PresetRole.allCases {
      do {
        _ = try PassPipeline.parse(
          preset.pipeline(for: role), registry: preset.parts, source: "<preset \(preset.name)>")
      } catch let error as DiagnosticError {
        return "\(preset.name): \(error.diagnostics.first?.message ?? "the options do not fit together")"
      } catch {
        return "\(preset.name): the options do not fit together"
      }
    }
    return nil
  }
}
