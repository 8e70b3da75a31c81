// Ops that work on every row by itself: embedding, norms, elementwise ops, casts, shapes.

extension OpDefinition {
  public static let embed = OpDefinition(
    name: "embed", summary: "Looks up one row of a table per token id.",
    meaning: "y[t, :] = f32(table[ids[t], :])",
    operandGroups: [
      OperandGroupSpec("", 1...1, "ids: i32[T]"), OperandGroupSpec("weight", 1...1, "table: [vocab, N]"),
    ],
    stages: [.tensor, .kernel, .planned],
    example: "%x = embed %ids, weight(@table) : f32[T, 64]"
  ) { op, _ in
    let ids = only(op)
    let table = only(op, "weight")
    try rule(ids.element == .i32 && ids.rank == 1, "ids must be i32[T], not \(ids)")
    try rule(table.rank == 2 && table.element.isFloat, "the table must be a float matrix, not \(table)")
    return [TensorType(.f32, [ids.shape[0], table.shape[1]])]
  }

  public static let rmsnorm = OpDefinition(
    name: "rmsnorm", summary: "Root-mean-square norm of every row, times a gain.",
    meaning: "y[t, i] = x[t, i] / sqrt(mean_j x[t, j]^2 + eps) * gain[i], rounded to the result's element type",
    operandGroups: [
      OperandGroupSpec("", 1...1, "x: f32[T, N]"), OperandGroupSpec("weight", 1...1, "gain: [N]"),
    ],
    attributes: [AttributeSpec("eps", .float, required: true, "added to the mean square")],
    stages: [.tensor, .kernel, .planned],
    example: "%y = rmsnorm %x, weight(@gain) {eps = 1e-06} : f32[T, 64]"
  ) { op, written in
    let x = only(op)
    let gain = only(op, "weight")
    try rule(x.element == .f32 && x.rank == 2, "x must be f32[T, N], not \(x)")
    try rule(gain.rank == 1 && gain.shape[0] == x.shape[1], "the gain \(gain) does not fit rows of \(x.shape[1])")
    let element = writtenElement(written, .f32)
    try rule(element == .f32 || element == .bf16, "the result must be f32 or bf16, not \(element.rawValue)")
    return [x.with(element: element)]
  }

  public static let add = elementwise("add", "Elementwise sum.", "y = a + b", operands: 2)
  public static let mul = elementwise("mul", "Elementwise product.", "y = a * b", operands: 2)
  public static let silu = elementwise("silu", "Sigmoid-weighted linear unit.", "y = x / (1 + exp(-x))", operands: 1)

  private static func elementwise(_ name: String, _ summary: String, _ meaning: String, operands: Int) -> OpDefinition {
    let example = operands == 2 ? "%y = \(name) %a, %b : f32[T, 64]" : "%y = \(name) %a : f32[T, 64]"
    return OpDefinition(
      name: name, summary: summary, meaning: meaning,
      operandGroups: [OperandGroupSpec("", operands...operands, "f32 tensors of one shape")],
      stages: [.tensor, .kernel, .planned], example: example
    ) { op, _ in
      let first = op.operands[0].type
      for operand in op.operands {
        try rule(operand.type.element == .f32, "operands must be f32, not \(operand.type)")
        try rule(operand.type == first, "operands must have one type, not \(first) and \(operand.type)")
      }
      return [first]
    }
  }

  public static let cast = OpDefinition(
    name: "cast", summary: "Rounds to another element type; the only place where numbers round.",
    meaning: "y = round_to_nearest_even(x); f32 to bf16 or back",
    operandGroups: [OperandGroupSpec("", 1...1, "x: a float tensor, or a weight that is packed in the new type")],
    stages: [.tensor, .kernel, .planned], example: "%y = cast %x : bf16[T, 64]"
  ) { op, written in
    let x = only(op)
    guard let result = written.first else { throw TypeRuleError("the result type must be written") }
    try rule(x.element.isFloat && result.element.isFloat, "cast takes and gives floats, not \(x) to \(result)")
    return [x.with(element: result.element)]
  }

  public static let reshape = OpDefinition(
    name: "reshape", summary: "Another view of the same rows: the first extent stays, the rest keeps its product.",
    meaning: "y[t, …] = x[t, …] in row-major order",
    operandGroups: [OperandGroupSpec("", 1...1, "x: [T, …]")],
    stages: [.tensor, .kernel, .planned], example: "%y = reshape %x : f32[T, 4, 16]"
  ) { op, written in
    let x = only(op)
    guard let result = written.first else { throw TypeRuleError("the result type must be written") }
    try rule(x.rank >= 1 && result.rank >= 1 && x.shape[0] == result.shape[0], "reshape keeps the first extent of \(x)")
    let before = try x.shape.dropFirst().reduce(1) { $0 * (try fixed($1, "an inner extent of \(x)")) }
    let after = try result.shape.dropFirst().reduce(1) { $0 * (try fixed($1, "an inner extent of \(result)")) }
    try rule(before == after, "\(result) holds \(after) values a row, \(x) holds \(before)")
    return [TensorType(x.element, result.shape)]
  }

  public static let slice = OpDefinition(
    name: "slice", summary: "A range of every row's columns.",
    meaning: "y[t, i] = x[t, begin + i], 0 <= i < count",
    operandGroups: [OperandGroupSpec("", 1...1, "x: [T, N]")],
    attributes: [
      AttributeSpec("begin", .int, required: true, "first column, from 0"),
      AttributeSpec("count", .int, required: true, "columns, at least 1"),
    ],
    stages: [.tensor, .kernel, .planned], example: "%y = slice %x {begin = 16, count = 32} : f32[T, 32]"
  ) { op, _ in
    let x = only(op)
    try rule(x.rank == 2 && x.element.isFloat, "x must be a float [T, N], not \(x)")
    let width = try fixed(x.shape[1], "the width of \(x)")
    let begin = op.attributes.int("begin") ?? 0
    let count = op.attributes.int("count") ?? 0
    try rule(begin >= 0 && count >= 1 && begin <= width - count, "\(count) columns from \(begin) are not inside \(x)")
    return [TensorType(x.element, [x.shape[0], .fixed(count)])]
  }

  public static let lastRow = OpDefinition(
    name: "last_row", summary: "The last row of the step: all that is needed where only the next token matters.",
    meaning: "y[0, :] = x[T - 1, :]",
    operandGroups: [OperandGroupSpec("", 1...1, "x: [T, N]")],
    stages: [.tensor, .kernel, .planned], example: "%y = last_row %x : f32[1, 64]"
  ) { op, _ in
    let x = only(op)
    try rule(x.rank == 2, "x must be [T, N], not \(x)")
    return [TensorType(x.element, [.fixed(1), x.shape[1]])]
  }
}
