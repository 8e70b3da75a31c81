import DustinIR
import DustinPasses
import DustinRunner
import DustinSupport

/// A program as a pass: `--pass-exec COMMAND`. The module's text goes to its standard input, and what it prints is the
/// new module; what it writes to standard error goes on to the tool's. The shell runs it.
///
/// Legal is what the verifier lets through: the output is parsed and verified at once, whatever comes next. Functions may
/// go, as with `drop`; since that is seldom meant, it is told.
struct CommandPass: Preset {
  let name: String
  /// What the shell runs, and where it was given.
  let command: SourceRange
  /// Most bytes of output: the text of a large model has a few million.
  var limit = 1 << 26
  /// That the command may take; nil: all that it takes.
  var seconds: Double?
  /// Passes of a pair run on threads of their own, which do not know the command's console.
  private let console = Console.current

  var summary: String { "The filter '\(commandText)'." }
  var source: String { "--pass-exec" }
  var commandText: String { command.text }

  init(name: String, command: SourceRange, seconds: Double?) {
    self.name = name
    self.command = command
    self.seconds = seconds
  }

  func validate() -> String? {
    commandText.contains { !$0.isWhitespace } ? nil : "\(name): the command of --pass-exec is empty"
  }

  /// It is no text of passes: both models go through the filter itself.
  func pipeline(for role: PresetRole) -> String { "" }

  func run(on module: Module, context: PassContext) throws {
    let before = module.text()
    let outcome = try Filter.run(commandText, input: Array(before.utf8), limit: limit, seconds: seconds, at: command)
    switch outcome.end {
    case .exit(0): break
    case .exit(127):
      throw error("pass-exec-command", "the command was not found, or one that it runs: exit status 127")
    case .exit(let status): throw error("pass-exec-status", "the filter failed: exit status \(status)")
    case .signal(let number): throw error("pass-exec-status", "the filter was ended by signal \(number)")
    case .tooLong:
      throw error(
        "pass-exec-output", "the filter printed more than \(limit >> 20) MiB, which no module has, and was ended")
    case .tooSlow:
      throw DiagnosticError(
        "pass-exec-time", "the filter was not done after \(fixed(seconds ?? 0, 0)) s and was ended", at: command,
        notes: [.note("--pass-timeout SECONDS gives it more; 0: all that it takes")])
    }
    let buffer = SourceBuffer(name: "<output of \(name)>", utf8: outcome.output)
    guard outcome.output.contains(where: { $0 > 0x20 }) else {
      throw error("pass-exec-output", "the filter printed nothing: it must print the whole module")
    }
    let made: Module
    do {
      made = try ModuleParser.parseVerified(buffer, registry: context.registry)
    } catch let problem as DiagnosticError {
      let head = Diagnostic("pass-exec-output", "what the filter printed is not a valid module", at: command)
      throw DiagnosticError([head] + problem.diagnostics)
    }
    let lost = module.functions.map(\.name).filter { made.function($0) == nil }
    if !lost.isEmpty {
      console.writeError("note: \(name) left out \(lost.map { "@\($0)" }.joined(separator: ", "))\n")
    }
    if made.text() != before { context.noteChange() }
    module.replaceContents(with: made)
  }

  private func error(_ id: String, _ message: String) -> DiagnosticError {
    DiagnosticError(id, message, at: command)
  }
}
