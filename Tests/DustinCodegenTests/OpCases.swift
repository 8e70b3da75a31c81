import DustinInterpreter

/// A module in which one op stands alone between lookups of random rows and the result, with extents drawn at random.
struct OpCase {
  /// The op that the case is about.
  let op: String
  /// The op with what is special about the case.
  let form: String
  let text: String
  /// Largest difference to the interpreter, as a part of the result row's largest magnitude: at most four times the
  /// worst of all seeds, targets and thread counts, 0 where both sides must agree to the bit. The rotations agree to the bit
  /// too, and so do norms in bf16, but only as long as both sides' cosines and roots do: one rounding is allowed.
  let bound: Float
  let hasCache: Bool

  /// Rows that the random tables hold.
  static let vocabulary = 61

  /// One case of every op, and of every fused form and element type that has code of its own.
  static func all(_ random: inout SeededGenerator) -> [OpCase] {
    rowCases(&random) + linearCases(&random) + attentionCases(&random) + gatherCases(&random)
  }

  private static func pick(_ range: ClosedRange<Int>, _ random: inout SeededGenerator) -> Int {
    Int.random(in: range, using: &random)
  }

  static func module(
    _ op: String, _ form: String = "", bound: Float, weights: [String], body: [String], result: String,
    cache: String? = nil, layout: String = "packed"
  ) -> OpCase {
    func lines(_ body: some Sequence<String>) -> String { body.map { "  \($0)" }.joined(separator: "\n") }
    let caches = cache.map { ", %k0: \($0) {role = cache}, %v0: \($0) {role = cache}" } ?? ""
    let cacheResults = cache.map { ", \($0) {role = cache}, \($0) {role = cache}" } ?? ""
    let text = """
      dustin 1
      stage kernel {kv_layout = \(layout)}
      dim T <= 128
      dim L <= 4096
      dim S = min(600, L)
      \(weights.map { "weight \($0)" }.joined(separator: "\n"))
      func @f(%ids: i32[T], %pos: i32[T]\(caches)) -> (\(result)\(cacheResults)) {fidelity = exact, numerics = f32} {
      \(lines(body))
        return %y\(cache == nil ? "" : ", %k1, %v1")
      }
      """
    let name = form.isEmpty ? op : "\(op), \(form)"
    guard let cache else { return OpCase(op: op, form: name, text: text, bound: bound, hasCache: false) }
    // The same without the attention that stands last.
    let fill = """

      func @fill(%ids: i32[T], %pos: i32[T]\(caches)) -> (\(cache) {role = cache}, \(cache) {role = cache}) {fidelity = exact, numerics = f32} {
      \(lines(body.dropLast()))
        return %k1, %v1
      }
      """
    return OpCase(op: op, form: name, text: text + fill, bound: bound, hasCache: true)
  }

  private static func rowCases(_ random: inout SeededGenerator) -> [OpCase] {
    let n = pick(1...150, &random)
    let table = "@a : f32[\(vocabulary), \(n)]"
    let half = "@a : bf16[\(vocabulary), \(n)]"
    let look = "%a = embed %ids, weight(@a) : f32[T, \(n)]"
    let other = "%b = embed %pos, weight(@b) : f32[T, \(n)]"
    // positions are looked up too, so the second table is as long as a context
    let positions = "@b : f32[4096, \(n)]"
    let row = "f32[T, \(n)]"
    let begin = pick(0...(n - 1), &random)
    let count = pick(1...(n - begin), &random)
    let heads = pick(1...7, &random)
    var cases = [
      module("embed", bound: 0, weights: [table], body: ["%y = embed %ids, weight(@a) : \(row)"], result: row),
      module("embed", "bf16", bound: 0, weights: [half], body: ["%y = embed %ids, weight(@a) : \(row)"], result: row),
      module(
        "add", bound: 0, weights: [table, positions], body: [look, other, "%y = add %a, %b : \(row)"], result: row),
      module(
        "mul", bound: 0, weights: [table, positions], body: [look, other, "%y = mul %a, %b : \(row)"], result: row),
      module("silu", bound: 3.5e-7, weights: [table], body: [look, "%y = silu %a : \(row)"], result: row),
      module(
        "cast", bound: 0, weights: [table], body: [look, "%y = cast %a : bf16[T, \(n)]"], result: "bf16[T, \(n)]"),
      module(
        "slice", bound: 0, weights: [table],
        body: [look, "%y = slice %a {begin = \(begin), count = \(count)} : f32[T, \(count)]"],
        result: "f32[T, \(count)]"),
      module(
        "last_row", bound: 0, weights: [table], body: [look, "%y = last_row %a : f32[1, \(n)]"], result: "f32[1, \(n)]"),
      module(
        "reshape", bound: 0, weights: ["@a : f32[\(vocabulary), \(heads * 16)]"],
        body: ["%a = embed %ids, weight(@a) : f32[T, \(heads * 16)]", "%y = reshape %a : f32[T, \(heads), 16]"],
        result: "f32[T, \(heads), 16]"),
    ]
    // bf16: a number between two may be rounded to the other one
    for (element, bound) in [("f32", Float(7e-7)), ("bf16", 0.004)] {
      cases.append(
        module(
          "rmsnorm", element, bound: bound, weights: [table, "@g : bf16[\(n)]"],
          body: [look, "%y = rmsnorm %a, weight(@g) {eps = 1e-06} : \(element)[T, \(n)]"], result: "\(element)[T, \(n)]"
        ))
    }
    return cases
  }

  private static func linearCases(_ random: inout SeededGenerator) -> [OpCase] {
    let k = pick(1...150, &random)
    let n = pick(1...150, &random)
    let look = "%a = embed %ids, weight(@a) : f32[T, \(k)]"
    let table = "@a : f32[\(vocabulary), \(k)]"
    var cases: [OpCase] = []
    func add(
      _ form: String, _ weights: [String], _ body: [String], _ operands: String, _ attributes: String = "", width: Int,
      element: String = "f32", bound: Float
    ) {
      let line = "%y = linear \(operands)\(attributes.isEmpty ? "" : " {\(attributes)}") : \(element)[T, \(width)]"
      cases.append(
        module(
          "linear", form, bound: bound, weights: [table] + weights, body: [look] + body + [line],
          result: "\(element)[T, \(width)]"))
    }
    let round = "%r = cast %a : bf16[T, \(k)]"
    add("f32", ["@w : f32[\(n), \(k)]"], [], "%a, weight(@w)", width: n, bound: 2e-6)
    add("bias", ["@w : bf16[\(n), \(k)]", "@c : bf16[\(n)]"], [], "%a, weight(@w), bias(@c)", width: n, bound: 1.5e-6)
    add("bf16 dot", ["@w : bf16[\(n), \(k)]"], [round], "%r, weight(@w)", width: n, bound: 7e-7)
    add(
      "f32 weight in bf16", ["@w : f32[\(n), \(k)]"], [round, "%h = cast @w : bf16[\(n), \(k)]"], "%r, weight(%h)",
      width: n, bound: 7e-7)
    add(
      "norm, three weights", ["@w : bf16[\(n), \(k)]", "@v : bf16[3, \(k)]", "@u : bf16[70, \(k)]", "@g : f32[\(k)]"],
      [],
      "%a, norm(@g), weight(@w, @v, @u)", "eps = 1e-05", width: n + 73, bound: 2e-6)
    add(
      "norm, residual", ["@w : bf16[\(n), \(k)]", "@g : bf16[\(k)]", "@e : f32[\(vocabulary), \(n)]"],
      ["%e = embed %ids, weight(@e) : f32[T, \(n)]"], "%a, norm(@g), weight(@w), residual(%e)",
      "eps = 1e-06, round = bf16", width: n, bound: 8e-7)
    add(
      "swiglu bf16", ["@w : bf16[\(n), \(k)]", "@v : bf16[\(n), \(k)]", "@c : f32[\(n)]", "@d : f32[\(n)]"], [round],
      "%r, weight(@w, @v), bias(@c, @d)", "activation = swiglu", width: n, element: "bf16", bound: 0.005)
    add(
      "swiglu f32", ["@w : f32[\(n), \(k)]", "@v : f32[\(n), \(k)]"], [], "%a, weight(@w, @v)", "activation = swiglu",
      width: n, bound: 2.8e-6)
    return cases
  }

  private static func attentionCases(_ random: inout SeededGenerator) -> [OpCase] {
    let groups = pick(1...3, &random)
    let heads = groups * pick(1...5, &random)
    let dim = 16 * pick(1...6, &random)
    let table = "@a : f32[\(vocabulary), \((heads + 2 * groups) * dim)]"
    let look = "%a = embed %ids, weight(@a) : f32[T, \((heads + 2 * groups) * dim)]"
    let freqs = "@fr : f32[\(dim / 2)]"
    let turn = "positions(%pos), freqs(@fr) {scale = 1.25}"
    func cache(_ element: String) -> String { "\(element)[L, \(groups), \(dim)]" }
    func rows(_ name: String, _ first: Int, _ count: Int) -> [String] {
      [
        "%\(name)s = slice %a {begin = \(first * dim), count = \(count * dim)} : f32[T, \(count * dim)]",
        "%\(name) = reshape %\(name)s : f32[T, \(count), \(dim)]",
      ]
    }
    let split = [look] + rows("q", 0, heads) + rows("k", heads, groups) + rows("v", heads + groups, groups)
    func append(_ element: String) -> String {
      "%k1, %v1 = append %k, %v, cache(%k0, %v0) : \(cache(element)), \(cache(element))"
    }
    func result(_ element: String) -> String { "\(element)[T, \(heads), \(dim)]" }
    let roundQ = "%qr = cast %q : \(result("bf16"))"
    return [
      module(
        "rope", bound: 3e-7, weights: [table, freqs],
        body: [look] + rows("q", 0, heads) + ["%y = rope %q, \(turn) : \(result("f32"))"],
        result: result("f32")),
      module(
        "rope", "bf16", bound: 0.004, weights: [table, freqs],
        body: [look] + rows("q", 0, heads) + ["%y = rope %q, \(turn) : \(result("bf16"))"], result: result("bf16")),
      module(
        "append", bound: 1.5e-5, weights: [table],
        body: split + [append("f32"), "%y = attend %q, cache(%k1, %v1) {scale = 0.2} : \(result("f32"))"],
        result: result("f32"), cache: cache("f32")),
      module(
        "attend", "bf16", bound: 0.02, weights: [table],
        body: split + [
          append("bf16"), roundQ, "%y = attend %qr, cache(%k1, %v1) {scale = 0.2, probs = bf16} : \(result("bf16"))",
        ], result: result("bf16"), cache: cache("bf16")),
      module(
        "rope_append", bound: 4.5e-6, weights: [table, freqs],
        body: [
          look,
          "%q, %k1, %v1 = rope_append %a, cache(%k0, %v0), \(turn) : \(result("f32")), \(cache("f32")), \(cache("f32"))",
          "%y = attend %q, cache(%k1, %v1) {scale = 0.1} : \(result("f32"))",
        ], result: result("f32"), cache: cache("f32")),
      module(
        "rope_append", "bf16", bound: 0.009, weights: [table, freqs],
        body: [
          look,
          "%q, %k1, %v1 = rope_append %a, cache(%k0, %v0), \(turn) : \(result("bf16")), \(cache("bf16")), \(cache("bf16"))",
          "%y = attend %q, cache(%k1, %v1) {scale = 0.1, probs = bf16} : \(result("f32"))",
        ], result: result("f32"), cache: cache("bf16")),
    ]
  }
}
