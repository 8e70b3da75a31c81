import DustinIR
import DustinPasses
import DustinTesting

extension DustTest {
  /// `dustin opt` and `dustin check`, over the given ops and passes: a plug-in's tests pass the registries that know its
  /// own.
  public static func commands(
    registry: OpRegistry = .standard, passes: PassRegistry = .standard
  ) -> [String: Command] {
    [
      "opt": { try ModuleCommands.opt($0, $1, ops: registry, passes: passes) },
      "check": { try ModuleCommands.check($0, $1, ops: registry) },
    ]
  }
}
