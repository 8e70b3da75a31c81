import DustinIR
import DustinInterpreter
import XCTest

final class ScoreTests: XCTestCase {
  func testByHand() throws {
    // Scores 0, ln 3, 0 of one head: 1/5, 3/5, 1/5. The fourth position is not committed.
    let log3 = Float(1.0986122886681098)
    let cache = try SparseHarness.cache(heads: 1, dim: 1, [0, log3, 0, 9], committed: 3)
    let q = try Tensor([1, 1, 1], [1])
    assertClose(try SparseHarness.score(q, cache.current).floats, [0.2, 0.6, 0.2], within: 1e-6)
    assertClose(try SparseHarness.score(q, cache.current(upTo: 2)).floats, [0.25, 0.75], within: 1e-6)
    assertClose(try SparseHarness.score(q, cache.current(upTo: 1)).floats, [1], within: 0)
    XCTAssertEqual(try SparseHarness.score(q, cache.current(upTo: 0)).shape, [0])
    // A filter of three positions, cut at both ends; then on top of another signal.
    let pooled = try SparseHarness.score(q, cache.current, "scale = 1, pool = 3")
    assertClose(pooled.floats, [0.6, 0.6, 0.6], within: 1e-6)
    let onto = try Tensor([3], [1, 0, 0])
    let sum = try SparseHarness.score(q, cache.current, "scale = 1, pool = 3", onto: onto)
    assertClose(sum.floats, [1.2, 1.2, 0.6], within: 1e-6)
    let most = try SparseHarness.score(q, cache.current, "scale = 1, reduce = max", onto: onto)
    assertClose(most.floats, [1, 0.6, 0.2], within: 1e-6)
  }

  func testBoundByHand() throws {
    // Two channels, blocks of two; q = (2, -1): 2 * max - 1 * min, 2 * 3 - 0 = 6 and, alone in its block, 2 * -1 - 4 = -6.
    let cache = try SparseHarness.cache(heads: 1, dim: 2, [1, 0, 3, 5, -1, 4, 90, 90], committed: 3)
    let q = try Tensor([1, 1, 2], [2, -1])
    let bound = try SparseHarness.score(q, cache.current, "scale = 0.5, bound = 2")
    XCTAssertEqual(bound.floats, [3, 3, -3])
    // A block of one is the dot product.
    XCTAssertEqual(try SparseHarness.score(q, cache.current, "scale = 0.5, bound = 1").floats, [1, 0.5, -3])
  }

  func testAgainstTheFormula() throws {
    var random = SeededGenerator(seed: 31)
    for round in 0..<60 {
      let kvHeads = Int.random(in: 1...3, using: &random)
      let heads = kvHeads * Int.random(in: 1...4, using: &random)
      let dim = Int.random(in: 1...20, using: &random)
      let rows = [1, 2, 5].randomElement(using: &random) ?? 1
      let length = [1, 2, 15, 16, 17, 90].randomElement(using: &random) ?? 1
      let element = [ElementType.f32, .bf16].randomElement(using: &random) ?? .f32
      let q = try randomTensor(element, [rows, heads, dim], &random)
      let k = try randomTensor(element, [length + 3, kvHeads, dim], &random)
      let cache = try SparseHarness.cache(heads: kvHeads, dim: dim, k.floats, element: element, committed: length)
      let take = ["all", "last", "ends"][round % 3]
      let isMaximum = round % 2 == 1
      let isPerHead = round % 4 == 0
      let pool = [1, 3, 5, 255].randomElement(using: &random) ?? 1
      let bound = [nil, nil, 1, 4, 16, 1000].randomElement(using: &random) ?? nil
      let group = heads / kvHeads
      let some = (0..<heads).filter { $0 % group == group - 1 || Bool.random(using: &random) }
      let chosen = Bool.random(using: &random) ? some : nil
      var attributes = "scale = 0.7, take = \(take), reduce = \(isMaximum ? "max" : "mean"), pool = \(pool)"
      if let bound { attributes += ", bound = \(bound)" }
      if let chosen { attributes += ", heads = \(chosen)" }
      let planes = isPerHead ? kvHeads : 1
      let hasOnto = Bool.random(using: &random)
      let onto = hasOnto ? try randomTensor([planes, length], &random) : nil
      let shaped = try onto.map { try Tensor(isPerHead ? [planes, length] : [length], $0.floats) }

      let found = try SparseHarness.score(q, cache.current, attributes, onto: shaped, isPerHead: isPerHead)
      let expected = (0..<planes).flatMap { plane in
        Naive.score(
          q.doubles, k.doubles, rows: take == "all" ? Array(0..<rows) : take == "last" ? [rows - 1] : [0, rows - 1],
          heads: (chosen ?? Array(0..<heads)).filter { !isPerHead || $0 / group == plane }, of: heads,
          kvHeads: kvHeads, dim: dim, length: length, scale: 0.7, isMaximum: isMaximum, bound: bound, pool: pool,
          onto: onto.map { Array($0.doubles[plane * length..<(plane + 1) * length]) })
      }
      assertClose(found.floats, expected, within: 2e-6, "round \(round): \(attributes)")
    }
  }

  func testOtherRowsAndHeadsDoNotCount() throws {
    var random = SeededGenerator(seed: 32)
    let q = try randomTensor([3, 4, 8], &random)
    let k = try randomTensor([40, 2, 8], &random)
    let cache = try SparseHarness.cache(heads: 2, dim: 8, k.floats, committed: 40)
    let one = try SparseHarness.score(q, cache.current, "heads = [2], scale = 0.3, take = last")
    var other = q.floats
    for index in other.indices where !(80..<88 ~= index) { other[index] = .nan }
    XCTAssertEqual(
      try SparseHarness.score(try Tensor([3, 4, 8], other), cache.current, "heads = [2], scale = 0.3, take = last"), one
    )
  }

  /// The average of a softmax sums to one, whatever it is averaged over.
  func testMassIsOne() throws {
    var random = SeededGenerator(seed: 33)
    let q = try randomTensor([5, 6, 16], &random, deviation: 3)
    let k = try randomTensor([300, 2, 16], &random)
    let cache = try SparseHarness.cache(heads: 2, dim: 16, k.floats, committed: 300)
    let signal = try SparseHarness.score(q, cache.current, "scale = 0.25")
    XCTAssertEqual(signal.doubles.reduce(0, +), 1, accuracy: 1e-5)
    let planes = try SparseHarness.score(q, cache.current, "scale = 0.25", isPerHead: true)
    XCTAssertEqual(planes.shape, [2, 300])
    XCTAssertEqual(planes.doubles[..<300].reduce(0, +), 1, accuracy: 1e-5)
    let mean = (0..<300).map { (planes.doubles[$0] + planes.doubles[300 + $0]) / 2 }
    assertClose(signal.floats, mean, within: 1e-6)
  }
}

extension Naive {
  /// One plane of a signal.
  static func score(
    _ q: [Double], _ k: [Double], rows: [Int], heads: [Int], of headCount: Int, kvHeads: Int, dim: Int, length: Int,
    scale: Double, isMaximum: Bool, bound: Int?, pool: Int, onto: [Double]?
  ) -> [Double] {
    var lines: [[Double]] = []
    for row in Set(rows) {
      for head in heads {
        let kv = head / (headCount / kvHeads)
        func query(_ d: Int) -> Double { q[(row * headCount + head) * dim + d] }
        func key(_ j: Int, _ d: Int) -> Double { k[(j * kvHeads + kv) * dim + d] }
        if let bound {
          lines.append(
            (0..<length).map { j in
              let block = (j / bound * bound)..<min(length, j / bound * bound + bound)
              return scale
                * (0..<dim).map { d in block.map { query(d) * key($0, d) }.max() ?? 0 }.reduce(0, +)
            })
        } else {
          let scores = (0..<length).map { j in scale * (0..<dim).map { query($0) * key(j, $0) }.reduce(0, +) }
          let exponentials = scores.map { exponential($0 - (scores.max() ?? 0)) }
          let sum = exponentials.reduce(0, +)
          lines.append(exponentials.map { $0 / sum })
        }
      }
    }
    let reduced = (0..<length).map { j in
      let column = lines.map { $0[j] }
      let own = isMaximum ? column.max() ?? 0 : column.reduce(0, +) / Double(column.count)
      guard let onto else { return own }
      return isMaximum ? max(own, onto[j]) : own + onto[j]
    }
    return reduced.indices.map { j in reduced[max(0, j - pool / 2)...min(length - 1, j + pool / 2)].max() ?? 0 }
  }
}
