import DustinIR

extension PassRegistry {
  /// The reference of passes, named pipelines and presets, generated from their declarations (IR/PASSES.md).
  public func markdown() -> String {
    let presets = passes.compactMap { $0 as? any Preset }
    let plain = passes.filter { !($0 is any Preset) }
    func table(_ head: String, _ rows: [(name: String, summary: String)]) -> String {
      "| \(head) | in short |\n|---|---|\n"
        + rows.map { "| [`\($0.name)`](#\($0.name)) | \(OpRegistry.cell($0.summary)) |\n" }.joined()
    }
    var text = """
      # Passes, pipelines and presets

      Generated from the declarations in `Sources/DustinPasses`; `dustin passes NAME`, `dustin pipelines NAME` and
      `dustin presets NAME` print one of them. `dustin opt -p 'canonicalize,derive{as=verify rows=all},cse'` runs passes: the
      names of passes, presets and pipelines, with commas between them, options in braces. What a pass does to a module stands
      in its tests, `IR/tests/NAME`.


      """
    text += table("pass", plain.map { ($0.name, $0.summary) })
    text += "\nNamed pipelines stand in a pipeline for the passes that they list.\n\n"
    text += table("pipeline", pipelines.map { ($0.name, $0.summary) })
    text += "\nPresets are passes that run other passes, behind `numerics` and in front of `choose-kv-layout`, in the "
    text += "pipelines of both\nmodels.\n\n"
    text += table("preset", presets.map { ($0.name, $0.summary) })
    for pass in plain { text += "\n" + Self.markdown(of: pass) }
    for pipeline in pipelines {
      text += "\n## \(pipeline.name)\n\n\(pipeline.summary)\n\n```\n\(pipeline.text)\n```\n"
    }
    for preset in presets { text += "\n" + Self.markdown(of: preset) }
    return text
  }

  /// The section of one pass.
  public static func markdown(of pass: any Pass) -> String {
    let preset = pass as? any Preset
    var text = "## \(pass.name)\n\n\(pass.summary)\n"
    if let preset { text += "Published: \(preset.source)\n" }
    if !pass.options.isEmpty {
      text += "\n| option | value | default | |\n|---|---|---|---|\n"
      for option in pass.options {
        let usual = option.defaultText.map { "`\(OpRegistry.cell($0))`" } ?? ""
        var summary = option.summary
        if preset?.calibratedOptions.contains(option.name) == true { summary += "; `dustin calibrate` finds it" }
        text += "| `\(option.name)` | \(OpRegistry.cell(option.kind)) | \(usual) | \(OpRegistry.cell(summary)) |\n"
      }
    }
    guard let preset else { return text }
    text += "\n| model | passes |\n|---|---|\n"
    for role in PresetRole.allCases {
      let passes = preset.pipeline(for: role)
      text += "| \(role.rawValue) | \(passes.isEmpty ? "as without the preset" : "`\(OpRegistry.cell(passes))`") |\n"
    }
    if !preset.deviations.isEmpty { text += "\nDifferent from what was published:\n\n" }
    for deviation in preset.deviations { text += "* \(deviation)\n" }
    return text
  }
}
