import DustinIR
import DustinInterpreter
import DustinSupport
import XCTest

/// METHODS of sets: what every selection must keep, by examples and by random signals.
final class SelectTests: XCTestCase {
  func testByHand() throws {
    let signal: [Float] = [0, 9, 1, 5, 5, 2, 7, 0, 0, 0]
    // Always 0, 8 and 9; of the rest the greatest, of the equal ones the lower.
    func select(_ budget: Int) throws -> [Int] {
      try SparseHarness.select([signal], "budget = \(budget), sink = 1, recent = 2")
    }
    XCTAssertEqual(try select(3), [0, 8, 9])
    XCTAssertEqual(try select(4), [0, 1, 8, 9])
    XCTAssertEqual(try select(5), [0, 1, 6, 8, 9])
    XCTAssertEqual(try select(6), [0, 1, 3, 6, 8, 9])
    XCTAssertEqual(try select(7), [0, 1, 3, 4, 6, 8, 9])
    XCTAssertEqual(try select(10), Array(0..<10))
    XCTAssertEqual(try select(512), Array(0..<10))
  }

  func testQuotasGoInOrder() throws {
    let first: [Float] = [0, 9, 8, 7, 6, 0, 0, 0]
    let second: [Float] = [0, 9, 0, 0, 5, 6, 7, 0]
    func select(_ attributes: String) throws -> [Int] {
      try SparseHarness.select([first, second], "budget = 5, sink = 0, recent = 1, \(attributes)")
    }
    XCTAssertEqual(try select("quotas = [0]"), [1, 4, 5, 6, 7])
    XCTAssertEqual(try select("quotas = [1]"), [1, 4, 5, 6, 7])
    XCTAssertEqual(try select("quotas = [2]"), [1, 2, 5, 6, 7])
    XCTAssertEqual(try select("quotas = [4]"), [1, 2, 3, 4, 7])
    // Equal shares: two each.
    XCTAssertEqual(try select("cover = 1"), [1, 2, 5, 6, 7])
  }

  func testCoverStopsEarly() throws {
    // A sum of 16; the last position, always taken, has 1 of it.
    let signal: [Float] = [8, 4, 2, 1, 0, 1]
    func select(_ cover: String) throws -> [Int] {
      try SparseHarness.select([signal], "budget = 6, sink = 0, recent = 1, cover = \(cover)")
    }
    XCTAssertEqual(try select("0.0625"), [5])
    XCTAssertEqual(try select("0.0626"), [0, 5])
    XCTAssertEqual(try select("0.5625"), [0, 5])
    XCTAssertEqual(try select("0.8"), [0, 1, 5])
    XCTAssertEqual(try select("0.99"), [0, 1, 2, 3, 5])
    XCTAssertEqual(try select("1.0"), Array(0..<6))
    // What the first signal leaves of its quota is the second one's.
    let second: [Float] = [0, 0, 0, 3, 3, 0]
    let set = try SparseHarness.select(
      [signal, second], "budget = 4, sink = 0, recent = 1, cover = 0.5, quotas = [3]")
    XCTAssertEqual(set, [0, 3, 5])
  }

  func testBlocks() throws {
    var signal = [Float](repeating: 0, count: 100)
    signal[37] = 2
    signal[70] = 3
    // Blocks 0 (a sink), 5 and 6 (of the last 5 positions, 95 … 99), then the best by their maximum.
    let kept = Array(0..<16) + Array(80..<100)
    func select(_ budget: Int) throws -> [Int] {
      try SparseHarness.select([signal], "budget = \(budget), sink = 1, recent = 5, granularity = 16")
    }
    XCTAssertEqual(try select(48), kept)
    XCTAssertEqual(try select(64), (kept + Array(64..<80)).sorted())
    XCTAssertEqual(try select(80), (kept + Array(64..<80) + Array(32..<48)).sorted())
    XCTAssertEqual(try select(96), (kept + Array(64..<80) + Array(16..<48)).sorted())
    XCTAssertEqual(try select(112), Array(0..<100))
    // A quota below a block is none.
    var other = signal
    other[20] = 9
    let set = try SparseHarness.select(
      [other, signal], "budget = 64, sink = 1, recent = 5, granularity = 16, quotas = [15]")
    XCTAssertEqual(set, (kept + Array(64..<80)).sorted())
  }

  func testWithoutSignals() throws {
    for length in [1, 2, 5, 6, 40] {
      let cache = try SparseHarness.cache(
        heads: 1, dim: 1, [Float](repeating: 0, count: length + 2), committed: length)
      let set = try SparseHarness.select(
        [], "budget = 64, sink = 2, recent = 3", dim: "S = min(5, L)", cache: cache.current)
      let expected = (0..<length).filter { $0 < 2 || $0 >= length - 3 }
      XCTAssertEqual(SparseHarness.planes(set)[0], expected, "\(length)")
    }
  }

  /// Contexts shorter than what is always taken, down to one position and none.
  func testShortContexts() throws {
    for length in 0...21 {
      let signal = (0..<length).map { Float($0 % 3) }
      let whole = Array(0..<length)
      let set = try SparseHarness.select([signal], "budget = 512", dim: "S = min(512, L)")
      XCTAssertEqual(set, whole)
      XCTAssertEqual(try SparseHarness.select([signal], "budget = 20", dim: "S = min(20, L)").count, min(20, length))
      XCTAssertEqual(try SparseHarness.select([signal], "budget = 64, granularity = 16"), whole)
    }
  }

  /// Not-a-number, infinities and both zeros have their places in one order.
  func testEveryFloatHasAPlace() throws {
    let values: [Float] = [-.nan, -.infinity, -1, -0.0, 0, .leastNonzeroMagnitude, 1, .infinity, .nan]
    var random = SeededGenerator(seed: 41)
    for _ in 0..<50 {
      let order = values.indices.shuffled(using: &random)
      for count in 0...values.count {
        let signal = order.map { values[$0] } + [0]
        let set = try SparseHarness.select(
          [signal], "budget = \(count + 1), sink = 0, recent = 1", dim: "S = min(\(count + 1), L)")
        let expected = order.indices.filter { order[$0] >= values.count - count } + [values.count]
        XCTAssertEqual(set, expected, "\(signal)")
      }
    }
  }

  /// Ascending, without repetitions, below the length, with the first and last positions, of the size that is stated.
  func testSetsAreSets() throws {
    var random = SeededGenerator(seed: 42)
    for round in 0..<300 {
      let length = Int.random(in: 1...300, using: &random)
      let signals = (0..<Int.random(in: 1...4, using: &random)).map { _ in Self.signal(length, &random) }
      let sink = Int.random(in: 0...20, using: &random)
      let recent = Int.random(in: 1...20, using: &random)
      let granularity = [1, 16].randomElement(using: &random) ?? 1
      let least = granularity == 1 ? sink + recent : (sink + 15) / 16 * 16 + (recent + 15) / 16 * 16 + 16
      let budget = least + granularity * Int.random(in: 0...20, using: &random)
      let attributes = "budget = \(budget), sink = \(sink), recent = \(recent), granularity = \(granularity)"
      let set = try SparseHarness.select(
        signals, attributes, dim: granularity == 1 ? "S = min(\(budget), L)" : "S <= \(budget)")
      let what = "round \(round): L = \(length), \(attributes)"
      XCTAssertTrue(zip(set, set.dropFirst()).allSatisfy { $0 < $1 }, what)
      XCTAssertTrue(set.allSatisfy { 0..<length ~= $0 }, what)
      XCTAssertEqual(Set(set).intersection(0..<min(sink, length)).count, min(sink, length), what)
      XCTAssertEqual(set.suffix(min(recent, length)), ArraySlice(max(0, length - recent)..<length), what)
      if granularity == 1 {
        XCTAssertEqual(set.count, min(budget, length), what)
      } else {
        XCTAssertLessThanOrEqual(set.count, budget, what)
        for position in set { XCTAssertTrue(set.contains(position / 16 * 16), what) }
        let blocks = (length + 15) / 16
        XCTAssertEqual(Set(set.map { $0 / 16 }).count, min(budget / 16, blocks), what)
      }
    }
  }

  /// All of the budget for one signal is that signal's own set.
  func testQuotasOfNothingAndEverything() throws {
    var random = SeededGenerator(seed: 43)
    for _ in 0..<100 {
      let length = Int.random(in: 1...200, using: &random)
      let (look, history) = (Self.signal(length, &random), Self.signal(length, &random))
      let budget = Int.random(in: 20...120, using: &random)
      let both = try [0, budget - 20].map {
        try SparseHarness.select([look, history], "budget = \(budget), quotas = [\($0)]", dim: "S = min(\(budget), L)")
      }
      let alone = try [history, look].map { try SparseHarness.select([$0], "budget = \(budget)") }
      XCTAssertEqual(both, alone)
    }
  }

  /// What a set recovers of the attention never exceeds the best set of its size, and grows with the budget.
  func testRecovery() throws {
    var random = SeededGenerator(seed: 44)
    for round in 0..<60 {
      let length = Int.random(in: 30...200, using: &random)
      let mass = Self.signal(length, &random)
      let signals = [Self.signal(length, &random), round % 3 == 0 ? mass : Self.signal(length, &random)]
      func recovered(_ set: [Int]) -> Double { set.reduce(0) { $0 + Double(mass[$1]) } }
      for attributes in ["", ", granularity = 16", ", sink = 0, recent = 1"] {
        var last = 0.0
        for budget in stride(from: 64, through: 224, by: 16) {
          let set = try SparseHarness.select(signals, "budget = \(budget)" + attributes)
          let oracle = recovered(try SparseHarness.select([mass], "budget = \(set.count), sink = 0, recent = 1"))
          // The oracle's last position is given; without it the best set may be that much better.
          let best = mass.sorted(by: >).prefix(set.count).reduce(0) { $0 + Double($1) }
          XCTAssertLessThanOrEqual(recovered(set), best + 1e-9)
          XCTAssertLessThanOrEqual(recovered(set), oracle + 1e-9, "the last position is in both")
          XCTAssertGreaterThanOrEqual(recovered(set), last - 1e-9, "round \(round), \(budget)\(attributes)")
          last = recovered(set)
        }
      }
    }
  }

  func testASetPerHead() throws {
    var random = SeededGenerator(seed: 45)
    for _ in 0..<30 {
      let length = Int.random(in: 1...100, using: &random)
      let planes = (0..<3).map { _ in (Self.signal(length, &random), Self.signal(length, &random)) }
      let signals = try [planes.flatMap(\.0), planes.flatMap(\.1)].map { try Tensor([3, length], $0) }
      for attributes in ["budget = 40", "budget = 40, quotas = [3]", "budget = 80, granularity = 16"] {
        let found = SparseHarness.planes(try SparseHarness.select(signals, attributes))
        XCTAssertEqual(found, try planes.map { try SparseHarness.select([$0.0, $0.1], attributes) }, attributes)
      }
    }
    // With a cover the planes may differ in length.
    let signal = try Tensor([2, 4], [8, 0, 0, 0, 1, 1, 1, 1])
    let set = try SparseHarness.select([signal], "budget = 4, sink = 0, recent = 1, cover = 0.9")
    XCTAssertEqual(set, try Tensor([2, 4], ints: [0, 3, -1, -1, 0, 1, 2, 3]))
  }

  func testRoomOfTheDim() throws {
    // The verifier refuses this; without it nothing is written beyond the room.
    let text = """
      dustin 1
      stage kernel
      dim L <= 100
      dim S <= 3
      func @f(%s: f32[L] {role = round}) -> (i32[S] {role = round}) {
        %i = select %s {budget = 20} : i32[S]
        return %i
      }
      """
    let module = try ModuleParser.parse(SourceBuffer(name: "case.dust", text: text))
    let interpreter = try Interpreter(module: module, weights: DictionaryWeights())
    assertDiagnostic("'%i' has 4 positions, but S is at most 3") {
      try interpreter.call("f", [.tensor(try Tensor([4], [0, 0, 0, 0]))])
    }
  }

  /// Non-negative, with ties.
  private static func signal(_ length: Int, _ random: inout SeededGenerator) -> [Float] {
    (0..<length).map { _ in Float(Int.random(in: 0...40, using: &random)) / 64 }
  }
}
