import DustinIR

/// `reshape %x` to the shape of %x → %x.
struct ReshapeToSameType: RewritePattern {
  let name = "reshape-to-same-type"
  let roots = ["reshape"]

  func apply(at root: Operation, _ rewriter: Rewriter) -> Bool {
    guard root.result.type == root.operands[0].type else { return false }
    rewriter.replace(root, withValues: [root.operands[0]])
    return true
  }
}
