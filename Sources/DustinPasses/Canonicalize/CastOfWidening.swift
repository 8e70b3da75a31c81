import DustinIR

/// `cast (cast %x : f32) : E` with %x in bf16 or f16 → `cast %x : E`. Every bf16 and f16 is an f32, so that the inner
/// cast changed no number. The other way round is not legal: rounding to bf16 and back is not the identity.
struct CastOfWidening: RewritePattern {
  let name = "cast-of-widening"
  let roots = ["cast"]

  func apply(at root: Operation, _ rewriter: Rewriter) -> Bool {
    guard let inner = root.operands[0].definingOperation, inner.name == "cast", inner.result.type.element == .f32,
      inner.operands[0].type.element.isFloat
    else { return false }
    let source = inner.operands[0]
    rewriter.update(root) { root[group: ""] = [source] }
    return true
  }
}
