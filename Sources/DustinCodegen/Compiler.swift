import CDustin
import DustinIR
import DustinSupport

/// From a planned module to code, program and weights.
public struct Compiler {
  /// Everything that the runtime needs to run a model.
  public struct Output {
    public let plan: KernelPlan
    public let code: CodeImage
    public var program: Program { plan.program }
  }

  /// The LLVM that compiles: `14.0.6`.
  public static var llvmVersion: String { LLVMSetup.version }

  /// Lowers and compiles a module in stage `planned`.
  public static func compile(_ module: Module, for target: CPUTarget) throws -> Output {
    let plan = try KernelPlan(lowering: module, for: target)
    return Output(plan: plan, code: try plan.codeImage())
  }
}

extension KernelPlan {
  /// Fills `target` (64-byte aligned, zeroed, `program.weightBytes` long) with the packed weights, on all cores.
  public func packWeights(into target: UnsafeMutableRawPointer, from lookup: TensorLookup) throws {
    try weights.pack(into: target, from: lookup)
  }
  /// Bytes of matrices and vectors that one step reads when it touches every weight once.
  public var weightBytes: Int { weights.byteCount }
}
