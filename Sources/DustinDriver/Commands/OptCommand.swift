import ArgumentParser
import DustinCodegen
import DustinIR
import DustinModels
import DustinPasses
import DustinRunner
import DustinSupport

extension Stage: ExpressibleByArgument {}
extension ModelRole: ExpressibleByArgument {}

struct OptCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "opt", abstract: "Rewrites a module with passes.",
    discussion: """
      A pipeline is a list of passes with options, 'canonicalize,derive{as=verify rows=all},cse'; it may name pipelines. \
      Dumps, diffs, timings and counters go to standard error. Input is never overwritten unless -o names it.

      dustin opt -m MODEL --compile-to=planned --diff shows what every pass of a compilation changes. When a pass fails, \
      --reproducer writes the module in front of it into a file that 'dustin test' runs again. When the result is wrong \
      but no pass fails, halve --pass-limit until the first pass that makes it wrong is the last one that runs.
      """)

  enum Emission: String, ExpressibleByArgument, CaseIterable {
    /// The module as text.
    case tensor
    /// Kernels, calls and buffers; needs stage planned.
    case plan
    /// LLVM's text of the kernels, optimised; needs stage planned.
    case llvm
    /// Assembler text of the kernels; needs stage planned.
    case asm
  }

  @Argument(help: "The .dust file; '-' is standard input.")
  var file = "-"
  @Option(name: [.customShort("p"), .long], help: "The passes to run.")
  var passes: String?
  @OptionGroup(title: "Passes from outside")
  var plugins: PluginOptions
  @OptionGroup(title: "A whole compilation")
  var compilation: CompilationOptions
  @OptionGroup(title: "Looking at passes")
  var dumps: DumpOptions
  @Flag(help: "Verifies the module after every pass, not only after the last.")
  var verifyEach = false
  @Flag(help: "Refuses the result if a pass made a function approximate.")
  var exact = false
  @Option(help: "What to print: tensor (the module), plan (kernels, calls and buffers), llvm or asm (their code).")
  var emit = Emission.tensor
  @Option(help: "CPU path of --emit=plan, llvm and asm: \(CPUChoice.list).")
  var cpu = CPUChoice.native
  @Option(
    help: "Writes what repeats a failure into a file: the module before the failing pass and the rest of the pipeline.")
  var reproducer: String?
  @Option(parsing: .unconditional, help: "Runs only the first passes of the pipeline, for bisection.")
  var passLimit: Int?
  @Option(name: [.short, .long], help: "The file to write; '-' is standard output.")
  var output = "-"

  func validate() throws {
    if let passLimit, passLimit < 0 { throw ValidationError("--pass-limit must be 0 or more, not \(passLimit).") }
    if compilation.model != nil, file != "-" { throw ValidationError("Give a file or -m, not both.") }
  }

  func run() throws {
    try writeResult(rewrite({ try readSource(file) }, ops: .standard, passes: .tool), to: output)
  }

  /// What the command prints, over the given ops and passes.
  func rewrite(_ read: () throws -> SourceBuffer, ops: OpRegistry, passes registry: PassRegistry) throws -> String {
    // The pipeline first: a typing error should not wait for a file to be read.
    var pipeline = try PassPipeline.parse(passes ?? "", registry: registry, source: "-p")
    pipeline.passes += plugins.unnamed
    let watchers = try dumps.watchers(registry)
    let module = try compilation.module() ?? ModuleParser.parseVerified(read(), registry: ops)

    var manager = PassManager()
    manager.registry = ops
    manager.verifyEach = verifyEach
    manager.passLimit = passLimit
    manager.instrumentations = watchers.all
    var repetition: String?
    if reproducer != nil { manager.reproducer = { repetition = $0 } }
    manager.reproducerOptions = plugins.words
    do {
      try manager.run(pipeline, on: module)
      if let rest = try compilation.rest(for: module, registry) {
        try manager.run(rest, on: module, first: pipeline.passes.count)
      }
    } catch {
      if let reproducer, let repetition { try writeFileAtomically(reproducer, bytes: Array(repetition.utf8)) }
      throw error
    }
    try watchers.finish()
    if exact { try requireExact(module) }
    if emit == .tensor { return module.text() }
    let plan = try KernelPlan(lowering: module, for: cpu.target())
    return switch emit {
    case .tensor, .plan: plan.text()
    case .llvm: try plan.llvmText()
    case .asm: try plan.assembly()
    }
  }

  private func requireExact(_ module: Module) throws {
    let found = module.functions.compactMap { function -> Diagnostic? in
      guard case .approximate(let pass) = function.fidelity else { return nil }
      return Diagnostic(
        "exact", "--exact: '\(pass)' made @\(function.name) approximate: it no longer computes the dense distribution")
    }
    if !found.isEmpty { throw DiagnosticError(found) }
  }
}
