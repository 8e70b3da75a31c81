import DustinIR

/// `last_row %x` with %x : [1, N] → %x. One row is the last one.
struct LastRowOfOneRow: RewritePattern {
  let name = "last-row-of-one-row"
  let roots = ["last_row"]

  func apply(at root: Operation, _ rewriter: Rewriter) -> Bool {
    guard root.result.type == root.operands[0].type else { return false }
    rewriter.replace(root, withValues: [root.operands[0]])
    return true
  }
}
