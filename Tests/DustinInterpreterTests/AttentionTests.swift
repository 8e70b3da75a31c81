import DustinIR
import DustinInterpreter
import XCTest

final class AttentionTests: XCTestCase {
  private func freqs(_ dim: Int) throws -> Tensor {
    let values = (0..<dim / 2).map { index in 1 / Float(1 + index * index) }
    return try Tensor([dim / 2], values)
  }

  func testRopeByHand() throws {
    // Position 0 keeps the row; a frequency of pi / 2 turns (1, 2) into (-2, 1) at position 1.
    let x = try Tensor([2, 1, 2], [1, 2, 1, 2])
    let y = try OpHarness.run(
      .rope, [x],
      [("positions", [try Tensor([2], ints: [0, 1])]), ("freqs", [try Tensor([1], [Float.pi / 2])])])
    assertClose(y.floats, [1, 2, -2, 1], within: 3e-7)
  }

  func testRopeAgainstTheFormula() throws {
    var random = SeededGenerator(seed: 4)
    for (rows, heads, dim, scale) in [(1, 1, 2, 1.0), (5, 3, 16, 1), (17, 7, 32, 1.25), (40, 2, 64, 1)] {
      let x = try randomTensor([rows, heads, dim], &random)
      let positions = (0..<rows).map { Int32($0 * 997 + 30_000) }
      let freqs = try freqs(dim)
      let groups = [("positions", [try Tensor([rows], ints: positions)]), ("freqs", [freqs])]
      let attributes: [(String, Attribute)] = scale == 1 ? [] : [("scale", .float(scale))]
      let y = try OpHarness.run(.rope, [x], groups, attributes)
      let expected = Naive.rope(
        x.doubles, heads: heads, dim: dim, positions: positions, freqs: freqs.floats, scale: scale)
      assertClose(y.floats, expected, within: 1e-6)
      let rounded = try OpHarness.run(.rope, [x], groups, attributes, written: [x.type(.bf16)])
      XCTAssertEqual(rounded.floats, y.floats.map(roundedToBF16))
    }
  }

  func testAppendWritesBehindTheCommittedRows() throws {
    let kc = try KVCacheTensor(heads: 1, dim: 2, element: .bf16, capacity: 4)
    let vc = try KVCacheTensor(heads: 1, dim: 2, element: .bf16, capacity: 4)
    func append(_ k: [Float], _ v: [Float]) throws {
      _ = try OpHarness.run(
        .append,
        [
          ("", [.tensor(try Tensor([k.count / 2, 1, 2], k)), .tensor(try Tensor([v.count / 2, 1, 2], v))]),
          ("cache", [.cache(kc), .cache(vc)]),
        ])
    }
    try append([1, 2, 3, 4, 5, 6], [10, 20, 30, 40, 50, 60])
    XCTAssertEqual([kc.length, kc.written], [0, 3])
    try kc.commit(1)
    try vc.commit(1)
    // The rows in flight are replaced, and rounded: 1 + 3/256 is a tie.
    try append([1 + 3 / 256, 8], [7, 70])
    XCTAssertEqual([kc.length, kc.written], [1, 2])
    XCTAssertEqual(try kc.tensor(0..<2), try Tensor(.bf16, [2, 1, 2], [1, 2, 1 + 4 / 256, 8]))
    XCTAssertEqual(try vc.tensor(0..<2).floats, [10, 20, 7, 70])
    assertDiagnostic("the cache is full: 1 positions and 4 more exceed its 4") {
      try append([Float](repeating: 0, count: 8), [Float](repeating: 0, count: 8))
    }
    assertDiagnostic("outside the 2") { try kc.tensor(0..<3) }
    assertDiagnostic("cannot commit 2 positions: 1 are in flight") { try kc.commit(2) }
    assertDiagnostic("cannot truncate to 2 positions") { try kc.truncate(to: 2) }
    try kc.truncate(to: 0)
    XCTAssertEqual([kc.length, kc.written], [0, 0])
  }

  func testAttendByHand() throws {
    // Two positions with scores 0 and ln 3: weights 1/4 and 3/4.
    let log3 = Float(1.0986122886681098)
    let (kc, vc) = try caches(heads: 1, dim: 1, .f32, k: [0, log3], v: [4, 8], committed: 1)
    let y = try attend(try Tensor([1, 1, 1], [1]), kc, vc, scale: 1)
    assertClose(y.floats, [7], within: 1e-6)
    // The first row in flight does not see the second.
    let (kc2, vc2) = try caches(heads: 1, dim: 1, .f32, k: [0, log3], v: [4, 8], committed: 0)
    assertClose(try attend(try Tensor([2, 1, 1], [1, 1]), kc2, vc2, scale: 1).floats, [4, 7], within: 1e-6)
  }

  func testAttendAgainstTheFormula() throws {
    var random = SeededGenerator(seed: 5)
    for rows in 1...17 {
      let kvHeads = Int.random(in: 1...3, using: &random)
      let heads = kvHeads * Int.random(in: 1...5, using: &random)
      let dim = 2 * Int.random(in: 1...24, using: &random)
      let length = [0, 1, 15, 16, 17, 63, 64, 65, 130].randomElement(using: &random) ?? 0
      try check(rows: rows, heads: heads, kvHeads: kvHeads, dim: dim, length: length, &random)
    }
    // Several blocks of query rows.
    try check(rows: 140, heads: 3, kvHeads: 1, dim: 8, length: 5, &random)
  }

  private func check(
    rows: Int, heads: Int, kvHeads: Int, dim: Int, length: Int, _ random: inout SeededGenerator
  ) throws {
    let what = "T=\(rows) L=\(length) \(heads)/\(kvHeads) heads of \(dim)"
    let total = length + rows
    let scale = 1 / Double(dim).squareRoot()
    for element in [ElementType.f32, .bf16] {
      let q = try randomTensor(element, [rows, heads, dim], &random, deviation: 2)
      let k = try randomTensor(element, [total, kvHeads, dim], &random, deviation: 2)
      let v = try randomTensor(element, [total, kvHeads, dim], &random)
      let (kc, vc) = try caches(heads: kvHeads, dim: dim, element, k: k.floats, v: v.floats, committed: length)
      func expected(_ rounds: Bool) -> [Double] {
        Naive.attend(
          q.doubles, k.doubles, v.doubles, length: length, heads: heads, kvHeads: kvHeads, dim: dim, scale: scale,
          roundsProbabilities: rounds)
      }
      // Scores up to about 10 with f32 errors of 1e-6 move probabilities by that much.
      assertClose(try attend(q, kc, vc, scale: scale).floats, expected(false), within: 1e-5, what)
      // A probability that lies within that of a tie may round the other way, by 2^-8 of one key's share. That is rare.
      let rounded = try attend(q, kc, vc, scale: scale, attributes: [("probs", .word("bf16"))])
      let reference = expected(true)
      assertClose(rounded.floats, reference, within: 1 / 128, what)
      let total = zip(rounded.floats, reference).map { abs(Double($0) - $1) }.reduce(0, +)
      XCTAssertLessThan(total / Double(reference.count), 3e-5, what)
      let narrow = try attend(q, kc, vc, scale: scale, written: [q.type(.bf16)])
      XCTAssertEqual(narrow.element, .bf16)
      XCTAssertEqual(narrow.floats, try attend(q, kc, vc, scale: scale).floats.map(roundedToBF16))
    }
  }

  func testRoundedProbabilitiesKeepTheUnroundedSum() throws {
    // One key far ahead and many with p = exp(-2): the values show the rounding of p, the sum does not.
    let count = 40
    let scores = [Float(2)] + [Float](repeating: 0, count: count)
    let values = [Float(0)] + [Float](repeating: 1, count: count)
    let (kc, vc) = try caches(heads: 1, dim: 1, .f32, k: scores, v: values, committed: count)
    let y = try attend(try Tensor([1, 1, 1], [1]), kc, vc, scale: 1, attributes: [("probs", .word("bf16"))])
    let p = exponential(-2)
    let rounded = Double(roundedToBF16(Float(p)))
    XCTAssertGreaterThan(abs(rounded / p - 1), 1e-3)
    assertClose(y.floats, [rounded * Double(count) / (1 + p * Double(count))], within: 1e-6)
  }

  func testLargeScoresDoNotOverflow() throws {
    let (kc, vc) = try caches(heads: 1, dim: 1, .f32, k: [500, 1000], v: [1, 2], committed: 1)
    XCTAssertEqual(try attend(try Tensor([1, 1, 1], [100]), kc, vc, scale: 1).floats, [2])
    XCTAssertEqual(try attend(try Tensor([1, 1, 1], [-100]), kc, vc, scale: 1).floats, [1])
  }

  func testAttendNeedsAppendedRows() throws {
    let (kc, vc) = try caches(heads: 1, dim: 1, .f32, k: [0, 1], v: [4, 8], committed: 2)
    assertDiagnostic("have not been appended") { try attend(try Tensor([1, 1, 1], [1]), kc, vc, scale: 1) }
  }

  func testRopeAppendIsSliceRopeAndAppend() throws {
    var random = SeededGenerator(seed: 6)
    for (rows, heads, kvHeads, dim, element) in [
      (1, 1, 1, 2, ElementType.f32), (7, 6, 2, 16, .bf16), (17, 5, 5, 32, .bf16), (3, 4, 1, 64, .f32),
    ] {
      let (queries, keys) = (heads * dim, kvHeads * dim)
      let x = try randomTensor([rows, queries + 2 * keys], &random)
      let positions = (0..<rows).map { Int32(9 + $0) }
      let freqs = try freqs(dim)
      let kc = try KVCacheTensor(heads: kvHeads, dim: dim, element: element, capacity: 32)
      let vc = try KVCacheTensor(heads: kvHeads, dim: dim, element: element, capacity: 32)
      let type = TensorType(element, [.fixed(rows), .fixed(heads), .fixed(dim)])
      let cacheType = TensorType(element, [.named("L"), .fixed(kvHeads), .fixed(dim)])
      let results = try OpHarness.run(
        .ropeAppend,
        [
          ("", [.tensor(x)]), ("cache", [.cache(kc), .cache(vc)]),
          ("positions", [.tensor(try Tensor([rows], ints: positions))]), ("freqs", [.tensor(freqs)]),
        ], [("scale", .float(1.25))], written: [type, cacheType, cacheType])
      func columns(_ begin: Int, _ count: Int) -> [Double] {
        let all = x.doubles
        let stride = x.shape[1]
        return (0..<rows * count).map { index in all[index / count * stride + begin + index % count] }
      }
      func rotated(_ x: [Double], _ heads: Int) -> [Double] {
        Naive.rope(x, heads: heads, dim: dim, positions: positions, freqs: freqs.floats, scale: 1.25)
      }
      let bound = element == .bf16 ? 1.0 / 256 : 1e-6
      assertClose(results[0].floats, rotated(columns(0, queries), heads), within: bound)
      assertClose(try kc.tensor(0..<rows).floats, rotated(columns(queries, keys), kvHeads), within: bound)
      let v = columns(queries + keys, keys).map { element == .bf16 ? roundedToBF16(Float($0)) : Float($0) }
      XCTAssertEqual(try vc.tensor(0..<rows).floats, v)
    }
  }

  // MARK: - Helpers

  /// Caches that hold the rows, the first `committed` of them committed.
  private func caches(
    heads: Int, dim: Int, _ element: ElementType, k: [Float], v: [Float], committed: Int
  ) throws -> (KVCacheTensor, KVCacheTensor) {
    let total = k.count / (heads * dim)
    let kc = try KVCacheTensor(heads: heads, dim: dim, element: element, capacity: total)
    let vc = try KVCacheTensor(heads: heads, dim: dim, element: element, capacity: total)
    let shape = [total, heads, dim]
    _ = try OpHarness.run(
      .append,
      [("", [.tensor(try Tensor(shape, k)), .tensor(try Tensor(shape, v))]), ("cache", [.cache(kc), .cache(vc)])])
    try kc.commit(committed)
    try vc.commit(committed)
    return (kc, vc)
  }

  private func attend(
    _ q: Tensor, _ kc: KVCacheTensor, _ vc: KVCacheTensor, scale: Double, attributes: [(String, Attribute)] = [],
    written: [TensorType] = []
  ) throws -> Tensor {
    let results = try OpHarness.run(
      .attend, [("", [.tensor(q)]), ("cache", [.cache(kc), .cache(vc)])], [("scale", .float(scale))] + attributes,
      written: written)
    return try XCTUnwrap(results.first)
  }
}
