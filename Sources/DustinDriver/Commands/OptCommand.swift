import ArgumentParser
import DustinCodegen
import DustinIR
import DustinPasses
import DustinRunner
import DustinSupport

struct OptCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "opt", abstract: "Rewrites a module with passes.",
    discussion: """
      A pipeline is a list of passes with options, 'canonicalize,derive{as=verify rows=all},cse'; it may name pipelines. \
      Dumps, timings and counters go to standard error. Input is never overwritten unless -o names it.
      """)

  enum Emission: String, ExpressibleByArgument, CaseIterable {
    /// The module as text.
    case tensor
    /// Kernels, calls and buffers; needs stage planned.
    case plan
  }

  @Argument(help: "The .dust file; '-' is standard input.")
  var file = "-"
  @Option(name: [.customShort("p"), .long], help: "The passes to run.")
  var passes: String?
  @Option(name: .customLong("print-ir-before"), help: "Dumps the module before a pass; may be repeated.")
  var printBefore: [String] = []
  @Option(name: .customLong("print-ir-after"), help: "Dumps the module after a pass; may be repeated.")
  var printAfter: [String] = []
  @Flag(name: .customLong("print-ir-after-all"), help: "Dumps the module after every pass.")
  var printAfterAll = false
  @Flag(name: .customLong("print-ir-after-change"), help: "Dumps the module after every pass that changed it.")
  var printAfterChange = false
  @Flag(name: .customLong("print-ir-after-failure"), help: "Dumps the module as a failing pass left it.")
  var printAfterFailure = false
  @Flag(help: "Verifies the module after every pass, not only after the last.")
  var verifyEach = false
  @Flag(help: "Prints the time of every pass.")
  var timing = false
  @Flag(help: "Prints the counters of every pass.")
  var stats = false
  @Option(help: "What to print: tensor (the module) or plan (kernels, calls and buffers).")
  var emit = Emission.tensor
  @Option(help: "CPU path of --emit=plan: auto, avx512-bf16 or generic.")
  var cpu = CPUChoice.auto
  @Option(
    help: "Writes what repeats a failure into a file: the module before the failing pass and the rest of the pipeline.")
  var reproducer: String?
  @Option(parsing: .unconditional, help: "Runs only the first passes of the pipeline, for bisection.")
  var passLimit: Int?
  @Option(name: [.short, .long], help: "The file to write; '-' is standard output.")
  var output = "-"

  func validate() throws {
    if let passLimit, passLimit < 0 { throw ValidationError("--pass-limit must be 0 or more, not \(passLimit).") }
  }

  func run() throws {
    try writeResult(rewrite({ try readSource(file) }, ops: .standard, passes: .standard), to: output)
  }

  /// What the command prints, over the given ops and passes.
  func rewrite(_ read: () throws -> SourceBuffer, ops: OpRegistry, passes registry: PassRegistry) throws -> String {
    let console = Console.current
    // The pipeline first: a typing error should not wait for a file to be read.
    let pipeline = try PassPipeline.parse(passes ?? "", registry: registry, source: "-p")
    for name in printBefore + printAfter where registry.make(name) == nil {
      throw unknownName("unknown-pass", "pass", name, registry.names)
    }
    let module = try ModuleParser.parseVerified(read(), registry: ops)

    var manager = PassManager()
    manager.registry = ops
    manager.verifyEach = verifyEach
    manager.passLimit = passLimit
    let dumps = PassDumps(
      before: printBefore.isEmpty ? .none : .named(Set(printBefore)),
      after: printAfterAll ? .all : printAfter.isEmpty ? .none : .named(Set(printAfter)),
      afterChange: printAfterChange, afterFailure: printAfterFailure
    ) { console.writeError($0) }
    let (passTiming, statistics) = (PassTiming(), PassStatistics())
    manager.instrumentations = [dumps] + (timing ? [passTiming] : []) + (stats ? [statistics] : [])
    var repetition: String?
    if reproducer != nil { manager.reproducer = { repetition = $0 } }
    do {
      try manager.run(pipeline, on: module)
    } catch {
      if let reproducer, let repetition { try writeFileAtomically(reproducer, bytes: Array(repetition.utf8)) }
      throw error
    }
    if timing { console.writeError(passTiming.report()) }
    if stats { console.writeError(statistics.report()) }
    switch emit {
    case .tensor: return module.text()
    case .plan: return try KernelPlan(lowering: module, for: cpu.target()).text()
    }
  }
}

/// The commands that make a text of a module, for tools that run them on a text in memory: what `DustinTesting` offers
/// to RUN lines. Plug-ins' tools give the ops and passes that they know.
public enum ModuleCommands {
  /// `dustin opt` with its arguments; the file is the given text. Dumps go to `Console.current`.
  ///
  /// - Throws: a diagnostic with id `usage` for arguments that the command does not understand.
  public static func opt(
    _ arguments: [String], _ input: SourceBuffer, ops: OpRegistry = .standard, passes: PassRegistry = .standard
  ) throws -> String {
    try parse(OptCommand.self, arguments).rewrite({ input }, ops: ops, passes: passes)
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

/// `--cpu`.
enum CPUChoice: String, ExpressibleByArgument, CaseIterable, Sendable {
  case auto
  case avx512BF16 = "avx512-bf16"
  case generic

  /// Throws when this machine cannot run the path.
  func target() throws -> CPUTarget {
    switch self {
    case .auto: try .host()
    case .generic: .generic
    case .avx512BF16: .avx512BF16
    }
  }

  /// The path, if this machine can run its code.
  func runnableTarget() throws -> CPUTarget {
    let host = try CPUTarget.host()
    if self == .avx512BF16, host != .avx512BF16 {
      throw DiagnosticError("unsupported-cpu", "this CPU cannot run the path 'avx512-bf16'; its best is '\(host)'")
    }
    return try target()
  }
}
