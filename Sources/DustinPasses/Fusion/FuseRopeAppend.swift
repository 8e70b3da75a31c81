import DustinIR

/// Rotation and cache write in one walk over fused q/k/v rows.
///
///     %q = slice %x {begin = 0, …};      %qh = reshape %q;  %qr = rope %qh, positions(%p), freqs(@f)
///     %k = slice %x {begin = H*D, …};    %kh = reshape %k;  %kr = rope %kh, positions(%p), freqs(@f)
///     %v = slice %x {begin = H*D+KV*D…}; %vh = reshape %v
///     %kc1, %vc1 = append %kr, %vh, cache(%kc, %vc)
///       →   %qr, %kc1, %vc1 = rope_append %x, cache(%kc, %vc), positions(%p), freqs(@f)
///
/// Legal because the op rotates in f32 and rounds keys and values to the cache's element type, as casts to that type in
/// front of `append` do. Both ropes must agree in everything, the slices must cover the rows in this order, and nobody
/// else may need the keys and values on their way.
public struct FuseRopeAppend: Pass {
  public let name = "fuse-rope-append"
  public let summary = "Makes one op of the slices, ropes and the append behind a fused q/k/v projection."

  public init() {}

  public func run(on module: Module, context: PassContext) throws {
    try context.require(.kernel, of: module)
    for function in module.functions {
      context.rewrite(function) { rewriter in
        for append in rewriter.operations where append.name == "append" { fuse(append, rewriter) }
      }
    }
  }

  private struct Columns {
    let source: Value
    let begin: Int
    let count: Int
  }

  private func fuse(_ append: Operation, _ rewriter: Rewriter) {
    let caches = append[group: "cache"]
    let element = caches[0].type.element
    guard let keyRope = peel(append.operands[0], ["cast"], to: element, rewriter)?.definingOperation,
      keyRope.name == "rope", rewriter.onlyUser(of: keyRope.result) != nil,
      let keys = columns(keyRope.operands[0], to: element, rewriter),
      let values = columns(append.operands[1], to: element, rewriter), keys.source === values.source
    else { return }
    let x = keys.source
    let width = x.type.shape[1].fixedValue ?? 0
    guard x.type.element == .f32, keys.count == values.count, values.begin == keys.begin + keys.count,
      width == values.begin + values.count,
      let queryRope = queryRope(of: x, columns: keys.begin, like: keyRope, rewriter)
    else { return }

    let groups =
      [OperandGroup("", [x]), OperandGroup("cache", caches)]
      + keyRope.groups.filter { ["positions", "freqs"].contains($0.label) }
    let operands = groups.flatMap(\.values)
    let query = queryRope.result
    // Where the first of the parts stands, if the caches are known there: users of q may stand above the append.
    let anchors = [queryRope, append].sorted { rewriter.isBefore($0, $1) }
    guard
      let anchor = anchors.first(where: { anchor in
        operands.allSatisfy { rewriter.isAvailable($0, at: anchor) }
          && rewriter.users(of: query).allSatisfy { rewriter.isBefore(anchor, $0) }
          // The write must not overtake a reader of the version that it overwrites.
          && caches.flatMap { rewriter.users(of: $0) }.allSatisfy { $0 === append || rewriter.isBefore($0, anchor) }
      })
    else { return }

    let fused = Operation(
      .ropeAppend, groups, keyRope.attributes,
      results: ([query] + append.results).map { ($0.name, $0.type) }, location: append.location)
    rewriter.insert(fused, before: anchor)
    rewriter.replaceUses(of: query, with: fused.results[0])
    rewriter.replaceUses(of: append.results[0], with: fused.results[1])
    rewriter.replaceUses(of: append.results[1], with: fused.results[2])
    rewriter.eraseIfDead(append)
    rewriter.eraseIfDead(queryRope)
    rewriter.context.count("fused-appends")
  }

  /// The value above a chain of the named ops, each with one user; casts on the way must round to `element`.
  private func peel(_ value: Value, _ names: [String], to element: ElementType, _ rewriter: Rewriter) -> Value? {
    var value = value
    while let operation = value.definingOperation, names.contains(operation.name) {
      guard rewriter.onlyUser(of: value) != nil, operation.name != "cast" || value.type.element == element else {
        return nil
      }
      value = operation.operands[0]
    }
    return value
  }

  /// The columns of matrix rows from which heads were made, by a slice that nobody else uses.
  private func columns(_ heads: Value, to element: ElementType, _ rewriter: Rewriter) -> Columns? {
    guard let slice = peel(heads, ["cast", "reshape"], to: element, rewriter)?.definingOperation, slice.name == "slice",
      rewriter.onlyUser(of: slice.result) != nil, let begin = slice.attributes.int("begin"),
      let count = slice.attributes.int("count")
    else { return nil }
    return Columns(source: slice.operands[0], begin: begin, count: count)
  }

  /// The rope over the first columns of x that turns as the other one does.
  private func queryRope(of x: Value, columns: Int, like keyRope: Operation, _ rewriter: Rewriter) -> Operation? {
    for slice in rewriter.users(of: x) where slice.name == "slice" {
      guard slice.attributes.int("begin") == 0, slice.attributes.int("count") == columns,
        let reshape = rewriter.onlyUser(of: slice.result), reshape.name == "reshape",
        let rope = rewriter.onlyUser(of: reshape.result), rope.name == "rope", rope !== keyRope,
        rope.attributes == keyRope.attributes, rope[group: "positions"] == keyRope[group: "positions"],
        rope[group: "freqs"] == keyRope[group: "freqs"],
        rope.result.type.shape[2] == keyRope.result.type.shape[2]
      else { continue }
      return rope
    }
    return nil
  }
}
