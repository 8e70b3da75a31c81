import DustinCodegen
import DustinIR
import DustinInterpreter
import DustinRuntime
import DustinSupport
import XCTest

/// Scores that attention's kernel makes, against the keys-only kernels to the bit, and against the interpreter.
final class FusedScoreTests: XCTestCase {
  private struct Case: CustomStringConvertible {
    var element = ElementType.f32
    var heads = 2
    var kvHeads = 1
    var dim = 16
    var chosen: [Int]?
    var reduce = "mean"
    var width = 1
    var isSplit = false

    var description: String {
      "\(element.rawValue) \(heads)/\(kvHeads)x\(dim) heads \(chosen?.description ?? "all") \(reduce) width \(width)"
        + (isSplit ? " split" : "")
    }

    /// `@fused` attends and scores, `@plain` only attends; `@keys` scores the kept rows.
    var text: String {
      let e = element.rawValue
      let cache = "\(e)[L, \(kvHeads), \(dim)]"
      let caches = "%k0: \(cache) {role = cache}, %v0: \(cache) {role = cache}"
      let results = "\(cache) {role = cache}, \(cache) {role = cache}"
      func signal(_ extent: String) -> String { isSplit ? "f32[\(kvHeads), \(extent)]" : "f32[\(extent)]" }
      let q = "\(e)[T, \(heads), \(dim)]"
      let y = "f32[T, \(heads), \(dim)]"
      let scale = "scale = \(0.7 / Double(dim).squareRoot())"
      var score = [scale, "take = last", "reduce = \(reduce)"]
      if let chosen { score.append("heads = \(chosen)") }
      let attributes = score.joined(separator: ", ")
      let attend = """
          %qs = embed %ids, weight(@q) : f32[T, \(heads * dim)]
          %qf = reshape %qs : \(y)
          %q = cast %qf : \(q)
          %ks = embed %ids, weight(@k) : f32[T, \(kvHeads * dim)]
          %k = reshape %ks : f32[T, \(kvHeads), \(dim)]
          %vs = embed %ids, weight(@v) : f32[T, \(kvHeads * dim)]
          %v = reshape %vs : f32[T, \(kvHeads), \(dim)]
          %k1, %v1 = append %k, %v, cache(%k0, %v0) : \(cache), \(cache)
          %y = attend %q, cache(%k1, %v1) {\(scale)\(e == "bf16" ? ", probs = bf16" : "")} : \(y)
        """
      return """
        dustin 1
        stage kernel
        dim T <= 128
        dim L <= 4096
        dim C <= 4096
        weight @q : f32[61, \(heads * dim)]
        weight @k : f32[61, \(kvHeads * dim)]
        weight @v : f32[61, \(kvHeads * dim)]
        func @fused(%ids: i32[T], %seen: \(signal("C")) {role = running}, \(caches)) \
        -> (\(y), \(signal("C")) {role = running}, \(q) {role = rows}, \(results)) {fidelity = exact, numerics = f32} {
        \(attend)
          %s = score %q, cache(%k1), onto(%seen), beside(%y) {\(attributes)} : \(signal("C"))
          return %y, %s, %q, %k1, %v1
        }
        func @plain(%ids: i32[T], \(caches)) -> (\(y), \(results)) {fidelity = exact, numerics = f32} {
        \(attend)
          return %y, %k1, %v1
        }
        func @keys(%q: \(q) {role = rows}, \(caches)) -> (\(signal("L")) {role = round}) {fidelity = exact, numerics = f32} {
          %row = score %q, cache(%k0) {\(attributes)} : \(signal("L"))
          return %row
        }
        func @look(%seen: \(signal("C")) {role = running}) -> (\(signal("C")) {role = round}) {fidelity = exact, numerics = f32} {
          %look = pool %seen {width = \(width)} : \(signal("C"))
          return %look
        }
        """
    }
  }

  private func check(_ one: Case, seed: UInt64, rows: [[Int]], _ targets: [CPUTarget]) throws -> Float {
    var random = SeededGenerator(seed: seed)
    func words(_ count: Int) -> [Int32] { (0..<count).map { _ in Int32.random(in: 0..<61, using: &random) } }
    let module = try ModuleParser.parseVerified(SourceBuffer(name: "\(one)", text: one.text))
    var tensors: [String: Tensor] = [:]
    for (name, width, deviation) in [("q", one.heads, Float(2)), ("k", one.kvHeads, 1), ("v", one.kvHeads, 1)] {
      let floats = random.normals(61 * width * one.dim, deviation: deviation)
      tensors[name] = try Tensor([61, width * one.dim], floats)
    }
    let weights = DictionaryWeights(tensors)
    // Nothing, some groups of keys, and a third chunk that has begun or is about to.
    let prompts = [
      0, Int.random(in: 1...200, using: &random), [1023, 1024, 2046, 2100].randomElement(using: &random) ?? 1,
    ]
    .map(words)
    let steps = rows.map { counts in counts.map(words) }
    let scored = prompts.indices.map { prompts[$0].count + (rows.first?[$0] ?? 1) - 1 }

    let interpreter = try Interpreter(module: module, weights: weights)
    let expected: [[[Float]]] = try prompts.indices.map { index in
      let session = try InterpreterSession(interpreter, capacity: 4096)
      for start in stride(from: 0, to: prompts[index].count, by: 128) {
        let piece = Array(prompts[index][start..<min(start + 128, prompts[index].count)])
        try session.call(function: "plain", tokens: piece)
        try session.commit(piece.count)
      }
      var found: [[Float]] = []
      for step in steps {
        try session.call(function: "fused", tokens: step[index])
        try session.commit(step[index].count)
        let look = try session.call(function: "look")["look"]
        XCTAssertEqual(look?.shape.last, scored[index])
        found.append(look?.floats ?? [])
      }
      return found
    }

    var worst: Float = 0
    for target in targets {
      let compiled = try CompiledModule(module, weights: weights, pipeline: "plan-memory", target: target)
      for threads in [1, 2] {
        let label = "\(one), \(target), \(threads) threads, seed \(seed)"
        let engine = try Engine(model: compiled.model, team: ThreadTeam(threads: threads))
        let (mine, others) = (try caches(engine, prompts), try caches(engine, prompts))
        var sums = scored.map { [Float](repeating: 0, count: $0 * (one.isSplit ? one.kvHeads : 1)) }
        for (number, tokens) in steps.enumerated() {
          let plain = try engine.step("plain", zip(others, tokens).map { StepRows($0, $1) })
          let attended = try tokens.indices.map { try bytes(plain, $0, rows: tokens[$0].count) }
          for (cache, tokens) in zip(others, tokens) { try cache.commit(tokens.count) }
          let step = try engine.step(
            "fused", mine.indices.map { StepRows(mine[$0], tokens[$0], scored: scored[$0]) })
          for index in mine.indices {
            let count = tokens[index].count
            XCTAssertEqual(try bytes(step, index, rows: count), attended[index], "attention, \(label)")
            try step.keep(sequence: index, rows: count - 1..<count)
            try mine[index].commit(count)
          }
          _ = try engine.step("keys", mine.indices.map { StepRows(mine[$0], length: scored[$0]) })
          _ = try engine.step("look", mine.indices.map { StepRows(mine[$0], length: scored[$0]) })
          for index in mine.indices {
            let row = try mine[index].signal(named: "row").flatMap { $0.prefix(scored[index]) }
            sums[index] = zip(row, sums[index]).map { one.reduce == "max" ? max($0, $1) : $0 + $1 }
            let seen = try mine[index].signal(named: "seen").map { Array($0.prefix(scored[index])) }
            XCTAssertTrue(
              seen.flatMap { $0 }.map(\.bitPattern) == sums[index].map(\.bitPattern),
              "step \(number), sequence \(index), \(label)")
            let look = try mine[index].signal(named: "look").map { Array($0.prefix(scored[index])) }
            XCTAssertEqual(look, seen.map { filtered($0, one.width) }, "the filter, \(label)")
            let greatest = expected[index][number].max() ?? 1
            for (a, b) in zip(look.flatMap { $0 }, expected[index][number]) {
              worst = max(worst, abs(a - b) / greatest)
            }
          }
        }
      }
    }
    let bound = one.element == .bf16 ? ScoreTests.boundOfBF16 : ScoreTests.bound
    XCTAssertLessThanOrEqual(worst, bound, "\(one), seed \(seed)")
    return worst
  }

  private func caches(_ engine: Engine, _ prompts: [[Int32]]) throws -> [KVCache] {
    try prompts.map { prompt in
      let cache = try KVCache(engine.model, positions: prompt.count + 600)
      if !prompt.isEmpty {
        _ = try engine.prefill([StepRows(cache, prompt)], function: "plain", wantLogits: false)
      }
      return cache
    }
  }

  private func bytes(_ step: StepResult, _ sequence: Int, rows: Int) throws -> [UInt8] {
    try (0..<rows).flatMap { Array(try step.bytes("y", sequence: sequence, row: $0)) }
  }

  private func filtered(_ signal: [Float], _ width: Int) -> [Float] {
    signal.indices.map { signal[max(0, $0 - width / 2)...min(signal.count - 1, $0 + width / 2)].max() ?? 0 }
  }

  func testAttentionMakesTheScoresOfTheKeysOnlyKernels() throws {
    var worst: Float = 0
    for seed in UInt64(1)...6 {
      var random = SeededGenerator(seed: seed)
      var one = Case()
      one.element = seed % 2 == 0 ? .f32 : .bf16
      one.kvHeads = Int.random(in: 1...3, using: &random)
      let group = Int.random(in: 1...7, using: &random)
      one.heads = one.kvHeads * group
      one.dim = [16, 48, 64, 128].randomElement(using: &random) ?? 16
      one.isSplit = seed % 4 == 0
      if seed % 3 > 0 {
        one.chosen = (0..<one.heads).filter { one.isSplit && $0 % group == 0 || Bool.random(using: &random) }
        if one.chosen == [] { one.chosen = [one.heads - 1] }
      }
      one.reduce = Bool.random(using: &random) ? "mean" : "max"
      one.width = [1, 5, 9, 33].randomElement(using: &random) ?? 1
      // Few rows, ragged ones, more than a kernel packs, and so many that the keys-only kernel takes over.
      let rows = [[1, 1, 1], [3, 2, 1], [1, 1, 1], [1, 30, 1], [40, 9, 60]]
      worst = max(worst, try check(one, seed: seed, rows: rows, runnableTargets(round: Int(seed) - 1)))
    }
    print("fused scores: \(worst) of the signal's largest magnitude")
  }

  /// A round that begins with more rows than one.
  func testTheFirstStepMayHaveManyRows() throws {
    let one = Case(element: .bf16, heads: 14, kvHeads: 2, dim: 64, chosen: [0, 6, 7, 9], width: 5)
    for rows in [[[2, 5, 3], [1, 1, 1]], [[64, 1, 50], [1, 1, 1]]] {
      _ = try check(one, seed: 40, rows: rows, runnableTargets())
    }
  }

  func testScratchThatAnotherOpUsesBetweenIsRefused() throws {
    let text = Case().text.replacing(
      "  %s = score", with: "  %o = score %q, cache(%k1) {scale = 1} : f32[L]\n  %s = score")
    let module = try ModuleParser.parseVerified(SourceBuffer(name: "between", text: text))
    XCTAssertThrowsError(
      try CompiledModule(module, weights: DictionaryWeights(), pipeline: "plan-memory", target: .host())
    ) { XCTAssertTrue("\($0)".contains("another op uses its scratch between"), "\($0)") }
  }
}
