import ArgumentParser
import DustinIR
import DustinPasses
import DustinRunner

struct PassesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "passes", abstract: "Lists the passes, or explains one with its options.")

  @Argument(help: "The pass to explain.")
  var name: String?
  @Flag(help: "Prints Markdown: of all passes, with pipelines and presets, it is IR/PASSES.md.")
  var markdown = false
  @OptionGroup var plugins: PluginOptions

  func run() throws {
    let registry = PassRegistry.tool
    if markdown, name == nil { return try Console.current.write(registry.markdown()) }
    guard let name else { return try Console.current.write(nameTable(registry.passes.map { ($0.name, $0.summary) })) }
    guard let pass = registry.make(name) else { throw unknownName("unknown-pass", "pass", name, registry.names) }
    if markdown { return try Console.current.write(PassRegistry.markdown(of: pass)) }
    var lines = [pass.name, "  \(pass.summary)"]
    if let origin = registry.origins[name] { lines.append("  from \(origin)") }
    if !pass.options.isEmpty { lines += ["", "options"] }
    for option in pass.options {
      let value = option.text.isEmpty ? "" : " (default \(option.text))"
      lines.append("  \(option.name)=\(option.kind)\(value): \(option.summary)")
    }
    try Console.current.write(lines.joined(separator: "\n") + "\n")
  }
}

struct PipelinesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pipelines", abstract: "Lists the named pipelines, or prints the text of one.")

  @Argument(help: "The pipeline to print.")
  var name: String?
  @OptionGroup var plugins: PluginOptions

  func run() throws {
    let registry = PassRegistry.tool
    if let name {
      guard let pipeline = registry.pipeline(name) else {
        throw unknownName("unknown-pipeline", "pipeline", name, registry.pipelines.map(\.name))
      }
      return try Console.current.write(pipeline.text + "\n")
    }
    let texts = registry.pipelines.map { pipeline in
      let text = pipeline.text.split(separator: "\n").map { "    \($0)" }.joined(separator: "\n")
      return "\(pipeline.name)\n  \(pipeline.summary)\n\(text)\n"
    }
    try Console.current.write(texts.joined(separator: "\n"))
  }
}
