import ArgumentParser
import DustinIR
import DustinRunner
import DustinSupport

struct CheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check", abstract: "Parses and verifies modules; prints every error of every file.",
    discussion: "Silent when all is well.")

  @Argument(help: "The .dust files; '-' is standard input.")
  var files: [String]

  func run() throws {
    var errors: [Diagnostic] = []
    for file in files {
      do {
        _ = try ModuleParser.parseVerified(readSource(file))
      } catch let error as DiagnosticError {
        errors += error.diagnostics
      }
    }
    if !errors.isEmpty { throw DiagnosticError(errors) }
  }
}
