import DustinIR

/// The residual sum at the end of a matmul.
///
///     %o = linear %a, weight(@w)
///     %y = add %x, %o              →   %y = linear %a, weight(@w), residual(%x)
///
/// Legal because the op adds the residual in f32 after everything else, and a sum of two has one result either way
/// round. Only the sum may use the linear's result.
public struct FuseResidual: Pass {
  public let name = "fuse-residual"
  public let summary = "Moves the sum behind a linear into it."

  public init() {}

  public func run(on module: Module, context: PassContext) throws {
    try context.require(.kernel, of: module)
    for function in module.functions {
      context.rewrite(function) { rewriter in
        for add in rewriter.operations where add.name == "add" {
          let (a, b) = (add.operands[0], add.operands[1])
          // In `x + f(x)` the branch is written last; try it first, since both sides may be linears.
          _ = fuse(add, residual: a, branch: b, rewriter) || fuse(add, residual: b, branch: a, rewriter)
        }
      }
    }
  }

  private func fuse(_ add: Operation, residual: Value, branch: Value, _ rewriter: Rewriter) -> Bool {
    guard let linear = branch.definingOperation, linear.name == "linear", rewriter.onlyUser(of: branch) === add,
      linear[group: "residual"].isEmpty, branch.type.element == .f32
    else { return false }
    // At the place of the sum, where both sides are known.
    let fused = Operation(
      .linear, linear.groups + [OperandGroup("residual", [residual])], linear.attributes,
      results: [(add.result.name, add.result.type)], location: linear.location)
    rewriter.replace(add, with: fused)
    rewriter.erase(linear)
    rewriter.context.count("fused-residuals")
    return true
  }
}
