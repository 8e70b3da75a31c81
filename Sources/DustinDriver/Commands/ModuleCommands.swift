import ArgumentParser
import DustinIR
import DustinPasses
import DustinSupport

/// The commands that make a text of a module, for tools that run them on a text in memory: what `DustinTesting` offers
/// to RUN lines. Plug-ins' tools give the ops and passes that they know.
public enum ModuleCommands {
  /// `dustin opt` with its arguments; the file is the given text. Dumps go to `Console.current`.
  ///
  /// - Throws: a diagnostic with id `usage` for arguments that the command does not understand.
  public static func opt(
    _ arguments: [String], _ input: SourceBuffer, ops: OpRegistry = .standard, passes: PassRegistry = .standard
  ) throws -> String {
    let command = try parse(OptCommand.self, arguments)
    // A text in memory may be anybody's, such as the RUN line of a test: it must not run programs.
    guard command.plugins.load.isEmpty, command.plugins.passExec.isEmpty else {
      throw DiagnosticError("usage", "opt: --load and --pass-exec are for the command that reads this line")
    }
    return try command.rewrite({ input }, ops: ops, passes: passes)
  }

  /// `dustin check`: nothing, or every error of the text.
  public static func check(
    _ arguments: [String], _ input: SourceBuffer, ops: OpRegistry = .standard
  ) throws -> String {
    if let argument = arguments.first { throw DiagnosticError("usage", "check: unexpected argument '\(argument)'") }
    _ = try ModuleParser.parseVerified(input, registry: ops)
    return ""
  }

  private static func parse<Command: ParsableCommand>(_ type: Command.Type, _ arguments: [String]) throws -> Command {
    do {
      return try type.parse(arguments)
    } catch {
      throw DiagnosticError("usage", "\(type.configuration.commandName ?? ""): \(type.message(for: error))")
    }
  }
}
