import DustinIR

/// Rewrites to the one form that the other passes look for: peepholes, until none fits, and what becomes dead on the
/// way goes.
///
/// Legal in every stage before the memory plan: each peephole keeps every bit of every value that is still needed. The
/// peepholes lie beside this file, one each, with their own before → after.
public struct Canonicalize: Pass {
  public let name = "canonicalize"
  public let summary = "Applies peepholes until none fits: casts, reshapes, slices, and last_row moved up."

  public init() {}

  public func run(on module: Module, context: PassContext) throws {
    try context.require(.tensor, .kernel, of: module)
    let patterns: [any RewritePattern] = [
      CastToSameType(), CastOfWidening(), ReshapeToSameType(), ReshapeOfReshape(), SliceOfAll(), SliceOfSlice(),
      LastRowOfOneRow(), HoistLastRow(),
    ]
    for function in module.functions {
      try context.rewrite(function) { try $0.apply(patterns) }
    }
  }
}
