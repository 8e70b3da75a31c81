import DustinIR
import DustinSupport

/// Makes the draft's look-ahead a signal: the queries of chosen heads are passed on, and `@look` scores them against
/// every committed position once the round is drafted.
///
///     func @draft(…, caches) -> (logits, caches)
///       →  func @draft(…, caches) -> (logits, %ahead.1: [T, H, D] {role = rows}, caches)          also @prefill
///          func @look(%ahead.1 {role = rows}, caches) -> (%look: f32[L] {role = round}) {
///            %look = score %ahead.1, cache(%kc.1) {heads = …, pool = 5}
///
/// Legal for any draft: the draft's own numbers do not change, it only tells more. What is scored are the draft's rows of
/// the whole round, its last proposal included: those are the rows that verification will have.
public struct LookAhead: Pass {
  public enum Reduce: String, CaseIterable, PassOptionValue { case mean, max }

  public let name = "look-ahead"
  public let summary = "Passes the draft's queries on and scores every position with them: the signal %look."
  @PassOption("heads", "layers and query heads that score; default all heads of the last layer")
  public var heads: HeadChoice? = nil
  @PassOption("pool", "positions of the maximum filter, odd, at most 255: neighbours of what is looked at count too")
  public var pool = 5
  @PassOption("reduce", "of the scores over rows, heads and layers") public var reduce = Reduce.mean

  public init() {}

  public func validate() -> String? {
    1...255 ~= pool && pool % 2 == 1 ? nil : "look-ahead needs an odd pool=1 … 255, not \(pool)"
  }

  public func run(on module: Module, context: PassContext) throws {
    try context.require(.tensor, of: module)
    let draft = try context.function("draft", of: module)
    if module.function("look") != nil {
      throw DiagnosticError("repeated-function", "\(name): the module already has a function @look")
    }
    let attention = try AttentionLayers(draft, name) { context.place(of: draft, $0, in: module) }
    let choice = heads ?? HeadChoice([HeadChoice.Layer(attention.layers.count - 1, nil)])
    let look = Function("look")
    look.numerics = draft.numerics
    let rows = try choice.layers.map { chosen in
      look.addArgument("ahead.\(chosen.layer)", try attention.layer(chosen, name).query.type, role: .rows)
    }
    let caches = look.addCaches(like: draft)
    let builder = FunctionBuilder(look)
    var sum: Value?
    for (index, chosen) in choice.layers.enumerated() {
      let layer = try attention.layer(chosen, name)
      let keys = draft.cacheArgument(of: layer.keys)
      let isLast = index == choice.layers.count - 1
      let attributes = AttributeList(given: [
        ("heads", chosen.heads.map { .array($0.map { .int($0) }) }), ("scale", .float(layer.scale)),
        ("reduce", reduce == .mean ? nil : .word(reduce.rawValue)), ("pool", isLast && pool > 1 ? .int(pool) : nil),
      ])
      let extent = keys.type.shape[0]
      let result = try builder.emit(
        .score, [("", [rows[index]]), ("cache", [caches[keys] ?? keys]), ("onto", sum.map { [$0] } ?? [])],
        attributes, names: [isLast ? "look" : "part"], types: [TensorType(.f32, [extent])])[0]
      sum = result
      context.count("scored-heads", chosen.heads?.count ?? layer.query.type.shape[1].fixedValue ?? 0)
    }
    if let sum { look.addReturn(sum, role: .round) }
    for function in [module.function("prefill"), draft].compactMap({ $0 }) {
      for chosen in choice.layers {
        try function.returnQueries(of: chosen, as: "ahead.\(chosen.layer)", role: .rows, name)
      }
    }
    module.functions.append(look)
    context.noteChange()
  }
}
