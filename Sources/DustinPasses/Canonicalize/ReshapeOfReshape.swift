import DustinIR

/// `reshape (reshape %x)` → `reshape %x`. Both keep the rows and the row-major order inside a row.
struct ReshapeOfReshape: RewritePattern {
  let name = "reshape-of-reshape"
  let roots = ["reshape"]

  func apply(at root: Operation, _ rewriter: Rewriter) -> Bool {
    guard let inner = root.operands[0].definingOperation, inner.name == "reshape" else { return false }
    let source = inner.operands[0]
    rewriter.update(root) { root[group: ""] = [source] }
    return true
  }
}
