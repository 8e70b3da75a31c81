extension OpDefinition {
  public static let rope = OpDefinition(
    name: "rope", summary: "Rotates the two halves of every head by its position (rotary embedding).",
    meaning: """
      angle = f32(position[t]) * freqs[i], in f32; c = cos(angle) * scale, s = sin(angle) * scale, 0 <= i < D/2
      y[t, h, i] = x[t, h, i] * c - x[t, h, i + D/2] * s;  y[t, h, i + D/2] = x[t, h, i + D/2] * c + x[t, h, i] * s
      """,
    operandGroups: [
      OperandGroupSpec("", 1...1, "x: f32[T, H, D]"),
      OperandGroupSpec("positions", 1...1, "i32[T]"),
      OperandGroupSpec("freqs", 1...1, "f32[D/2], one angle per position each"),
    ],
    attributes: [AttributeSpec("scale", .float, "factor on cos and sin (YaRN's attention factor); default 1")],
    stages: [.tensor, .kernel, .planned],
    example: "%y = rope %x, positions(%pos), freqs(@freqs) : f32[T, 4, 16]"
  ) { op, written in
    let x = only(op)
    try rule(x.element == .f32 && x.rank == 3, "x must be f32[T, H, D], not \(x)")
    let dim = try fixed(x.shape[2], "the head dim of \(x)")
    try rule(dim % 2 == 0, "the head dim \(dim) must be even")
    try ropeOperands(op, rows: x.shape[0], dim: dim)
    let element = writtenElement(written, .f32)
    try rule(element == .f32 || element == .bf16, "the result must be f32 or bf16, not \(element.rawValue)")
    return [x.with(element: element)]
  }

  public static let append = OpDefinition(
    name: "append", summary: "The cache's next version: the step's keys and values behind the committed positions.",
    meaning:
      "kc1 = kc with rows L … L+T-1 set to k, rounded to the cache's element type; vc1 likewise. Caches are used linearly.",
    operandGroups: [
      OperandGroupSpec("", 2...2, "k, v: f32 or the cache's element, [T, KV, D]"),
      OperandGroupSpec("cache", 2...2, "kc, vc: [L, KV, D]"),
    ],
    resultCount: 2, stages: [.tensor, .kernel, .planned],
    example: "%kc1, %vc1 = append %k, %v, cache(%kc, %vc) : f32[L, 2, 16], f32[L, 2, 16]"
  ) { op, _ in
    for (row, cache) in zip(op.operands, op[group: "cache"]) {
      try rule(row.type.rank == 3 && cache.type.rank == 3, "rows and caches must have three extents")
      try rule(
        row.type.shape.dropFirst() == cache.type.shape.dropFirst(),
        "rows \(row.type) do not fit the cache \(cache.type)")
      try rule(
        row.type.element == .f32 || row.type.element == cache.type.element,
        "rows must be f32 or \(cache.type.element.rawValue), not \(row.type)")
    }
    return op[group: "cache"].map(\.type)
  }

  public static let attend = OpDefinition(
    name: "attend", summary: "Causal attention of the step's rows over a cache that already holds them.",
    meaning: """
      row t reads positions 0 … L+t (L committed ones before the step); query head h reads KV head h / (H / KV)
      with a tail: row t reads the gathered positions of `cache`, then those of `tail` behind the last one of `after`, up to L+t
      s_j = scale * sum_d q[t, h, d] * k[j, d];  e_j = exp(s_j - m), m = max_j s_j (compiled code: the maximum so far)
      y[t, h, d] = sum_j round(e_j) * v[j, d] / sum_j e_j, round to `probs`; rounded to the result's element type
      """,
    operandGroups: [
      OperandGroupSpec("", 1...1, "q: [T, H, D], of the cache's element type"),
      OperandGroupSpec("cache", 2...2, "kc, vc: [L, KV, D], or gathered [S, KV, D]"),
      OperandGroupSpec("tail", 0...2, "kc, vc: [L, KV, D] behind gathered ones; both or none"),
      OperandGroupSpec("after", 0...1, "the set that was gathered: i32[S] or i32[KV, S]; with a tail"),
    ],
    attributes: [
      AttributeSpec("role", .word(["prefill", "draft", "verify"]), "who reads; passes choose by it; default none"),
      AttributeSpec("scale", .float, required: true, "factor on the dot products, usually 1/sqrt(D)"),
      AttributeSpec("probs", .word(["bf16"]), "element type of exp(s - m) in the second dot; default f32"),
    ],
    stages: [.tensor, .kernel, .planned],
    example: "%y = attend %q, cache(%kc1, %vc1) {scale = 0.25} : f32[T, 4, 16]"
  ) { op, written in
    let q = only(op)
    let cache = op[group: "cache"].map(\.type)
    try rule(q.rank == 3, "q must be [T, H, D], not \(q)")
    try rule(cache[0] == cache[1], "the caches differ: \(cache[0]) and \(cache[1])")
    try rule(cache[0].rank == 3, "a cache must be [L, KV, D], not \(cache[0])")
    try rule(q.element == cache[0].element, "q is \(q.element.rawValue), the cache \(cache[0].element.rawValue)")
    try rule(q.shape[2] == cache[0].shape[2], "heads of \(q.shape[2]) do not fit the cache \(cache[0])")
    let scale = op.attributes.float("scale") ?? 1
    try rule(scale > 0, "the scale \(scale) must be positive")
    let heads = try fixed(q.shape[1], "the heads of \(q)")
    let groups = try fixed(cache[0].shape[1], "the heads of \(cache[0])")
    try rule(groups > 0 && heads % groups == 0, "\(heads) query heads cannot share \(groups) KV heads")
    try sparseOperands(op)
    let element = writtenElement(written, .f32)
    try rule(element == .f32 || element == .bf16, "the result must be f32 or bf16, not \(element.rawValue)")
    return [q.with(element: element)]
  }

  /// A reader through a set: gathered caches, the tail behind them, and the set itself, all of one kind.
  private static func sparseOperands(_ op: Operation) throws {
    let gathers = op[group: "cache"].map(\.definingOperation).map { $0?.name == "gather" ? $0 : nil }
    let (tail, after) = (op[group: "tail"], op[group: "after"])
    if gathers.allSatisfy({ $0 == nil }) {
      return try rule(tail.isEmpty && after.isEmpty, "a tail belongs behind gathered positions; these caches are whole")
    }
    guard let gather = gathers[0], gathers[1] === gather, gather.results == op[group: "cache"] else {
      throw TypeRuleError("keys and values must be gathered together")
    }
    try rule(tail.count == 2 && after.count == 1, "gathered positions need tail(kc, vc) and after(set)")
    try rule(tail == gather[group: "cache"], "the tail must be what was gathered from")
    try rule(after == gather.operands, "'after' must be the set that was gathered")
  }

  public static let ropeAppend = OpDefinition(
    name: "rope_append",
    summary:
      "Splits fused q/k/v rows, rotates q and k, and writes k and v into the caches: rope + rope + append in one walk.",
    meaning: """
      x = [q | k | v] side by side, H*D, KV*D and KV*D columns; q1 = rope(q), rounded to the first result's element type
      kc1, vc1 = append(rope(k), v), rounded to the cache's element type
      """,
    operandGroups: [
      OperandGroupSpec("", 1...1, "x: f32[T, (H + 2 KV) D]"),
      OperandGroupSpec("cache", 2...2, "kc, vc: [L, KV, D]"),
      OperandGroupSpec("positions", 1...1, "i32[T]"),
      OperandGroupSpec("freqs", 1...1, "f32[D/2]"),
    ],
    attributes: [AttributeSpec("scale", .float, "factor on cos and sin; default 1")],
    resultCount: 3, stages: [.kernel, .planned],
    example:
      "%q, %kc1, %vc1 = rope_append %x, cache(%kc, %vc), positions(%pos), freqs(@freqs) : f32[T, 4, 16], f32[L, 2, 16], f32[L, 2, 16]"
  ) { op, written in
    let x = only(op)
    let cache = op[group: "cache"].map(\.type)
    try rule(x.rank == 2 && x.element == .f32, "x must be f32[T, N], not \(x)")
    try rule(cache[0] == cache[1] && cache[0].rank == 3, "the caches must be two [L, KV, D] of one type")
    let width = try fixed(x.shape[1], "the width of \(x)")
    let dim = try fixed(cache[0].shape[2], "the head dim of \(cache[0])")
    let groups = try fixed(cache[0].shape[1], "the heads of \(cache[0])")
    try rule(dim > 0 && dim % 2 == 0, "the head dim \(dim) must be even")
    let heads = width / dim - 2 * groups
    try rule(width % dim == 0 && heads > 0, "rows of \(width) do not hold q, k and v for the cache \(cache[0])")
    try ropeOperands(op, rows: x.shape[0], dim: dim)
    return [TensorType(writtenElement(written, .f32), [x.shape[0], .fixed(heads), .fixed(dim)]), cache[0], cache[1]]
  }

  private static func ropeOperands(_ op: Operation, rows: Dim, dim: Int) throws {
    let positions = only(op, "positions")
    let freqs = only(op, "freqs")
    try rule(positions == TensorType(.i32, [rows]), "positions must be i32[\(rows)], not \(positions)")
    try rule(freqs == TensorType(.f32, [.fixed(dim / 2)]), "freqs must be f32[\(dim / 2)], not \(freqs)")
  }
}
