import ArgumentParser
import DustinIR
import DustinPasses
import DustinSupport

extension PassRegistry {
  /// The passes that the command that runs knows: the built-in ones, those of the tool's author and those of plug-ins.
  @TaskLocal static var tool = PassRegistry.standard
}

/// Where passes from outside come from. The options of every command that takes passes or presets.
struct PluginOptions: ParsableArguments {
  @Option(
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "A plug-in: a dynamic library with passes and presets, built with the flags of 'dustin plugin-flags'; may be repeated.",
      valueName: "library"))
  var load: [String] = []
  @Option(
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "A filter as a pass: a module's text goes to the command's input, and its output is the new module; may be repeated.",
      discussion: "NAME=COMMAND makes it a pass and a preset that pipelines and --preset call by NAME.",
      valueName: "[name=]command"))
  var passExec: [String] = []
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("That a filter may take before it is ended; 0: all that it takes.", valueName: "seconds"))
  var passTimeout = Self.usualTimeout

  private static let usualTimeout = 60

  func validate() throws {
    try check("--pass-timeout", passTimeout, in: 0...1_000_000)
  }

  private var seconds: Double? { passTimeout == 0 ? nil : Double(passTimeout) }

  /// What dumps call a filter without a name.
  static let unnamedPass = "pass-exec"

  /// A name and what the shell is to run.
  struct Command {
    /// Nil: not to be called by a name.
    let name: String?
    let buffer: SourceBuffer
    let range: SourceRange

    init(_ text: String) {
      buffer = SourceBuffer(name: "--pass-exec", text: text)
      let head = text.prefix { $0 != "=" }
      if head.endIndex < text.endIndex, PassRegistry.isPassName(String(head)) {
        name = String(head)
        range = SourceRange(buffer, head.utf8.count + 1, text.utf8.count)
      } else {
        name = nil
        range = SourceRange(buffer, 0, text.utf8.count)
      }
    }
  }

  /// Adds what the options name.
  func extend(_ registry: inout PassRegistry) throws {
    for path in load { try PluginLibrary(path: path).load(into: &registry) }
    for command in passExec.map(Command.init) {
      guard let name = command.name else { continue }
      let seconds = seconds
      try registry.add(
        [{ CommandPass(name: name, command: command.range, seconds: seconds) }], from: "--pass-exec")
    }
  }

  /// The options as words of a command line that repeats a pipeline: all its filters go by the names that it uses.
  var words: [String] {
    let filters = passExec.map { Command($0).name == nil ? "\(Self.unnamedPass)=\($0)" : $0 }
    let time = passTimeout == Self.usualTimeout || passExec.isEmpty ? [] : ["--pass-timeout", "\(passTimeout)"]
    return load.flatMap { ["--load", $0] } + filters.flatMap { ["--pass-exec", $0] } + time
  }

  /// The commands that have no name: passes behind the others.
  var unnamed: [CommandPass] {
    passExec.map(Command.init).filter { $0.name == nil }.map {
      CommandPass(name: Self.unnamedPass, command: $0.range, seconds: seconds)
    }
  }
}

/// A command whose passes and presets may come from outside.
protocol PluginCommand {
  var plugins: PluginOptions { get }
  /// Whether a filter without a name has a place to run.
  static var runsUnnamedFilters: Bool { get }
}

extension PluginCommand {
  static var runsUnnamedFilters: Bool { false }

  /// The registry with all that the options name.
  func extended(_ registry: PassRegistry) throws -> PassRegistry {
    var registry = registry
    try plugins.extend(&registry)
    if !Self.runsUnnamedFilters, let filter = plugins.unnamed.first {
      throw DiagnosticError(
        "pass-exec", "this filter needs a name by which --preset can call it", at: filter.command,
        notes: [.note("write --pass-exec 'NAME=COMMAND' and --preset NAME")])
    }
    return registry
  }
}

extension OptCommand: PluginCommand {
  static var runsUnnamedFilters: Bool { true }
}
extension RunCommand: PluginCommand {}
extension EvalCommand: PluginCommand {}
extension BenchCommand: PluginCommand {}
extension TestCommand: PluginCommand {}
extension ExplainCommand: PluginCommand {}
extension PassesCommand: PluginCommand {}
extension PipelinesCommand: PluginCommand {}
extension PresetsCommand: PluginCommand {}
