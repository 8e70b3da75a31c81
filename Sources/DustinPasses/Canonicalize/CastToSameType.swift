import DustinIR

/// `cast %x` to the type of %x → %x. Rounding to the type that a number already has changes nothing.
struct CastToSameType: RewritePattern {
  let name = "cast-to-same-type"
  let roots = ["cast"]

  func apply(at root: Operation, _ rewriter: Rewriter) -> Bool {
    guard root.result.type == root.operands[0].type else { return false }
    rewriter.replace(root, withValues: [root.operands[0]])
    return true
  }
}
