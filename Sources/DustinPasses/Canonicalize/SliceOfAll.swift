import DustinIR

/// `slice %x {begin = 0, count = all columns}` → %x.
struct SliceOfAll: RewritePattern {
  let name = "slice-of-all"
  let roots = ["slice"]

  func apply(at root: Operation, _ rewriter: Rewriter) -> Bool {
    guard root.result.type == root.operands[0].type else { return false }
    rewriter.replace(root, withValues: [root.operands[0]])
    return true
  }
}
