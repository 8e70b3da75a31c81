import DustinCodegen
import DustinIR
import DustinInterpreter
import DustinSupport
import XCTest

/// Compiled sets against the interpreter's, position by position.
final class SelectTests: XCTestCase {
  struct Case: CustomStringConvertible {
    var signals = 1
    var planes = 0
    var budget = 64
    var sink = 4
    var recent = 16
    var quotas: [Int]?
    var cover: Double?
    var granularity = 1

    var signal: String { planes > 0 ? "f32[\(planes), L]" : "f32[L]" }
    var set: String { planes > 0 ? "i32[\(planes), S]" : "i32[S]" }
    var description: String {
      "\(signals) signals, \(planes) planes, budget \(budget), sink \(sink), recent \(recent),"
        + " quotas \(quotas?.description ?? "none"), cover \(cover ?? 1), granularity \(granularity)"
    }
    var text: String {
      var attributes = ["budget = \(budget)", "sink = \(sink)", "recent = \(recent)", "granularity = \(granularity)"]
      if let quotas { attributes.append("quotas = \(quotas)") }
      if let cover { attributes.append("cover = \(cover)") }
      let names = (0..<signals).map { "%s\($0)" }
      let arguments =
        names.map { "\($0): \(signal) {role = round}" }
        + ["%kc: f32[L, 1, 16] {role = cache}", "%vc: f32[L, 1, 16] {role = cache}"]
      let groups = (names.isEmpty ? "" : names.joined(separator: ", ") + ", ") + "cache(%kc)"
      return """
        dustin 1
        stage planned
        dim T <= 40000
        dim L <= 40000
        dim S <= \(budget)
        func @select(\(arguments.joined(separator: ", "))) -> (\(set) {role = round}) \
        {fidelity = exact, numerics = f32} {
          %i = select \(groups) {\(attributes.joined(separator: ", "))} : \(set)
          return %i
        }
        func @fill(%k: f32[T, 1, 16], %kc: f32[L, 1, 16] {role = cache}, %vc: f32[L, 1, 16] {role = cache}) \
        -> (f32[L, 1, 16] {role = cache}, f32[L, 1, 16] {role = cache}) {fidelity = exact, numerics = f32} {
          %k1, %v1 = append %k, %k, cache(%kc, %vc) : f32[L, 1, 16], f32[L, 1, 16]
          return %k1, %v1
        }
        """
    }
  }

  private enum Kind: CaseIterable {
    case uniform, skewed, few, equal, zeros, signs, odd
  }

  private func signal(_ kind: Kind, _ count: Int, _ random: inout SeededGenerator) -> [Float] {
    func uniform() -> Float { Float.random(in: 0..<1, using: &random) }
    return (0..<count).map { _ in
      switch kind {
      case .uniform: uniform()
      case .skewed: exp2(-40 * uniform())
      case .few: Float(Int.random(in: 0...3, using: &random)) / 8
      case .equal: 0.37
      case .zeros: 0
      case .signs: uniform() - 0.5
      case .odd:
        [-0.0, 0, 1, -1, .infinity, -.infinity, .nan, .leastNonzeroMagnitude, -.leastNonzeroMagnitude].randomElement(
          using: &random) ?? 0
      }
    }
  }

  /// [plane][positions] as the interpreter has it.
  private func expected(_ one: Case, _ interpreter: Interpreter, _ length: Int, _ signals: [[Float]]) throws
    -> [[Int32]]
  {
    let caches = try (0..<2).map { _ in try KVCacheTensor(heads: 1, dim: 16, element: .f32, capacity: length) }
    let rows = try Tensor([length, 1, 16], [Float](repeating: 0, count: length * 16))
    _ = try interpreter.call("fill", [.tensor(rows)] + caches.map { .cache($0.current) })
    for cache in caches { try cache.commit(length) }
    let shape = (one.planes > 0 ? [one.planes] : []) + [length]
    let arguments = try signals.map { Interpreter.Argument.tensor(try Tensor(shape, $0)) }
    guard
      case .tensor(let set)? = try interpreter.call("select", arguments + caches.map { .cache($0.current) }).first
    else { return [] }
    let planes = max(1, one.planes)
    let width = set.ints.count / planes
    return (0..<planes).map { set.ints[$0 * width..<($0 + 1) * width].filter { $0 >= 0 } }
  }

  private struct Input {
    let length: Int
    let signals: [[Float]]
    let expected: [[Int32]]

    func sequence(_ one: Case, _ compiled: SignalProgram) -> SignalProgram.Sequence {
      let sequence = compiled.sequence(length: length)
      for (number, signal) in signals.enumerated() {
        for plane in 0..<max(1, one.planes) {
          sequence.setSignal("s\(number)", plane: plane, Array(signal[plane * length..<(plane + 1) * length]))
        }
      }
      return sequence
    }
  }

  private func check(_ one: Case, lengths: [Int], seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let module = try ModuleParser.parseVerified(SourceBuffer(name: "\(one)", text: one.text))
    let interpreter = try Interpreter(module: module, weights: DictionaryWeights())
    let kinds = one.cover == nil ? Kind.allCases : [.uniform, .skewed, .few, .equal, .zeros]
    let inputs = try lengths.map { length in
      let signals = (0..<one.signals).map { _ in
        (0..<max(1, one.planes)).flatMap { _ in
          signal(kinds.randomElement(using: &random) ?? .uniform, length, &random)
        }
      }
      return Input(
        length: length, signals: signals, expected: try expected(one, interpreter, length, signals))
    }
    for target in try runnableTargets(round: Int(seed) - 1) {
      let compiled = try SignalProgram(one.text, "\(one)", target: target)
      for threads in [1, 2] {
        let sequences = inputs.map { $0.sequence(one, compiled) }
        try compiled.run("select", sequences.map { ($0, rows: 1) }, threads: threads)
        for (sequence, input) in zip(sequences, inputs) {
          for (plane, wanted) in input.expected.enumerated() {
            let found = sequence.set("i", plane: plane)
            let label = "\(one), length \(input.length), plane \(plane), \(target), \(threads) threads, seed \(seed)"
            XCTAssertEqual(found, wanted, label)
            XCTAssertEqual(found.last, Int32(input.length - 1), label)
            XCTAssertLessThanOrEqual(found.count, one.budget, label)
          }
        }
      }
    }
  }

  private static let lengths = [1, 2, 15, 16, 17, 40, 63, 64, 65, 100, 600, 1023, 1024, 1025, 5000]

  func testSetsEqualTheInterpreters() throws {
    for seed in UInt64(1)...40 {
      var random = SeededGenerator(seed: seed)
      var one = Case()
      one.signals = Int.random(in: 0...4, using: &random)
      one.planes = one.signals > 0 && seed % 5 == 0 ? 3 : 0
      one.granularity = seed % 3 == 0 ? 16 : 1
      one.sink = Int.random(in: 0...20, using: &random)
      one.recent = Int.random(in: 1...20, using: &random)
      one.budget = [96, 128, 512, 2048].randomElement(using: &random) ?? 96
      if one.signals > 1, Bool.random(using: &random) {
        let share = (one.budget - 80) / one.signals
        one.quotas = (1..<one.signals).map { _ in max(0, Int.random(in: 0...max(0, share), using: &random)) }
      }
      if seed % 4 == 0 { one.cover = [0.1, 0.5, 0.9, 0.999].randomElement(using: &random) }
      let lengths = (0..<4).map { _ in Self.lengths.randomElement(using: &random) ?? 1 }
      try check(one, lengths: lengths, seed: seed)
    }
  }

  func testLongSignals() throws {
    try check(Case(budget: 512), lengths: [32768, 33001], seed: 1)
    try check(Case(signals: 2, budget: 512, granularity: 16), lengths: [32768, 33001], seed: 2)
    try check(Case(signals: 2, budget: 512, quotas: [246], cover: 0.7), lengths: [32768], seed: 3)
  }

  func testEverythingIsTakenWhenTheBudgetHoldsIt() throws {
    for granularity in [1, 16] {
      let one = Case(signals: 2, budget: 1024, granularity: granularity)
      try check(one, lengths: [1, 20, 21, 500, 1008, 1023, 1024], seed: 4)
      for target in try runnableTargets() {
        let compiled = try SignalProgram(one.text, "\(one)", target: target)
        let sequence = compiled.sequence(length: 1000)
        for name in ["s0", "s1"] { sequence.setSignal(name, [Float](repeating: 0.25, count: 1000)) }
        try compiled.run("select", [(sequence, rows: 3)])
        XCTAssertEqual(sequence.set("i"), Array(0..<1000), "\(one), \(target)")
      }
    }
  }

  func testAnEmptyContextGivesAnEmptySet() throws {
    for signals in [0, 1] {
      let one = Case(signals: signals)
      for target in try runnableTargets() {
        let compiled = try SignalProgram(one.text, "\(one)", target: target)
        let sequence = compiled.sequence(length: 0)
        try compiled.run("select", [(sequence, rows: 1)])
        XCTAssertEqual(sequence.set("i"), [], "\(one), \(target)")
      }
    }
  }
}
