import DustinIR
import DustinPasses
import DustinSupport

extension DustTest {
  /// `opt` and `check`, over the given ops and passes: a plug-in's tests pass the registries that know its own.
  public static func commands(
    registry: OpRegistry = .standard, passes: PassRegistry = .standard
  ) -> [String: Command] {
    [
      "opt": { try opt($0, $1, registry, passes) },
      "check": { try check($0, $1, registry) },
    ]
  }

  /// `opt -p PIPELINE [--verify-each] [--pass-limit N]`: the module behind the passes.
  private static func opt(
    _ arguments: [String], _ input: SourceBuffer, _ registry: OpRegistry, _ passes: PassRegistry
  ) throws -> String {
    var manager = PassManager()
    manager.registry = registry
    var pipeline = PassPipeline()
    var rest = arguments[...]
    while let argument = rest.popFirst() {
      switch argument {
      case "-p", "--passes":
        guard let text = rest.popFirst() else { throw usage("opt: \(argument) needs a pipeline") }
        pipeline = try PassPipeline.parse(text, registry: passes)
      case "--verify-each": manager.verifyEach = true
      case "--pass-limit":
        guard let limit = rest.popFirst().flatMap({ Int($0) }), limit >= 0 else {
          throw usage("opt: --pass-limit needs a number from 0")
        }
        manager.passLimit = limit
      default: throw usage("opt: unknown argument '\(argument)'")
      }
    }
    let module = try ModuleParser.parseVerified(input, registry: registry)
    try manager.run(pipeline, on: module)
    return module.text()
  }

  /// `check`: nothing, or every error of the file.
  private static func check(_ arguments: [String], _ input: SourceBuffer, _ registry: OpRegistry) throws -> String {
    if let argument = arguments.first { throw usage("check: unknown argument '\(argument)'") }
    _ = try ModuleParser.parseVerified(input, registry: registry)
    return ""
  }

  private static func usage(_ message: String) -> DiagnosticError { DiagnosticError("usage", message) }
}
