import DustinIR
import DustinInterpreter
import DustinSupport
import XCTest

/// Attention through sets.
final class SparseAttendTests: XCTestCase {
  private struct Case {
    let q: Tensor
    let kc: KVCacheTensor
    let vc: KVCacheTensor
    let rows: Int
    let length: Int

    init(_ random: inout SeededGenerator, element: ElementType = .f32, length: Int? = nil, rows: Int? = nil) throws {
      let kvHeads = Int.random(in: 1...3, using: &random)
      let heads = kvHeads * Int.random(in: 1...4, using: &random)
      let dim = 2 * Int.random(in: 1...12, using: &random)
      self.rows = rows ?? Int.random(in: 1...6, using: &random)
      self.length = length ?? [1, 2, 15, 16, 17, 64, 130].randomElement(using: &random) ?? 1
      let shape = [self.length + self.rows, kvHeads, dim]
      q = try randomTensor(element, [self.rows, heads, dim], &random, deviation: 2)
      let (k, v) = (try randomTensor(shape, &random), try randomTensor(shape, &random))
      kc = try SparseHarness.cache(heads: kvHeads, dim: dim, k.floats, element: element, committed: self.length)
      vc = try SparseHarness.cache(heads: kvHeads, dim: dim, v.floats, element: element, committed: self.length)
    }

    func attend(_ set: Tensor?, _ attributes: String = "scale = 0.4") throws -> Tensor {
      try SparseHarness.attend(q, kc, vc, through: set, attributes)
    }

    /// Row by row and head by head from the definition.
    func expected(_ planes: [[Int]]) throws -> [Double] {
      let (k, v) = (try kc.tensor(0..<kc.written), try vc.tensor(0..<vc.written))
      let (heads, dim) = (q.shape[1], q.shape[2])
      var y: [Double] = []
      for t in 0..<rows {
        for head in 0..<heads {
          let kv = head / (heads / kc.heads)
          let plane = planes[planes.count == 1 ? 0 : kv]
          let read = plane + Array(((plane.max() ?? -1) + 1)...(length + t))
          func row(_ x: Tensor, _ index: Int, _ head: Int, _ count: Int) -> ArraySlice<Double> {
            x.doubles[(index * count + head) * dim..<(index * count + head + 1) * dim]
          }
          let query = row(q, t, head, heads)
          let scores = read.map { 0.4 * zip(query, row(k, $0, kv, kc.heads)).map(*).reduce(0, +) }
          let p = scores.map { exponential($0 - (scores.max() ?? 0)) }
          let sum = p.reduce(0, +)
          let values = read.map { Array(row(v, $0, kv, kc.heads)) }
          y += (0..<dim).map { d in zip(p, values).map { $0 * $1[d] }.reduce(0, +) / sum }
        }
      }
      return y
    }
  }

  private func set(_ planes: [[Int]]) throws -> Tensor {
    let count = planes.map(\.count).max() ?? 0
    let ints = planes.flatMap { $0.map { Int32($0) } + [Int32](repeating: -1, count: count - $0.count) }
    return try Tensor(planes.count == 1 ? [count] : [planes.count, count], ints: ints)
  }

  private func subset(_ length: Int, _ random: inout SeededGenerator) -> [Int] {
    (0..<length).filter { _ in Int.random(in: 0..<3, using: &random) == 0 }
  }

  func testAgainstTheFormula() throws {
    var random = SeededGenerator(seed: 51)
    for round in 0..<40 {
      let one = try Case(&random)
      let count = round % 2 == 0 ? 1 : one.kc.heads
      let planes = (0..<count).map { _ in subset(one.length, &random) }
      let what = "round \(round): L = \(one.length), T = \(one.rows), \(planes)"
      assertClose(try one.attend(try set(planes)).floats, try one.expected(planes), within: 1e-5, what)
    }
  }

  /// The numbers of a set that holds everything are those of dense attention, and so are the bits.
  func testASetOfEverythingIsDense() throws {
    var random = SeededGenerator(seed: 52)
    for element in [ElementType.f32, .bf16] {
      for rows in [1, 2, 5, 17, 140] {
        for length in [1, 15, 64, 1025] {
          let one = try Case(&random, element: element, length: length, rows: rows)
          for attributes in ["scale = 0.4", "scale = 0.4, probs = bf16"] {
            let dense = try one.attend(nil, attributes)
            // Also a part of it without holes: the rest is the tail.
            for count in Set([length, length / 2, 1, 0]) {
              XCTAssertEqual(try one.attend(try set([Array(0..<count)]), attributes), dense, "\(count) of \(length)")
            }
            let planes = (0..<one.kc.heads).map { Array(0..<max(1, length - $0)) }
            XCTAssertEqual(try one.attend(try set(planes), attributes), dense, "per head")
          }
        }
      }
    }
  }

  func testTheOrderOfASetIsRoundingOnly() throws {
    var random = SeededGenerator(seed: 53)
    var areAllEqual = true
    for _ in 0..<20 {
      let one = try Case(&random, length: 130)
      let plane = subset(130, &random) + [129]
      let y = try one.attend(try set([plane]))
      let other = try one.attend(try set([plane.shuffled(using: &random)]))
      assertClose(other.floats, y.doubles, within: 2e-6)
      areAllEqual = areAllEqual && y == other
    }
    XCTAssertFalse(areAllEqual, "another order of sums gives other bits, or the order was not changed")
  }

  /// A set that was chosen earlier: what came since is read.
  func testAnOlderSet() throws {
    var random = SeededGenerator(seed: 54)
    let one = try Case(&random, length: 40, rows: 3)
    for last in [0, 10, 39] {
      let planes = [[0, last].filter { $0 <= last }]
      assertClose(
        try one.attend(try set([Array(Set(planes[0])).sorted()])).floats,
        try one.expected([Array(Set(planes[0])).sorted()]), within: 1e-5)
    }
    XCTAssertEqual(try one.attend(try set([[]])), try one.attend(nil))
  }

  func testWrongSetsAreRefused() throws {
    var random = SeededGenerator(seed: 55)
    let one = try Case(&random, length: 10, rows: 2)
    assertDiagnostic("the set holds position 10, but only 10 are committed") { try one.attend(try set([[3, 10]])) }
    assertDiagnostic("a set holds a negative position") { try one.attend(try Tensor([2], ints: [3, -2])) }
    assertDiagnostic("a set holds a negative position") { try one.attend(try Tensor([2], ints: [-1, 3])) }
  }

  func testHooksSeeWhatAViewShows() throws {
    let text = """
      dustin 1
      stage kernel
      dim T <= 4
      dim L <= 10
      dim S <= 4
      func @f(%q: f32[T, 2, 1], %kc: f32[L, 2, 1] {role = cache}, %vc: f32[L, 2, 1] {role = cache}, %i: i32[2, S] {role = round}) -> (f32[T, 2, 1]) {
        %ks, %vs = gather %i, cache(%kc, %vc) : f32[S, 2, 1], f32[S, 2, 1]
        %y = attend %q, cache(%ks, %vs), tail(%kc, %vc), after(%i) {scale = 1} : f32[T, 2, 1]
        return %y
      }
      """
    let module = try ModuleParser.parseVerified(SourceBuffer(name: "case.dust", text: text))
    let interpreter = try Interpreter(module: module, weights: DictionaryWeights())
    let cache = try SparseHarness.cache(heads: 2, dim: 1, [0, 1, 2, 3, 4, 5, 6, 7], committed: 3)
    let other = try SparseHarness.cache(heads: 2, dim: 1, [Float](repeating: 1, count: 8), committed: 3)
    var seen: [Tensor] = []
    interpreter.onOperation = { operation, results in if operation.name == "gather" { seen = results } }
    let set = try Tensor([2, 2], ints: [0, 2, 1, -1])
    let arguments: [Interpreter.Argument] = [
      .tensor(try Tensor([1, 2, 1], [1, 1])), .cache(cache.current), .cache(other.current), .tensor(set),
    ]
    guard case .tensor(let y) = try interpreter.call("f", arguments)[0] else { return XCTFail("a tensor") }
    XCTAssertEqual(y.floats, [1, 1])
    XCTAssertEqual(seen, [try Tensor([2, 2, 1], [0, 3, 4, 0]), try Tensor([2, 2, 1], [1, 1, 1, 0])])
    let long = try Tensor([2, 5], ints: [0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
    assertDiagnostic("'%i' of '@f' has 5 positions, but S is at most 4") {
      try interpreter.call("f", Array(arguments[..<3]) + [.tensor(long)])
    }
  }
}
