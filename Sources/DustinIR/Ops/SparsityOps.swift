// Signals and sets: what a reader that does not read everything is made of.

extension OpDefinition {
  public static let score = OpDefinition(
    name: "score", summary: "A signal: how much some query rows and heads attend to every committed position.",
    meaning: """
      rows: all, the last one, or the first and the last one (`take`); heads: `heads`, query head h reads KV head h / (H / KV)
      p[r, h, j] = softmax over j < L of scale * sum_d q[r, h, d] * k[j, d]; compiled code rounds those of bf16 keys to
      bf16 before it sums them, each by 2^-8 of itself at most
      with `bound` = b: p[r, h, j] = scale * sum_d max(q_d * max_i k[i, d], q_d * min_i k[i, d]), i over the committed
      positions of j's block of b; the blocks start at multiples of b
      s[j] = mean (`reduce` = max: maximum) over rows and heads of p[r, h, j]; a result f32[KV, L] keeps the heads of each
      KV head apart; s += onto (reduce = max: the greater one); then s[j] = max of s[j'] over |j' - j| <= pool / 2
      with `beside`: in a step of few rows the products q k of that attention are used again, and no key is read twice;
      j < C, the positions of `onto`, which other tokens of the round may follow, and the result takes the place of `onto`
      """,
    operandGroups: [
      OperandGroupSpec("", 1...1, "q: [T, H, D], of the cache's element type"),
      OperandGroupSpec("cache", 1...1, "kc: [L, KV, D]; positions that are not committed do not count"),
      OperandGroupSpec("onto", 0...1, "a signal of the result's type, not yet pooled"),
      OperandGroupSpec("beside", 0...1, "what an `attend` of q over all of the cache made; with a running `onto`"),
    ],
    attributes: [
      AttributeSpec("heads", .ints, "query heads, ascending; default all"),
      AttributeSpec("scale", .float, required: true, "factor on the dot products, usually 1/sqrt(D)"),
      AttributeSpec("take", .word(["all", "last", "ends"]), "rows that count; default all"),
      AttributeSpec("reduce", .word(["mean", "max"]), "over rows and heads; default mean"),
      AttributeSpec("bound", .int, "block size of an upper bound that takes the softmax's place; default none"),
      AttributeSpec("pool", .int, "width of the maximum filter, odd; default 1"),
    ],
    stages: [.tensor, .kernel, .planned],
    example: "%s = score %q, cache(%kc) {heads = [1, 3], scale = 0.25, pool = 5} : f32[L]"
  ) { op, written in
    let q = only(op)
    let cache = only(op, "cache")
    try rule(q.rank == 3, "q must be [T, H, D], not \(q)")
    try rule(cache.rank == 3 && cache.shape[0].fixedValue == nil, "a cache must be [L, KV, D], not \(cache)")
    try rule(q.element == cache.element, "q is \(q.element.rawValue), the cache \(cache.element.rawValue)")
    try rule(q.shape[2] == cache.shape[2], "heads of \(q.shape[2]) do not fit the cache \(cache)")
    let heads = try fixed(q.shape[1], "the heads of \(q)")
    let groups = try fixed(cache.shape[1], "the heads of \(cache)")
    try rule(groups > 0 && heads % groups == 0, "\(heads) query heads cannot share \(groups) KV heads")
    let scale = op.attributes.float("scale") ?? 1
    try rule(scale > 0, "the scale \(scale) must be positive")
    if let chosen = op.attributes.ints("heads") {
      try rule(!chosen.isEmpty, "'heads' names no head")
      try rule(zip(chosen, chosen.dropFirst()).allSatisfy { $0 < $1 }, "'heads' must ascend")
      if let head = chosen.first(where: { !(0..<heads ~= $0) }) {
        throw TypeRuleError("there is no query head \(head), only 0 … \(heads - 1)")
      }
    }
    let pool = op.attributes.int("pool") ?? 1
    try rule(1...255 ~= pool && pool % 2 == 1, "the width \(pool) of 'pool' must be odd, 1 … 255")
    if let bound = op.attributes.int("bound") {
      try rule(1...1024 ~= bound, "the block size \(bound) of 'bound' must be 1 … 1024")
    }
    let planes = written.first.map { $0.rank == 2 } ?? false
    if planes {
      let group = heads / groups
      let served = op.attributes.ints("heads").map { Set($0.map { $0 / group }).count } ?? groups
      try rule(served == groups, "a signal per KV head needs query heads of each of the \(groups) KV heads")
    }
    let isBeside = try besideRules(op)
    let positions = isBeside ? op[group: "onto"].first?.type.shape.last : nil
    let type = TensorType(.f32, (planes ? [cache.shape[1]] : []) + [positions ?? cache.shape[0]])
    for onto in op[group: "onto"] {
      try rule(onto.type == type, "'onto' is \(onto.type), the signal \(type)")
    }
    return [type]
  }

  /// Whether a `score` shares its products with attention, which must then compute them.
  private static func besideRules(_ op: Operation) throws -> Bool {
    guard let beside = op[group: "beside"].first else { return false }
    guard let attend = beside.definingOperation, attend.name == "attend" else {
      throw TypeRuleError("'beside' must be what an attend made")
    }
    try rule(
      attend.operands == op.operands && attend[group: "cache"].first == op[group: "cache"].first,
      "'beside' must be attention of the same q over the same keys")
    try rule(
      op.attributes.float("scale") == attend.attributes.float("scale"), "'beside' must be attention of the same scale")
    try rule(op.attributes.word("take") == "last", "beside attention only the last row counts: take = last")
    try rule(op.attributes["bound"] == nil, "beside attention there are scores, no bounds")
    try rule((op.attributes.int("pool") ?? 1) == 1, "beside attention nothing is pooled: the sum is not complete")
    try rule(!op[group: "onto"].isEmpty, "beside attention 'onto' must be the signal that the rows add to")
    return true
  }

  public static let pool = OpDefinition(
    name: "pool", summary: "The maximum filter of a signal: neighbours of what is looked at count too.",
    meaning: """
      y[j] = max of s[j'] over |j' - j| <= width / 2
      the dim of y may be another one than that of s, where both count the same positions: those that the function sees and
      those of a running signal
      """,
    operandGroups: [OperandGroupSpec("", 1...1, "s: f32[L] or f32[KV, L]")],
    attributes: [AttributeSpec("width", .int, "of the filter, odd; default 1, a copy")],
    stages: [.tensor, .kernel, .planned],
    example: "%y = pool %s {width = 5} : f32[L]"
  ) { op, written in
    let signal = only(op)
    try rule(SequenceRules.isSignal(signal), "s must be a signal, f32[L] or f32[KV, L], not \(signal)")
    let width = op.attributes.int("width") ?? 1
    try rule(1...255 ~= width && width % 2 == 1, "the width \(width) must be odd, 1 … 255")
    guard let result = written.first, SequenceRules.isSignal(result) else { return [signal] }
    return [TensorType(.f32, signal.shape.dropLast() + result.shape.suffix(1))]
  }

  public static let select = OpDefinition(
    name: "select", summary: "A set: positions chosen by quotas over signals, first and recent ones always.",
    meaning: """
      V = the first `sink` and the last `recent` committed positions; then for each signal in order: the greatest ones not in V,
      as many as its quota, the last signal as many as `budget` leaves
      order: IEEE totalOrder, so -0 < 0 < inf < nan (without a sign); equal scores: lower positions first
      `cover` = p < 1: a signal stops before its quota once its sum over V reaches p of its sum over all positions
      `granularity` = g: V is whole blocks of g, those that hold one of the first or the recent positions, then the greatest
      by their greatest score; budget and quotas count g positions a block, rounded down to blocks; the last may be short
      equal shares: of the budget less `sink` and `recent`; with blocks both are rounded up to blocks, and one block more
      i = V ascending, at most `budget` positions; the last committed position is always the last of them
      a set per KV head: every plane from its plane of the signals; a plane with fewer positions than S ends in -1
      """,
    operandGroups: [
      OperandGroupSpec("", 0...4, "signals: f32[L] each, or f32[KV, L] for a set per KV head"),
      OperandGroupSpec("cache", 0...1, "a cache whose committed positions are meant; needed without signals"),
    ],
    attributes: [
      AttributeSpec("budget", .int, required: true, "most positions of the set"),
      AttributeSpec("sink", .int, "first positions, always taken; default 4"),
      AttributeSpec("recent", .int, "last positions, always taken, at least 1; default 16"),
      AttributeSpec("quotas", .ints, "positions of every signal but the last; default equal shares"),
      AttributeSpec("cover", .float, "share of a signal's sum that is enough; default 1"),
      AttributeSpec("granularity", .int, "block size of the choice: 1 or 16; default 1"),
    ],
    stages: [.tensor, .kernel, .planned],
    example: "%i = select %s {budget = 512, sink = 4, recent = 16} : i32[S]"
  ) { op, written in
    let signals = op.operands.map(\.type)
    let size = SetSize(of: op.attributes)
    let (budget, sink, recent, granularity) = (size.budget, size.sink, size.recent, size.granularity)
    try rule(granularity == 1 || granularity == 16, "the granularity \(granularity) must be 1 or 16")
    try rule(0...SetSize.limit ~= sink, "'sink' must be 0 … \(SetSize.limit), not \(sink)")
    try rule(1...SetSize.limit ~= recent, "'recent' must be 1 … \(SetSize.limit), not \(recent)")
    try rule(budget % granularity == 0, "the budget \(budget) must be a multiple of the granularity \(granularity)")
    try rule(size.kept <= budget, "the budget \(budget) does not hold \(sink) first and \(recent) recent positions")
    try rule(budget <= SetSize.limit, "the budget \(budget) must be at most \(SetSize.limit)")
    let quotas = op.attributes.ints("quotas")
    if let quotas {
      try rule(quotas.count == max(0, signals.count - 1), "'quotas' must list one number for every signal but the last")
      try rule(quotas.allSatisfy { 0...budget ~= $0 }, "every quota must be 0 … \(budget)")
      try rule(quotas.reduce(0, +) <= size.free, "the quotas exceed the budget \(budget)")
    }
    let cover = op.attributes.float("cover") ?? 1
    try rule(cover > 0 && cover <= 1, "'cover' must be above 0 and at most 1, not \(cover)")
    for signal in signals {
      try rule(signal == signals[0], "the signals differ: \(signals[0]) and \(signal)")
      try rule(SequenceRules.isSignal(signal), "a signal must be f32[L] or f32[KV, L], not \(signal)")
    }
    try rule(
      !signals.isEmpty || op[group: "cache"].count == 1, "without signals a cache must say which positions are meant")
    guard let type = written.first, SequenceRules.isSet(type) else {
      throw TypeRuleError("the set must be i32[S] with a dim S, or i32[KV, S]")
    }
    let cache = op[group: "cache"].first?.type.shape.first
    for length in [signals.first?.shape.last, cache] where length == type.shape.last {
      throw TypeRuleError(
        "the set needs a dim of its own, not \(type.shape.last?.description ?? "that") of the positions")
    }
    if let cache, let length = signals.first?.shape.last {
      try rule(cache == length, "the signals have \(length) positions, the cache \(cache)")
    }
    let planes = signals.first.map { Array($0.shape.dropLast()) } ?? []
    try rule(
      Array(type.shape.dropLast()) == planes,
      "a set of \(signals.first.map(\.description) ?? "no signal") cannot be \(type)")
    return [type]
  }

  public static let gather = OpDefinition(
    name: "gather", summary: "The keys and values of a set's positions, as attention reads them in the cache's place.",
    meaning:
      "ks[n, h, :] = kc[i[n], h, :], vs likewise; with a set per KV head: kc[i[h, n], h, :]. A view: nothing is written.",
    operandGroups: [
      OperandGroupSpec("", 1...1, "i: i32[S] or i32[KV, S]"),
      OperandGroupSpec("cache", 2...2, "kc, vc: [L, KV, D]"),
    ],
    resultCount: 2, stages: [.tensor, .kernel, .planned],
    example: "%ks, %vs = gather %i, cache(%kc, %vc) : f32[S, 2, 16], f32[S, 2, 16]"
  ) { op, _ in
    let index = only(op)
    let caches = op[group: "cache"].map(\.type)
    try rule(caches[0] == caches[1] && caches[0].rank == 3, "the caches must be two [L, KV, D] of one type")
    try rule(SequenceRules.isSet(index), "the set must be i32[S] or i32[KV, S] with a dim S, not \(index)")
    if index.rank == 2 {
      try rule(index.shape[0] == caches[0].shape[1], "a set of \(index.shape[0]) KV heads does not fit \(caches[0])")
    }
    let extent = index.shape[index.rank - 1]
    try rule(extent != caches[0].shape[0], "the set needs a dim of its own, not \(extent) of the positions")
    return caches.map { TensorType($0.element, [extent] + $0.shape.dropFirst()) }
  }
}
