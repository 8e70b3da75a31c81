import DustinCodegen
import DustinIR
import DustinInterpreter
import DustinSupport
import XCTest

/// Compiled signals against the interpreter's, and against themselves in other company.
final class ScoreTests: XCTestCase {
  /// What one `score` is asked for.
  struct Case: CustomStringConvertible {
    var element = ElementType.f32
    var heads = 2
    var kvHeads = 1
    var dim = 16
    var chosen: [Int]?
    var take = "all"
    var reduce = "mean"
    var pool = 1
    var bound: Int?
    var isSplit = false
    var hasOnto = false

    var signal: String { isSplit ? "f32[\(kvHeads), L]" : "f32[L]" }
    var description: String {
      "\(element.rawValue) \(heads)/\(kvHeads)x\(dim) heads \(chosen?.description ?? "all") take \(take) reduce \(reduce)"
        + " pool \(pool) bound \(bound ?? 0)\(isSplit ? " split" : "")\(hasOnto ? " onto" : "")"
    }

    var text: String {
      let e = element.rawValue
      var attributes = [
        "scale = \(1 / Double(dim).squareRoot())", "take = \(take)", "reduce = \(reduce)", "pool = \(pool)",
      ]
      if let chosen { attributes.append("heads = \(chosen)") }
      if let bound { attributes.append("bound = \(bound)") }
      return """
        dustin 1
        stage planned
        dim T <= 5000
        dim L <= 8192
        func @score(%q: \(e)[T, \(heads), \(dim)] {role = rows}, \(hasOnto ? "%b: \(signal) {role = round}, " : "")\
        %kc: \(e)[L, \(kvHeads), \(dim)] {role = cache}, %vc: \(e)[L, \(kvHeads), \(dim)] {role = cache}) \
        -> (\(signal) {role = round}) {fidelity = exact, numerics = f32} {
          %s = score %q, cache(%kc)\(hasOnto ? ", onto(%b)" : "") {\(attributes.joined(separator: ", "))} : \(signal)
          return %s
        }
        func @fill(%k: \(e)[T, \(kvHeads), \(dim)], %v: \(e)[T, \(kvHeads), \(dim)], \
        %kc: \(e)[L, \(kvHeads), \(dim)] {role = cache}, %vc: \(e)[L, \(kvHeads), \(dim)] {role = cache}) \
        -> (\(e)[L, \(kvHeads), \(dim)] {role = cache}, \(e)[L, \(kvHeads), \(dim)] {role = cache}) \
        {fidelity = exact, numerics = f32} {
          %k1, %v1 = append %k, %v, cache(%kc, %vc) : \(e)[L, \(kvHeads), \(dim)], \(e)[L, \(kvHeads), \(dim)]
          return %k1, %v1
        }
        """
    }
  }

  /// What one sequence brings, and what the interpreter makes of it.
  struct Input {
    let length, rows: Int
    let keys, queries, below: [Float]
    var expected: [Float] = []

    init(_ one: Case, length: Int, rows: Int, _ random: inout SeededGenerator) {
      func numbers(_ count: Int, deviation: Float) -> [Float] {
        let floats = random.normals(count, deviation: deviation)
        return one.element == .bf16 ? floats.map(roundedToBF16) : floats
      }
      (self.length, self.rows) = (length, rows)
      keys = numbers(length * one.kvHeads * one.dim, deviation: 1)
      queries = numbers(rows * one.heads * one.dim, deviation: 2)
      below = (0..<(one.isSplit ? one.kvHeads : 1) * length).map { _ in
        Float.random(in: 0...1, using: &random) / Float(length)
      }
    }

    mutating func expect(_ one: Case, _ module: Module) throws {
      let interpreter = try Interpreter(module: module, weights: DictionaryWeights())
      let caches = try (0..<2).map { _ in
        try KVCacheTensor(heads: one.kvHeads, dim: one.dim, element: one.element, capacity: length)
      }
      let keys = Interpreter.Argument.tensor(try Tensor(one.element, [length, one.kvHeads, one.dim], keys))
      _ = try interpreter.call("fill", [keys, keys] + caches.map { .cache($0.current) })
      for cache in caches { try cache.commit(length) }
      let q = Interpreter.Argument.tensor(try Tensor(one.element, [rows, one.heads, one.dim], queries))
      let shape = one.isSplit ? [one.kvHeads, length] : [length]
      let onto = one.hasOnto ? [Interpreter.Argument.tensor(try Tensor(shape, below))] : []
      guard
        case .tensor(let signal)? = try interpreter.call("score", [q] + onto + caches.map { .cache($0.current) }).first
      else { return XCTFail("no signal") }
      expected = signal.floats
    }

    func sequence(_ one: Case, _ compiled: SignalProgram, capacity: Int? = nil) -> SignalProgram.Sequence {
      let sequence = compiled.sequence(length: length, capacity: capacity)
      // Keys of rejected rows lie behind the committed ones.
      let stale = [Float](repeating: 64, count: (sequence.capacity - length) * one.kvHeads * one.dim)
      sequence.setKeys(keys + stale, region: 0)
      if one.hasOnto {
        for plane in 0..<(one.isSplit ? one.kvHeads : 1) {
          sequence.setSignal("b", plane: plane, Array(below[plane * length..<(plane + 1) * length]))
        }
      }
      return sequence
    }
  }

  private func planes(_ one: Case, _ sequence: SignalProgram.Sequence) -> [[Float]] {
    (0..<(one.isSplit ? one.kvHeads : 1)).map { sequence.signal("s", plane: $0) }
  }

  /// - Returns: The largest difference as a part of the signal's largest magnitude.
  private func compare(_ one: Case, _ inputs: [Input], _ compiled: SignalProgram, threads: Int, _ label: String) throws
    -> Float
  {
    let sequences = inputs.map { $0.sequence(one, compiled) }
    try compiled.run(
      "score", zip(sequences, inputs).map { ($0, $1.rows) }, rows: ["q": inputs.flatMap(\.queries)], threads: threads)
    var worst: Float = 0
    for (sequence, input) in zip(sequences, inputs) where input.length > 0 {
      let scale = input.expected.reduce(0) { max($0, abs($1)) }
      for (plane, signal) in planes(one, sequence).enumerated() {
        XCTAssertTrue(signal[input.length...].allSatisfy { $0.bitPattern == 0 }, "padding of \(input.length), \(label)")
        for position in 0..<input.length {
          let (found, wanted) = (signal[position], input.expected[plane * input.length + position])
          let difference = abs(found - wanted) / scale
          if !(difference <= Self.bound(one)) {
            XCTFail("plane \(plane), position \(position) of \(input.length): \(found), not \(wanted); \(label)")
            return .infinity
          }
          worst = max(worst, difference)
        }
      }
    }
    return worst
  }

  /// At most four times the worst that is seen: exponents of sums of 128 products.
  static let bound: Float = 2.5e-6
  /// Shares of bf16 keys are bf16 until they are summed, and their exponentials as exact as that asks for.
  static let boundOfBF16: Float = 1.0 / 256 + 2e-4
  static func bound(_ one: Case) -> Float { one.element == .bf16 && one.bound == nil ? boundOfBF16 : bound }

  private func check(_ one: Case, lengths: [Int], seed: UInt64) throws -> Float {
    var random = SeededGenerator(seed: seed)
    let module = try ModuleParser.parseVerified(SourceBuffer(name: "\(one)", text: one.text))
    var inputs = lengths.map { Input(one, length: $0, rows: Int.random(in: 1...9, using: &random), &random) }
    // A step has at most 16 rows.
    while inputs.reduce(0, { $0 + $1.rows }) > 16 { inputs.removeLast() }
    for index in inputs.indices where inputs[index].length > 0 { try inputs[index].expect(one, module) }
    var worst: Float = 0
    for target in try runnableTargets(round: Int(seed) - 1) {
      let compiled = try SignalProgram(one.text, "\(one)", target: target)
      for threads in [1, 2] {
        worst = max(
          worst,
          try compare(one, inputs, compiled, threads: threads, "\(one), \(target), \(threads) threads, seed \(seed)"))
      }
    }
    return worst
  }

  func testSignalsAgreeWithTheInterpreter() throws {
    var worst: Float = 0
    let lengths = [0, 1, 15, 16, 63, 64, 65, 700, 1023, 1024, 1025, 2047, 2100, 5000]
    for seed in UInt64(1)...18 {
      var random = SeededGenerator(seed: seed)
      var one = Case()
      one.element = Bool.random(using: &random) ? .f32 : .bf16
      one.kvHeads = Int.random(in: 1...3, using: &random)
      let group = Int.random(in: 1...4, using: &random)
      one.heads = one.kvHeads * group
      one.dim = [16, 32, 48, 64, 128].randomElement(using: &random) ?? 16
      one.isSplit = seed % 4 == 0
      if seed % 3 > 0 {
        one.chosen = (0..<one.heads).filter { one.isSplit && $0 % group == 0 || Bool.random(using: &random) }
        if one.chosen == [] { one.chosen = [one.heads - 1] }
      }
      one.take = ["all", "last", "ends"].randomElement(using: &random) ?? "all"
      one.reduce = Bool.random(using: &random) ? "mean" : "max"
      one.pool = [1, 1, 5, 9, 33, 255].randomElement(using: &random) ?? 1
      one.hasOnto = Bool.random(using: &random)
      let chosen = (0..<3).map { _ in lengths.randomElement(using: &random) ?? 1 }
      worst = max(worst, try check(one, lengths: chosen, seed: seed))
    }
    print("score: \(worst) of the signal's largest magnitude")
  }

  func testBoundsAgreeWithTheInterpreter() throws {
    var worst: Float = 0
    let lengths = [1, 16, 17, 100, 1023, 1025, 2100]
    for seed in UInt64(1)...12 {
      var random = SeededGenerator(seed: seed + 100)
      var one = Case()
      one.element = Bool.random(using: &random) ? .f32 : .bf16
      one.kvHeads = Int.random(in: 1...3, using: &random)
      one.heads = one.kvHeads * Int.random(in: 1...3, using: &random)
      one.dim = [16, 48, 128].randomElement(using: &random) ?? 16
      one.isSplit = seed % 4 == 0
      one.bound = [1, 5, 16, 16, 32, 1000, 1024].randomElement(using: &random)
      one.reduce = Bool.random(using: &random) ? "mean" : "max"
      one.take = ["all", "last", "ends"].randomElement(using: &random) ?? "all"
      one.pool = [1, 1, 5, 33].randomElement(using: &random) ?? 1
      one.hasOnto = Bool.random(using: &random)
      let chosen = (0..<3).map { _ in lengths.randomElement(using: &random) ?? 1 }
      worst = max(worst, try check(one, lengths: chosen, seed: seed))
    }
    print("score, bounds: \(worst) of the signal's largest magnitude")
  }

  /// A sequence's bits do not depend on its neighbours, the threads, its capacity, or rows that do not count.
  func testASignalIsTheSameInAnyCompany() throws {
    for target in try runnableTargets() {
      for element in [ElementType.f32, .bf16] {
        for (take, bound) in [("all", nil), ("last", nil), ("ends", 16)] {
          var one = Case(element: element, heads: 4, kvHeads: 2, dim: 32, chosen: [0, 1, 3], take: take, pool: 5)
          one.bound = bound
          one.hasOnto = true
          let label = "\(one), \(target)"
          let compiled = try SignalProgram(one.text, label, target: target)
          var random = SeededGenerator(seed: 7)
          let mine = Input(one, length: 2100, rows: 5, &random)
          let others = [1, 1500].map { Input(one, length: $0, rows: 3, &random) }
          func bits(_ before: [Input], _ after: [Input], threads: Int, capacity: Int? = nil) throws -> [UInt32] {
            let sequence = mine.sequence(one, compiled, capacity: capacity)
            let all = before + [mine] + after
            let sequences =
              before.map { $0.sequence(one, compiled) } + [sequence] + after.map { $0.sequence(one, compiled) }
            try compiled.run(
              "score", zip(sequences, all).map { ($0, $1.rows) }, rows: ["q": all.flatMap(\.queries)], threads: threads)
            return sequence.signal("s").map(\.bitPattern)
          }
          let reference = try bits([], [], threads: 1)
          XCTAssertEqual(Set(reference).count > 100, true, label)
          XCTAssertEqual(try bits([], [], threads: 2, capacity: 5000), reference, "two threads, \(label)")
          XCTAssertEqual(try bits(others, [], threads: 3), reference, "behind others, \(label)")
          XCTAssertEqual(try bits([others[1]], [others[0]], threads: 1), reference, "among others, \(label)")
          if take == "last" {
            // The last row alone.
            let sequence = mine.sequence(one, compiled)
            let row = Array(mine.queries.suffix(one.heads * one.dim))
            try compiled.run("score", [(sequence, rows: 1)], rows: ["q": row])
            XCTAssertEqual(sequence.signal("s").map(\.bitPattern), reference, "one row, \(label)")
          }
        }
      }
    }
  }

  /// More rows of one KV head than are packed at a time.
  func testManyRowsAndHeadsAreScored() throws {
    let one = Case(element: .bf16, heads: 14, kvHeads: 1, dim: 64, pool: 1)
    var random = SeededGenerator(seed: 3)
    let module = try ModuleParser.parseVerified(SourceBuffer(name: "\(one)", text: one.text))
    var input = Input(one, length: 1100, rows: 16, &random)
    try input.expect(one, module)
    for target in try runnableTargets() {
      let compiled = try SignalProgram(one.text, "\(one)", target: target)
      _ = try compare(one, [input], compiled, threads: 2, "\(one), \(target)")
    }
  }

  func testASignalSumsToItsRows() throws {
    let one = Case(element: .bf16, heads: 4, kvHeads: 2, dim: 64, isSplit: true)
    var random = SeededGenerator(seed: 5)
    let input = Input(one, length: 3000, rows: 5, &random)
    for target in try runnableTargets() {
      let compiled = try SignalProgram(one.text, "\(one)", target: target)
      let sequence = input.sequence(one, compiled)
      try compiled.run("score", [(sequence, rows: 5)], rows: ["q": input.queries])
      for plane in planes(one, sequence) {
        XCTAssertEqual(plane.reduce(0) { $0 + Double($1) }, 1, accuracy: 1e-4, "\(target)")
      }
    }
  }
}
