import DustinIR

/// `slice (slice %x {begin = a, count = m}) {begin = b, count = n}` → `slice %x {begin = a + b, count = n}`.
struct SliceOfSlice: RewritePattern {
  let name = "slice-of-slice"
  let roots = ["slice"]

  func apply(at root: Operation, _ rewriter: Rewriter) -> Bool {
    guard let inner = root.operands[0].definingOperation, inner.name == "slice",
      let outerBegin = root.attributes.int("begin"), let innerBegin = inner.attributes.int("begin")
    else { return false }
    let source = inner.operands[0]
    rewriter.update(root) {
      root[group: ""] = [source]
      root.attributes["begin"] = .int(innerBegin + outerBegin)
    }
    return true
  }
}
