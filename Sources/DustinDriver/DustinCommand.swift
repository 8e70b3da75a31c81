import ArgumentParser
import DustinIR
import DustinPasses
import DustinRunner
import DustinSupport

/// `dustin`: the root of all commands.
public struct DustinCommand: ParsableCommand {
  public static let configuration = CommandConfiguration(
    commandName: "dustin",
    abstract: "Compiles language models for CPUs and generates text by speculative decoding.",
    discussion: """
      dustin run -m MODEL -md DRAFT -p 'Once upon a time' -n 100 continues a text. A model is a Hugging Face directory:
      config.json, safetensors files and tokenizer.json.
      """,
    version: versionText(),
    subcommands: [
      RunCommand.self, CompileCommand.self, CalibrateCommand.self, EvalCommand.self, BenchCommand.self,
      SelfcheckCommand.self, ImportCommand.self, OptCommand.self, ExplainCommand.self,
      CheckCommand.self, FormatCommand.self, TestCommand.self,
      OpsCommand.self, PassesCommand.self, PipelinesCommand.self, PresetsCommand.self, PluginFlagsCommand.self,
      VersionCommand.self,
    ])

  public init() {}
}

/// Runs the tool with arguments (without the program's name) and returns its exit code: 0, 1 after an error, 64 for
/// arguments that it does not understand, 130 after Ctrl-C, 141 when the reader of standard output went away.
///
/// - Parameter extend: adds the tool's own passes to the built-in ones.
public func runDustin(
  _ arguments: [String], console: Console = .standard, extend: (inout PassRegistry) throws -> Void = { _ in }
) -> Int32 {
  interruption.reset()
  return Console.$current.withValue(console) {
    do {
      var command = try DustinCommand.parseAsRoot(arguments)
      var passes = PassRegistry.standard
      try extend(&passes)
      if let command = command as? any PluginCommand { passes = try command.extended(passes) }
      try PassRegistry.$tool.withValue(passes) { try command.run() }
      return 0
    } catch let code as ExitCode {
      return code.rawValue
    } catch {
      // All others are the argument parser's: wrong arguments, or that somebody wants help.
      return exitCode(after: error, console) ?? answer(error, console)
    }
  }
}

/// Prints what the argument parser says: help to standard output, what it does not understand to standard error.
private func answer(_ error: any Error, _ console: Console) -> Int32 {
  let code = DustinCommand.exitCode(for: error).rawValue
  let message = DustinCommand.fullMessage(for: error) + "\n"
  if code != 0 {
    console.writeError(message)
  } else {
    do { try console.write(message) } catch { return exitCode(after: error, console) ?? 1 }
  }
  return code
}
