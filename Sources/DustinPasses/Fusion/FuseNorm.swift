import DustinIR

/// The norm, and the rounding of its rows, in front of a matmul.
///
///     %n = rmsnorm %x, weight(@g) {eps = 1e-06}
///     %r = cast %n : bf16[…]
///     %y = linear %r, weight(@w)     →   %y = linear %x, norm(@g), weight(@w) {eps = 1e-06, round = bf16}
///
/// Legal because the op norms and rounds the same rows in the same order. Only where one linear uses the norm: with
/// more users each of them would norm the rows again. Run it after fuse-qkv and fuse-swiglu, which leave one user.
public struct FuseNorm: Pass {
  public let name = "fuse-norm"
  public let summary = "Moves an rmsnorm with one user into the linear behind it."

  public init() {}

  public func run(on module: Module, context: PassContext) throws {
    try context.require(.kernel, of: module)
    for function in module.functions {
      context.rewrite(function) { rewriter in
        for linear in rewriter.operations where linear.name == "linear" { fuse(linear, rewriter) }
      }
    }
  }

  private func fuse(_ linear: Operation, _ rewriter: Rewriter) {
    var rows = linear.operands[0]
    guard linear[group: "norm"].isEmpty, rewriter.onlyUser(of: rows) === linear else { return }
    if let cast = rows.definingOperation, cast.name == "cast" {
      guard rows.type.element == .bf16, rewriter.onlyUser(of: cast.operands[0]) === cast else { return }
      rows = cast.operands[0]
      // Rounded twice otherwise, which the op cannot say.
      guard rows.type.element == .f32 else { return }
    }
    guard let norm = rows.definingOperation, norm.name == "rmsnorm", let eps = norm.attributes["eps"] else { return }
    let isRounded = linear.operands[0].type.element == .bf16
    let old = linear.operands[0].definingOperation
    rewriter.update(linear) {
      linear[group: ""] = [norm.operands[0]]
      linear[group: "norm"] = norm[group: "weight"]
      linear.attributes["eps"] = eps
      if isRounded { linear.attributes["round"] = .word("bf16") }
    }
    if let old { rewriter.eraseIfDead(old) }
    rewriter.context.count("fused-norms")
  }
}
