import DustinIR
import DustinSupport

/// Declares the module ready for fusion: stage tensor → stage kernel, where ops may have their fused forms.
///
/// Legal once every function's numerics are decided: fusion moves a rounding into the op that makes the number, and so
/// must know that no rounding is still to come.
public struct LowerToKernel: Pass {
  public let name = "lower-to-kernel"
  public let summary = "Moves the module to stage kernel, where fused forms are allowed."

  public init() {}

  public func run(on module: Module, context: PassContext) throws {
    try context.require(.tensor, .kernel, of: module)
    for function in module.functions where function.numerics == .abstract {
      throw DiagnosticError(
        "numerics-undecided", "lower-to-kernel: the numerics of @\(function.name) are not decided; run numerics first",
        at: context.place(of: function, in: module))
    }
    if module.stage == .tensor {
      module.stage = .kernel
      context.noteChange()
    }
  }
}
