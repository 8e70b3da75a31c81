import DustinIR

/// Drops operations whose results nobody uses, and globals that no function uses.
///
/// Legal because ops are pure: what an operation does shows only in its results. Arguments stay, they are the
/// function's interface.
public struct DeadCode: Pass {
  public let name = "dce"
  public let summary = "Drops unused operations and globals."

  public init() {}

  public func run(on module: Module, context: PassContext) throws {
    for function in module.functions {
      context.rewrite(function) { rewriter in
        for operation in rewriter.operations.reversed() where rewriter.isDead(operation) {
          rewriter.erase(operation)
          context.count("dead-ops")
        }
      }
    }
    var used: Set<Value> = []
    for function in module.functions {
      used.formUnion(function.returns)
      for operation in function.body { used.formUnion(operation.allOperands) }
    }
    let kept = module.globals.filter { used.contains($0.value) }
    if kept.count < module.globals.count {
      context.count("dead-globals", module.globals.count - kept.count)
      context.noteChange()
      module.globals = kept
    }
  }
}
