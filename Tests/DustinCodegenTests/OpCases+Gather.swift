extension OpCase {
  /// Attention through a set of first and recent positions, from packed blocks and from rows that both appends write.
  static func gatherCases(_ random: inout some RandomNumberGenerator) -> [OpCase] {
    let groups = Int.random(in: 1...3, using: &random)
    let heads = groups * Int.random(in: 1...8, using: &random)
    let dim = 16 * Int.random(in: 1...8, using: &random)
    let width = (heads + 2 * groups) * dim
    let sink = Int.random(in: 0...20, using: &random)
    // as many as the set holds: dim S
    let recent = 600 - sink
    func rows(_ name: String, _ first: Int, _ count: Int) -> [String] {
      [
        "%\(name)s = slice %a {begin = \(first * dim), count = \(count * dim)} : f32[T, \(count * dim)]",
        "%\(name) = reshape %\(name)s : f32[T, \(count), \(dim)]",
      ]
    }
    func one(_ element: String, _ layout: String, turns: Bool, bound: Float) -> OpCase {
      let cache = "\(element)[L, \(groups), \(dim)]"
      let q = "\(element)[T, \(heads), \(dim)]"
      let gathered = "\(element)[S, \(groups), \(dim)]"
      let look = "%a = embed %ids, weight(@a) : f32[T, \(width)]"
      let cast = element == "bf16" ? ["%qr = cast %q : \(q)"] : []
      let append =
        turns
        ? ["%qr, %k1, %v1 = rope_append %a, cache(%k0, %v0), positions(%pos), freqs(@fr) : \(q), \(cache), \(cache)"]
        : rows("q", 0, heads) + rows("k", heads, groups) + rows("v", heads + groups, groups)
          + ["%k1, %v1 = append %k, %v, cache(%k0, %v0) : \(cache), \(cache)"] + cast
      let reader = turns || element == "bf16" ? "%qr" : "%q"
      let probs = element == "bf16" ? ", probs = bf16" : ""
      return module(
        "gather", "\(element), \(layout)\(turns ? ", rope_append" : "")", bound: bound,
        weights: ["@a : f32[\(vocabulary), \(width)]"] + (turns ? ["@fr : f32[\(dim / 2)]"] : []),
        body: [look] + append + [
          "%i = select cache(%k1) {budget = 600, sink = \(sink), recent = \(recent)} : i32[S]",
          "%kg, %vg = gather %i, cache(%k1, %v1) : \(gathered), \(gathered)",
          "%y = attend \(reader), cache(%kg, %vg), tail(%k1, %v1), after(%i) {scale = 0.2\(probs)} : f32[T, \(heads), \(dim)]",
        ], result: "f32[T, \(heads), \(dim)]", cache: cache, layout: layout)
    }
    return [
      one("f32", "packed", turns: false, bound: 1e-5), one("f32", "both", turns: true, bound: 6e-6),
      one("bf16", "packed", turns: true, bound: 0.008), one("bf16", "both", turns: false, bound: 0.01),
    ]
  }
}
