import ArgumentParser
import DustinIR
import DustinPasses
import DustinRunner
import DustinSupport

struct PresetsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "presets", abstract: "Lists the presets for sparse verification, or explains one.")

  @Argument(help: "The preset to explain, with options or without: 'dustin{budget=128}'.")
  var name: String?
  @OptionGroup var plugins: PluginOptions

  func run() throws {
    let presets = PassRegistry.tool.presets
    guard let name else { return try Console.current.write(nameTable(presets.map { ($0.name, $0.summary) })) }
    let word = String(name.prefix { $0 != "{" })
    guard let plain = presets.first(where: { $0.name == word }) else {
      throw unknownName("unknown-preset", "preset", word, presets.map(\.name))
    }
    // Without options it need not be complete: some must come from sparsity.json.
    let preset = word == name ? plain : try chosen(name) ?? plain
    var lines = [preset.name, "  \(preset.summary)", "  \(preset.source)"]
    if !preset.options.isEmpty { lines += ["", "options"] }
    for option in preset.options {
      let value = option.text.isEmpty ? "" : " (\(option.isSet ? "given" : "default") \(option.text))"
      lines.append("  \(option.name)=\(option.kind)\(value): \(option.summary)")
    }
    lines += ["", "passes"]
    for role in PresetRole.allCases {
      let text = preset.pipeline(for: role)
      lines.append("  \(role.rawValue): \(text.isEmpty ? "as without the preset" : text)")
    }
    if !preset.deviations.isEmpty { lines += ["", "different from what was published"] }
    lines += preset.deviations.map { "  \($0)" }
    try Console.current.write(lines.joined(separator: "\n") + "\n")
  }

  private func chosen(_ text: String) throws -> (any Preset)? {
    let passes = try PassPipeline.parse(text, registry: .tool, source: "<preset>").passes
    guard passes.count == 1 else {
      throw DiagnosticError("preset", "'dustin presets' explains one preset at a time, not \(passes.count)")
    }
    return passes[0] as? any Preset
  }
}
