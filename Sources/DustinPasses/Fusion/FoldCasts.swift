import DustinIR

/// Lets the op that makes a number round it.
///
///     %a = attend … : f32[T, H, D]
///     %f = reshape %a : f32[T, N]
///     %r = cast %f : bf16[T, N]      →   %a = attend … : bf16[T, H, D];  %r = reshape %a : bf16[T, N]
///
/// Legal where the op may have bf16 results (rmsnorm, linear without residual, attend, rope, the queries of
/// rope_append): it rounds its f32 result once, as the cast did. Views between them move numbers and change none. All
/// users of the result must want it rounded.
public struct FoldCasts: Pass {
  public let name = "fold-casts"
  public let summary = "Moves a cast to bf16 into the op that makes the number."

  public init() {}

  public func run(on module: Module, context: PassContext) throws {
    try context.require(.kernel, of: module)
    for function in module.functions {
      context.rewrite(function) { rewriter in
        for cast in rewriter.operations where cast.name == "cast" && rewriter.contains(cast) { fold(cast, rewriter) }
      }
    }
  }

  private func fold(_ cast: Operation, _ rewriter: Rewriter) {
    guard cast.result.type.element == .bf16 else { return }
    var views: [Value] = []
    var value = cast.operands[0]
    while let view = value.definingOperation, ["reshape", "slice", "last_row"].contains(view.name) {
      guard rewriter.onlyUser(of: value) != nil else { return }
      views.append(value)
      value = view.operands[0]
    }
    guard value.type.element == .f32, canRound(value), !rewriter.isReturned(value) else { return }
    let users = rewriter.users(of: value)
    let isOnlyRounded =
      views.isEmpty ? users.allSatisfy { $0.name == "cast" && $0.result.type.element == .bf16 } : users.count == 1
    guard isOnlyRounded else { return }
    for each in [value] + views { rewriter.retype(each, each.type.with(element: .bf16)) }
    let casts = views.isEmpty ? users : [cast]
    for each in casts { rewriter.replace(each, withValues: [each.operands[0]]) }
    rewriter.context.count("folded-casts", casts.count)
  }

  private func canRound(_ value: Value) -> Bool {
    guard case .result(let operation, let index) = value.definition, index == 0 else { return false }
    return switch operation.name {
    case "rmsnorm", "attend", "rope", "rope_append": true
    case "linear": operation[group: "residual"].isEmpty
    default: false
    }
  }
}
