extension OpDefinition {
  /// One op for the plain and for every fused form: fusing moves operands into its groups.
  public static let linear = OpDefinition(
    name: "linear",
    summary: "Rows times the transposed weights, with an optional norm before and bias, residual or SwiGLU after.",
    meaning: """
      u = norm given ? rmsnorm(x, norm, eps) : x, rounded to `round` if given
      z[t, n] = sum_k u[t, k] * W[n, k] in f32, k ascending; W is the weights one under the other
      z += bias (one per weight, side by side); swiglu: z = silu(z_first_half) * z_second_half
      y = residual + z, rounded to the result's element type
      """,
    operandGroups: [
      OperandGroupSpec("", 1...1, "x: [T, K], f32 or bf16"),
      OperandGroupSpec("norm", 0...1, inTensor: 0...0, "gain: [K]"),
      OperandGroupSpec("weight", 1...3, inTensor: 1...1, "[N_i, K] each"),
      OperandGroupSpec("bias", 0...3, inTensor: 0...1, "[N_i] each, none or as many as weights"),
      OperandGroupSpec("residual", 0...1, inTensor: 0...0, "f32[T, N]"),
    ],
    attributes: [
      AttributeSpec("eps", .float, fused: true, "of the norm; required with norm"),
      AttributeSpec(
        "round", .word(["bf16"]), fused: true, "element type that the normed rows are rounded to; default none"),
      AttributeSpec(
        "activation", .word(["swiglu"]), fused: true,
        "with exactly two weights of one shape, gate then up; default none"),
    ],
    stages: [.tensor, .kernel, .planned],
    example: "%y = linear %x, weight(@w), bias(@b) : f32[T, 64]"
  ) { op, written in
    let x = only(op)
    try rule(x.rank == 2 && (x.element == .f32 || x.element == .bf16), "x must be f32 or bf16 [T, K], not \(x)")
    var width = 0
    let weights = op[group: "weight"].map(\.type)
    for weight in weights {
      try rule(weight.rank == 2 && weight.element.isFloat, "a weight must be a float matrix, not \(weight)")
      try rule(weight.shape[1] == x.shape[1], "the weight \(weight) does not fit rows of \(x.shape[1])")
      width += try fixed(weight.shape[0], "the rows of \(weight)")
    }
    let biases = op[group: "bias"].map(\.type)
    try rule(
      biases.isEmpty || biases.count == weights.count, "there are \(biases.count) biases for \(weights.count) weights")
    for (bias, weight) in zip(biases, weights) {
      try rule(bias.rank == 1 && bias.shape[0] == weight.shape[0], "the bias \(bias) does not fit the weight \(weight)")
    }
    if let gain = op[group: "norm"].first?.type {
      try rule(x.element == .f32, "x must be f32 before a norm, not \(x)")
      try rule(gain.rank == 1 && gain.shape[0] == x.shape[1], "the gain \(gain) does not fit rows of \(x.shape[1])")
      try rule(op.attributes.float("eps") != nil, "a norm needs eps")
    } else {
      try rule(op.attributes["round"] == nil, "round needs a norm")
      try rule(op.attributes["eps"] == nil, "eps needs a norm")
    }
    if op.attributes.word("activation") == "swiglu" {
      try rule(weights.count == 2 && weights[0].shape == weights[1].shape, "swiglu needs two weights of one shape")
      width /= 2
    }
    let element = writtenElement(written, .f32)
    try rule(element == .f32 || element == .bf16, "the result must be f32 or bf16, not \(element.rawValue)")
    let result = TensorType(element, [x.shape[0], .fixed(width)])
    if let residual = op[group: "residual"].first?.type {
      try rule(
        residual == result && element == .f32, "the residual must be \(result.with(element: .f32)), not \(residual)")
    }
    return [result]
  }
}
