import ArgumentParser
import DustinIR
import DustinModels
import DustinRunner

struct ImportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "import", abstract: "Writes a model as a module: config.json to IR.",
    discussion: "The module names the weights and holds none of them. 'dustin opt' rewrites it.")

  @Option(name: [.short, .long], help: "The model's directory.")
  var model: String
  @Option(name: [.short, .long], help: "The file to write; '-' is standard output.")
  var output = "-"
  @Option(
    name: [.customShort("c"), .customLong("ctx-size")], parsing: .unconditional,
    help: "Most positions of the context; default: what the model was made for.")
  var contextSize: Int?
  @Option(parsing: .unconditional, help: "Most rows of one step.")
  var maxRows = 512

  func run() throws {
    let module = try ModelDirectory(path: model).importModule(context: contextSize, maxRows: maxRows)
    try writeResult(module.text(), to: output)
  }
}
