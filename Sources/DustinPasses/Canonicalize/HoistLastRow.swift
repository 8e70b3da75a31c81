import DustinIR

/// `last_row (op %x, …)` → `op (last_row %x), …`, where `op` works on every row by itself.
///
/// Legal for rmsnorm, linear (with its residual), add, mul, silu, cast, slice and a reshape of matrices, whose row t
/// depends on row t of the operands alone; row invariance (a row's bits never depend on how many rows share the step)
/// makes the result equal to the last bit. Not over attend: its row t reads positions 0 … L + t.
///
/// Done only if all that anybody wants of the result is its last row; otherwise a row would be computed twice. So the
/// last rows of a prefill travel up from the logits to the last layer's attention.
struct HoistLastRow: RewritePattern {
  let name = "hoist-last-row"
  let roots = ["rmsnorm", "linear", "add", "mul", "silu", "cast", "slice", "reshape"]

  func apply(at root: Operation, _ rewriter: Rewriter) -> Bool {
    let result = root.result
    let lastRows = rewriter.users(of: result)
    guard let rows = result.type.shape.first, rows != .fixed(1), !lastRows.isEmpty, !rewriter.isReturned(result),
      lastRows.allSatisfy({ $0.name == "last_row" })
    else { return false }
    // Rows are the operands with as many rows as the result; the others are weights, gains and biases.
    let labels = root.name == "linear" ? ["", "residual"] : [""]
    guard
      labels.allSatisfy({ label in
        root[group: label].allSatisfy { $0.type.rank == 2 && $0.type.shape[0] == rows && !$0.isWeight }
      })
    else { return false }

    var hoisted: [Value: Value] = [:]
    let groups = root.groups.map { group in
      guard labels.contains(group.label) else { return group }
      return OperandGroup(
        group.label,
        group.values.map { value in
          if let known = hoisted[value] { return known }
          let type = TensorType(value.type.element, [.fixed(1), value.type.shape[1]])
          let lastRow = Operation(.lastRow, [OperandGroup("", [value])], results: [(value.name + ".last", type)])
          hoisted[value] = rewriter.insert(lastRow, before: root).result
          return lastRow.result
        })
    }
    let type = TensorType(result.type.element, [.fixed(1)] + result.type.shape.dropFirst())
    let small = Operation(
      root.definition, groups, root.attributes, results: [(result.name, type)], location: root.location)
    rewriter.insert(small, before: root)
    for lastRow in lastRows { rewriter.replace(lastRow, withValues: [small.result]) }
    rewriter.erase(root)
    return true
  }
}
