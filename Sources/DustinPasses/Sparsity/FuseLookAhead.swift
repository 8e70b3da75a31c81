import DustinIR

/// Lets the draft's attention score as it goes, where that moves fewer bytes than a pass over the keys once a round.
///
///     func @draft(…) -> (logits, %ahead.1 {role = rows}, caches)
///       %a = attend %ahead.1, cache(%kc1, %vc1)
///     func @look(%ahead.1 {role = rows}, caches) -> (%look: f32[L] {role = round})
///       %look = score %ahead.1, cache(%kc) {heads = …, pool = 5}
///     →
///     func @draft(…, %seen: f32[C] {role = running}) -> (logits, f32[C] {role = running}, caches)
///       %a = attend %ahead.1, cache(%kc1, %vc1)
///       %seen.1 = score %ahead.1, cache(%kc1), onto(%seen), beside(%a) {heads = …, take = last}
///     func @look(%seen: f32[C] {role = running}, caches) -> (%look: f32[L] {role = round})
///       %look = pool %seen {width = 5}
///
/// Legal where the draft attends densely with the very rows that score: the products are the same to the bit. C are the
/// positions that were committed when the round began: what the round proposes is not scored, as before. A running sum
/// over a round's rows takes the place of their mean: each score is greater by the number of rows, so the order of
/// positions and their shares of the signal stay, all that sets are chosen by. Either all layers are fused or none, so
/// that their weights in the sum stay the same too.
///
/// The bytes are those of a position and of `rows` rows of the draft: fused, every row reads and writes the running f32
/// sum of each layer; else the keys of the chosen heads' KV heads are read once. The products themselves, 4 KB a head and
/// 1,024 keys of each row, are not counted: they lie in buffers either way.
public struct FuseLookAhead: Pass {
  public let name = "fuse-lookahead"
  public let summary = "Lets the draft's attention kernel make the look-ahead scores, where that moves fewer bytes."
  @PassOption("rows", "rows that the draft feeds from one look-ahead to the next: (γ + 1) * refresh")
  public var rows = 5

  /// The module attribute that tells what was decided.
  public static let attribute = "look_ahead"

  public init() {}

  public func validate() -> String? {
    1...1 << 20 ~= rows ? nil : "fuse-lookahead needs rows=1 … 1048576, not \(rows)"
  }

  /// One `score` of @look, and the attention of @draft that computes its products.
  private struct Pair {
    let score: Operation
    let rows: Value
    let attend: Operation
  }

  public func run(on module: Module, context: PassContext) throws {
    try context.require(.tensor, of: module)
    let draft = try context.function("draft", of: module)
    let look = try context.function("look", of: module)
    let scores = look.body.filter { $0.name == "score" }
    // Nothing to decide, or fused already.
    if scores.isEmpty { return }
    let pairs = scores.compactMap { pair($0, draft) }
    guard pairs.count == scores.count else {
      return decide("keys only: the draft's attention does not compute all products", module, context)
    }
    guard let last = chainEnd(scores, look) else {
      return decide("keys only: the scores are not one sum", module, context)
    }
    let keyBytes = pairs.reduce(0) { $0 + ($1.score.cacheRead?.bytes ?? 0) }
    let sumBytes = 2 * ElementType.f32.byteCount * pairs.count * rows
    let figures = "running sums \(sumBytes), keys \(keyBytes) bytes a position and \(rows) rows"
    guard sumBytes < keyBytes else { return decide("keys only: \(figures)", module, context) }
    try fuse(pairs, last, look, draft, module, context)
    context.count("saved-bytes-a-position", keyBytes - sumBytes)
    decide("fused: \(figures)", module, context)
  }

  private func decide(_ what: String, _ module: Module, _ context: PassContext) {
    if module.attributes[Self.attribute] == .string(what) { return }
    module.attributes[Self.attribute] = .string(what)
    context.noteChange()
  }

  /// Nil where the draft's attention reads through a set, or compares other rows or keys than the score, or by another scale.
  private func pair(_ score: Operation, _ draft: Function) -> Pair? {
    guard let rows = score.operands.first, let keys = score[group: "cache"].first,
      score.attributes.word("take") ?? "all" == "all", score.attributes["bound"] == nil,
      let query = zip(draft.returns, draft.returnRoles).first(where: { $0.name == rows.name && $1 == .rows })?.0
    else { return nil }
    let attend = draft.body.first { operation in
      guard operation.name == "attend", operation.operands.first == query, operation[group: "after"].isEmpty,
        operation.attributes.float("scale") == score.attributes.float("scale"),
        let cache = operation[group: "cache"].first
      else { return false }
      return draft.cacheArgument(of: cache).name == keys.name
    }
    return attend.map { Pair(score: score, rows: rows, attend: $0) }
  }

  /// The last score of a chain through `onto`, whose result is all that anybody else needs, as a result of @look. All fold
  /// alike, and only the last one pools: otherwise the sum over rows would mean something else.
  private func chainEnd(_ scores: [Operation], _ look: Function) -> Operation? {
    for (index, score) in scores.enumerated() {
      guard score[group: "onto"] == (index == 0 ? [] : [scores[index - 1].result]) else { return nil }
      guard score.attributes.word("reduce") == scores[0].attributes.word("reduce") else { return nil }
      if index < scores.count - 1, score.attributes.int("pool") ?? 1 > 1 { return nil }
      let users = look.body.count { $0.allOperands.contains(score.result) }
      guard users == (index == scores.count - 1 ? 0 : 1) else { return nil }
      if index < scores.count - 1, look.returns.contains(score.result) { return nil }
    }
    return scores.last.flatMap { look.returns.contains($0.result) ? $0 : nil }
  }

  private func fuse(
    _ pairs: [Pair], _ last: Operation, _ look: Function, _ draft: Function, _ module: Module, _ context: PassContext
  ) throws {
    let old = last.result.type
    // A dim of its own for the positions that a round scores: while it proposes, the draft's cache grows.
    let bound = old.shape.last.flatMap { module.bound(of: $0) } ?? 1
    let positions = module.declareDim("C", .bounded(bound), mayBeShared: false)
    let type = TensorType(.f32, old.shape.dropLast() + [positions])
    let seen = try draft.take("seen", type, role: .running, name)
    var sum = seen
    try context.rewrite(draft) { rewriter in
      for pair in pairs.sorted(by: { rewriter.isBefore($0.attend, $1.attend) }) {
        var attributes = pair.score.attributes
        attributes["pool"] = nil
        attributes["take"] = .word("last")
        let score = try OpDefinition.score.operation(
          [
            ("", pair.attend.operands), ("cache", Array(pair.attend[group: "cache"].prefix(1))), ("onto", [sum]),
            ("beside", [pair.attend.result]),
          ], attributes, names: ["seen.\(pair.rows.name.drop { $0 != "." }.dropFirst())"], types: [type],
          location: pair.attend.location)
        rewriter.insert(score, after: pair.attend)
        sum = score.result
        context.count("fused-layers")
      }
    }
    draft.insertReturn(sum, role: .running)

    let whole = try look.take("seen", type, role: .running, name)
    let width = last.attributes.int("pool") ?? 1
    try context.rewrite(look) { rewriter in
      let pool = try OpDefinition.pool.operation(
        [("", [whole])], AttributeList(given: [("width", width > 1 ? .int(width) : nil)]), names: [last.result.name],
        types: [old])
      rewriter.insert(pool, before: last)
      rewriter.replaceUses(of: last.result, with: pool.result)
      rewriter.eraseIfDead(last)
    }
    // Nobody reads the rows any more. The caches stay: their positions are those of the signal.
    look.drop(arguments: Set(pairs.map(\.rows)))
    for function in module.functions { function.dropRows(Set(pairs.map(\.rows.name)), unlessTakenIn: module) }
  }
}

extension Function {
  /// No longer returns kept rows of these names that no function takes.
  fileprivate func dropRows(_ names: Set<String>, unlessTakenIn module: Module) {
    let taken = Set(module.functions.flatMap(\.arguments).map(\.name))
    let kept = zip(returns, returnRoles).filter { value, role in
      role != .rows || !names.contains(value.name) || taken.contains(value.name)
    }
    returns = kept.map(\.0)
    returnRoles = kept.map(\.1)
  }
}
