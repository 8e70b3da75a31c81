import DustinIR

/// One matmul for queries, keys and values.
///
///     %q = linear %n, weight(@q), bias(@qb)      →   %qkv = linear %n, weight(@q, @k, @v), bias(@qb, @kb, @vb)
///     %k = linear %n, weight(@k), bias(@kb)          %q = slice %qkv {begin = 0, …}
///     %v = linear %n, weight(@v), bias(@vb)          %k = slice …;  %v = slice …
///
/// Legal because every output column of a linear depends on its own weight row alone. The three are found from
/// `append` and the `attend` that reads its caches, so that they always come in the order q, k, v. All or none have a
/// bias, and their weights share an element type: one kernel reads one format.
public struct FuseQKV: Pass {
  public let name = "fuse-qkv"
  public let summary = "Makes one linear of the query, key and value projections."

  public init() {}

  public func run(on module: Module, context: PassContext) throws {
    try context.require(.kernel, of: module)
    for function in module.functions {
      context.rewrite(function) { rewriter in
        for append in rewriter.operations where append.name == "append" { fuse(append, rewriter) }
      }
    }
  }

  private func fuse(_ append: Operation, _ rewriter: Rewriter) {
    // A reader through a set has the whole cache as its tail.
    let readers = rewriter.users(of: append.results[0]).filter { $0.name == "attend" }
    guard readers.count == 1,
      readers[0][group: "cache"] == append.results || readers[0][group: "tail"] == append.results,
      let q = projection(readers[0].operands[0]), let k = projection(append.operands[0]),
      let v = projection(append.operands[1])
    else { return }
    let linears = [q, k, v]
    let x = q.operands[0]
    let weights = linears.flatMap { $0[group: "weight"] }
    let biases = linears.flatMap { $0[group: "bias"] }
    guard Set(linears).count == 3, linears.allSatisfy({ isPlain($0, of: x) }), weights.count == 3,
      Set(weights.map(\.type.element)).count == 1, biases.isEmpty || biases.count == 3,
      Set(biases.map(\.type.element)).count <= 1
    else { return }
    let widths = linears.compactMap { $0.result.type.shape[1].fixedValue }
    guard widths.count == 3, let first = linears.min(by: { rewriter.isBefore($0, $1) }),
      (weights + biases).allSatisfy({ rewriter.isAvailable($0, at: first) })
    else { return }

    let type = TensorType(.f32, [x.type.shape[0], .fixed(widths.reduce(0, +))])
    let fused = Operation(
      .linear, [OperandGroup("", [x]), OperandGroup("weight", weights), OperandGroup("bias", biases)],
      results: [(q.result.name + "kv", type)], location: q.location)
    rewriter.insert(fused, before: first)
    var begin = 0
    for (linear, width) in zip(linears, widths) {
      let slice = Operation(
        .slice, [OperandGroup("", [fused.result])],
        AttributeList([("begin", .int(begin)), ("count", .int(width))]),
        results: [(linear.result.name, linear.result.type)])
      rewriter.insert(slice, before: first)
      begin += width
      rewriter.replaceUses(of: linear.result, with: slice.result)
    }
    for linear in linears { rewriter.erase(linear) }
    rewriter.context.count("fused-projections")
  }

  /// The linear from which heads were made.
  private func projection(_ heads: Value) -> Operation? {
    var value = heads
    while let operation = value.definingOperation, ["cast", "reshape", "rope"].contains(operation.name) {
      value = operation.operands[0]
    }
    guard let operation = value.definingOperation, operation.name == "linear" else { return nil }
    return operation
  }

  private func isPlain(_ linear: Operation, of x: Value) -> Bool {
    linear.operands[0] === x && linear.attributes.isEmpty && linear.result.type.element == .f32
      && linear.groups.allSatisfy { ["", "weight", "bias"].contains($0.label) }
  }
}
