import DustinIR

/// Gate and up projections, the activation and the product in one matmul.
///
///     %g = linear %n, weight(@gate)
///     %u = linear %n, weight(@up)
///     %s = silu %g
///     %m = mul %s, %u                 →   %m = linear %n, weight(@gate, @up) {activation = swiglu}
///
/// Legal because the op computes silu(gate) * up in f32 in the same order; the product's operands may stand either way
/// round. Nobody else may use the parts, otherwise they would be computed twice. With a bias on both or on none.
public struct FuseSwiGLU: Pass {
  public let name = "fuse-swiglu"
  public let summary = "Makes one linear of gate, up, silu and their product."

  public init() {}

  public func run(on module: Module, context: PassContext) throws {
    try context.require(.kernel, of: module)
    for function in module.functions {
      context.rewrite(function) { rewriter in
        for mul in rewriter.operations where mul.name == "mul" {
          _ =
            fuse(mul, mul.operands[0], mul.operands[1], rewriter)
            || fuse(mul, mul.operands[1], mul.operands[0], rewriter)
        }
      }
    }
  }

  private func fuse(_ mul: Operation, _ activated: Value, _ upper: Value, _ rewriter: Rewriter) -> Bool {
    guard let silu = activated.definingOperation, silu.name == "silu", rewriter.onlyUser(of: activated) === mul,
      let gate = plainLinear(silu.operands[0], for: silu, rewriter), let up = plainLinear(upper, for: mul, rewriter),
      gate !== up, gate.operands[0] === up.operands[0]
    else { return false }
    let weights = gate[group: "weight"] + up[group: "weight"]
    let biases = gate[group: "bias"] + up[group: "bias"]
    guard weights.count == 2, weights[0].type == weights[1].type, biases.isEmpty || biases.count == 2,
      Set(biases.map(\.type)).count <= 1
    else { return false }
    let fused = Operation(
      .linear,
      [OperandGroup("", gate.operands), OperandGroup("weight", weights), OperandGroup("bias", biases)],
      AttributeList([("activation", .word("swiglu"))]), results: [(mul.result.name, mul.result.type)],
      location: mul.location)
    rewriter.replace(mul, with: fused)
    for part in [silu, gate, up] { rewriter.erase(part) }
    rewriter.context.count("fused-swiglus")
    return true
  }

  /// The linear with f32 results and nothing fused into it that only `user` uses.
  private func plainLinear(_ value: Value, for user: Operation, _ rewriter: Rewriter) -> Operation? {
    guard let linear = value.definingOperation, linear.name == "linear", linear.attributes.isEmpty,
      value.type.element == .f32, rewriter.onlyUser(of: value) === user,
      linear.groups.allSatisfy({ ["", "weight", "bias"].contains($0.label) })
    else { return nil }
    return linear
  }
}
