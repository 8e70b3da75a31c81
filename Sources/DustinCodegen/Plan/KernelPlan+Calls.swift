import DustinIR

extension KernelPlan {
  /// A call of a planned function, as tools that look at one kernel at a time see it.
  public struct PlannedCall {
    /// `matmul`, `attend`, …: the family that the kernel belongs to.
    public let family: String
    /// The kernel with its shape.
    public let kernel: String
    /// The op that the call computes, perhaps together with the calls before and behind it.
    public let operation: Operation
    /// The call's part of the function's table: a table by itself.
    public let words: [Int64]
  }

  /// The calls of a function in order; nil for a function that the plan lacks.
  public func calls(of function: String) -> [PlannedCall]? {
    guard let planned = functions.first(where: { $0.name == function }) else { return nil }
    return planned.calls.map { call in
      let kernel = kernels[call.kernel]
      let head = [Int64(call.kernel), call.barrier ? 1 : 0, Int64(call.arguments.count)]
      return PlannedCall(
        family: family(of: kernel), kernel: kernel.name, operation: call.operation,
        words: head + call.arguments.map(\.word))
    }
  }

  private func family(of kernel: any Kernel) -> String {
    let name = String(describing: type(of: kernel))
    return (name.hasSuffix("Kernel") ? String(name.dropLast(6)) : name).lowercased()
  }
}
