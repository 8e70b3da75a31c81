import DustinCodegen
import DustinInterpreter
import DustinRuntime
import DustinSupport
import XCTest

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Attention through sets: against its meaning in plain Swift, and bit for bit against dense attention and itself.
final class GatherTests: XCTestCase {
  private typealias Shape = GatherModel.Shape
  private typealias Rows = GatherModel.Rows
  private typealias Sequence = GatherModel.Sequence

  private func shape(_ change: (inout Shape) -> Void) -> Shape {
    var shape = Shape()
    change(&shape)
    return shape
  }

  /// Head dims with and without a whole register of 16 lanes left over, groups 1 … 8, sets shared and per head.
  private var shapes: [Shape] {
    [
      shape { ($0.queryHeads, $0.heads, $0.dim, $0.isBF16, $0.perHead) = (3, 3, 16, true, true) },
      shape { ($0.queryHeads, $0.heads, $0.dim, $0.isBF16, $0.perHead) = (4, 2, 32, false, false) },
      shape { ($0.queryHeads, $0.heads, $0.dim, $0.isBF16, $0.perHead) = (6, 2, 64, true, false) },
      shape { ($0.queryHeads, $0.heads, $0.dim, $0.isBF16, $0.perHead) = (8, 1, 128, true, false) },
      shape { ($0.queryHeads, $0.heads, $0.dim, $0.isBF16, $0.perHead) = (5, 1, 80, true, true) },
      shape { ($0.queryHeads, $0.heads, $0.dim, $0.isBF16, $0.perHead) = (4, 2, 48, false, true) },
    ]
  }
  private var layouts: [Bool] { [true, false] }

  private func sequence(_ model: GatherModel, length: Int, room: Int = 64, _ random: inout SeededGenerator) throws
    -> Sequence
  {
    let sequence = try Sequence(model, positions: length + room)
    if length > 0 { try model.fill(Rows(sequence, length, &random)) }
    return sequence
  }

  /// Sets over `length` positions: sorted, of chosen kinds.
  private enum Kind: CaseIterable { case scattered, blocks, all, first, single, sinkAndRecent }
  private func positions(_ kind: Kind, _ length: Int, bound: Int, _ random: inout SeededGenerator) -> [Int32] {
    var chosen: Set<Int> = []
    switch kind {
    case .scattered:
      let count = Int.random(in: 1...min(bound, length), using: &random)
      while chosen.count < count { chosen.insert(Int.random(in: 0..<length, using: &random)) }
    case .blocks:
      for _ in 0..<min(bound / 16, 5) {
        let block = Int.random(in: 0...((length - 1) / 16), using: &random)
        chosen.formUnion((block * 16)..<min(block * 16 + 16, length))
      }
    case .all: chosen = Set(max(0, length - bound)..<length)
    case .first: chosen = [0]
    case .single: chosen = [Int.random(in: 0..<length, using: &random)]
    case .sinkAndRecent:
      chosen = Set(0..<min(4, length)).union(max(0, length - 16)..<length)
    }
    return chosen.sorted().map(Int32.init)
  }

  /// What a row reads: the set's positions, then those behind the last one up to the row's own.
  private func visible(_ set: [Int32], length: Int, token: Int) -> [Int] {
    set.map(Int.init) + Array((set.last.map { Int($0) + 1 } ?? 0)..<(length + token + 1))
  }

  /// The meaning of the op, in double precision.
  private func expected(_ rows: Rows) -> [Float] {
    let (s, shape) = (rows.sequence, rows.sequence.model.shape)
    let (dim, group) = (shape.dim, shape.queryHeads / shape.heads)
    var result: [Float] = []
    // as far as the caches round
    let (k, v) = ((s.k + rows.k).map(cached), (s.v + rows.v).map(cached))
    func cached(_ x: Float) -> Float { shape.isBF16 ? roundedToBF16(x) : x }
    for token in 0..<rows.count {
      for head in 0..<shape.queryHeads {
        let keyHead = head / group
        let keys = visible(s.set(ofHead: keyHead), length: s.length, token: token)
        let q = rows.q[((token * shape.queryHeads + head) * dim)...]
        let scores = keys.map { position -> Double in
          let key = k[((position * shape.heads + keyHead) * dim)...]
          return 0.4 * zip(q.prefix(dim), key).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
        }
        let most = scores.max() ?? 0
        let weights = scores.map { exp2(($0 - most) * 1.442_695_040_888_963_4) }
        var sums = [Double](repeating: 0, count: dim)
        for (position, weight) in zip(keys, weights) {
          let value = (position * shape.heads + keyHead) * dim
          for d in 0..<dim { sums[d] += weight * Double(v[value + d]) }
        }
        let total = weights.reduce(0, +)
        result += sums.map { Float($0 / total) }
      }
    }
    return result
  }

  private func assertNear(_ actual: [Float], _ wanted: [Float], _ bound: Float, _ label: String) {
    XCTAssertEqual(actual.count, wanted.count, label)
    let scale = wanted.reduce(0) { max($0, abs($1)) }
    var worst: Float = 0
    for (a, b) in zip(actual, wanted) { worst = max(worst, abs(a - b).isNaN ? .infinity : abs(a - b)) }
    XCTAssertLessThanOrEqual(worst, bound * scale, label)
  }

  private func assertSameBits(_ a: [[Float]], _ b: [[Float]], _ label: String) {
    XCTAssertEqual(a.map { $0.map(\.bitPattern) }, b.map { $0.map(\.bitPattern) }, label)
  }

  func testAttentionThroughASetIsWhatTheOpMeans() throws {
    for (number, shape) in shapes.enumerated() {
      for target in try runnableTargets(round: number) {
        for both in layouts {
          var shape = shape
          (shape.keepsRows, shape.bound) = (both, 100)
          var random = SeededGenerator(seed: UInt64(number) + 7)
          let model = try GatherModel(shape, target: target)
          for kind in Kind.allCases {
            // lengths around borders of 16 and 64, tails from none to some groups
            let length = [1, 15, 64, 129, 330][Int.random(in: 0..<5, using: &random)]
            let s = try sequence(model, length: length, &random)
            let covered = max(1, length - [0, 0, 3, 70, 200][Int.random(in: 0..<5, using: &random)])
            s.set((0..<(shape.perHead ? shape.heads : 1)).map { _ in positions(kind, covered, bound: 100, &random) })
            let rows = Rows(s, Int.random(in: 1...17, using: &random), &random)
            let label = "\(shape), \(kind) of \(length), \(rows.count) rows, \(target)"
            let found = try model.run("sparse", [rows], threads: 1)[0]
            assertNear(found, expected(rows), shape.isBF16 ? 0.012 : 2e-6, label)
          }
        }
      }
    }
  }

  /// The numbering of keys is that of dense attention then, and so are the bits: with every tail, in both layouts.
  func testASetOfAllPositionsGivesTheBitsOfDenseAttention() throws {
    for (number, shape) in shapes.enumerated() {
      for target in try runnableTargets(round: number) {
        for both in layouts {
          var shape = shape
          (shape.keepsRows, shape.bound) = (both, 4096)
          var random = SeededGenerator(seed: UInt64(number) + 70)
          let model = try GatherModel(shape, target: target)
          let lengths = number < 3 ? [1, 17, 65, 1020, 1024] : [3, 48, 127, 2050]
          for length in lengths {
            let s = try sequence(model, length: length, &random)
            for tail in [0, 1, 16, 150] where tail < length {
              let set = (0..<Int32(length - tail)).map { $0 }
              s.set(Array(repeating: set, count: shape.perHead ? shape.heads : 1))
              let rows = Rows(s, Int.random(in: 1...17, using: &random), &random)
              let label = "\(shape), \(length) less \(tail), \(rows.count) rows, \(target)"
              let dense = try model.run("dense", [rows], threads: 1)
              for threads in [1, 3] {
                assertSameBits(try model.run("sparse", [rows], threads: threads), dense, "\(label), \(threads) threads")
              }
            }
          }
        }
      }
    }
  }

  /// A row's bits depend on nothing but its own tokens and set: not on the rows beside it, other sequences, threads or
  /// the layout.
  func testARowsBitsDependOnItsOwnKeysOnly() throws {
    for (number, shape) in shapes.enumerated() {
      for target in try runnableTargets(round: number) {
        var shape = shape
        shape.bound = 1500
        var results: [[[Float]]] = []
        for both in layouts {
          shape.keepsRows = both
          var random = SeededGenerator(seed: UInt64(number) + 700)
          let model = try GatherModel(shape, target: target)
          let lengths = [1700, 64, 1, 300]
          let sequences = try lengths.map { try sequence(model, length: $0, &random) }
          for s in sequences {
            s.set(
              (0..<(shape.perHead ? shape.heads : 1)).map { plane in
                positions(plane == 1 ? .blocks : .scattered, max(1, s.length - 30), bound: 1500, &random)
              })
          }
          let all = sequences.map { Rows($0, 14, &random) }
          let reference = try model.run("sparse", all, threads: 1)
          results.append(reference)
          for threads in 2...5 {
            assertSameBits(
              try model.run("sparse", all, threads: threads), reference, "\(shape), \(threads) threads, \(target)")
          }
          for (index, rows) in all.enumerated() {
            let width = reference[index].count / rows.count
            for count in [1, 2, 5, 9] {
              let alone = try model.run("sparse", [rows.slice(0..<count)], threads: 2)[0]
              let wanted = Array(reference[index].prefix(count * width))
              assertSameBits([alone], [wanted], "\(shape), sequence \(index), \(count) rows, \(target)")
            }
          }
        }
        assertSameBits(results[0], results[1], "\(shape), both layouts, \(target)")
      }
    }
  }

  /// More rows than a row group holds, and more keys than one chunk.
  func testManyRowsAndManyKeys() throws {
    for target in try runnableTargets() {
      let large = shape { ($0.queryHeads, $0.heads, $0.dim, $0.bound) = (8, 1, 64, 4096) }
      var random = SeededGenerator(seed: 5)
      let model = try GatherModel(large, target: target)
      let s = try sequence(model, length: 2600, &random)
      let rows = Rows(s, 60, &random)
      s.set([(0..<2600).map { $0 }])
      let dense = try model.run("dense", [rows], threads: 2)
      for threads in [1, 2, 7] {
        assertSameBits(try model.run("sparse", [rows], threads: threads), dense, "\(threads) threads, \(target)")
      }
    }
  }

  /// Reading less does change the result.
  func testASetOfFewerPositionsGivesOtherBits() throws {
    var random = SeededGenerator(seed: 6)
    let model = try GatherModel(shape { _ in }, target: CPUTarget.host())
    let s = try sequence(model, length: 200, &random)
    let rows = Rows(s, 3, &random)
    s.set([(0..<200).map { $0 }])
    let all = try model.run("sparse", [rows], threads: 1)
    s.set([(0..<200).filter { $0 != 77 }])
    let less = try model.run("sparse", [rows], threads: 1)
    for (a, b) in zip(all[0], less[0]) where a != b { return }
    XCTFail("position 77 does not matter")
  }

  /// A set that does not fit the sequence reads nothing wild.
  func testADamagedSetStaysInsideTheCache() throws {
    var random = SeededGenerator(seed: 8)
    for both in layouts {
      let model = try GatherModel(shape { ($0.keepsRows, $0.bound) = (both, 48) }, target: CPUTarget.host())
      let s = try sequence(model, length: 100, &random)
      let rows = Rows(s, 5, &random)
      for set: [Int32] in [[], [-5, 7], [.max], [3, 99, 1_000_000], Array(repeating: .min, count: 48), [200, 10]] {
        s.set([set])
        for count in [Int32(set.count), .max, .min, -1] {
          s.values.base.storeBytes(of: count, as: Int32.self)
          let found = try model.run("sparse", [rows], threads: 3)
          XCTAssertTrue(found[0].allSatisfy(\.isFinite), "\(set) counted as \(count)")
        }
      }
      s.set([[]])
      assertSameBits(
        try model.run("sparse", [rows], threads: 1), try model.run("dense", [rows], threads: 1), "an empty set")
    }
  }

  /// What a step reads, in bytes of the cache.
  func testFunctionsSayWhatTheyRead() throws {
    let model = try GatherModel(shape { _ in }, target: CPUTarget.host())
    let position = 2 * 2 * 32 * 2
    func reads(_ name: String) -> Program.CacheReads? { model.program.function(name)?.reads }
    XCTAssertEqual(reads("fill"), Program.CacheReads())
    XCTAssertEqual(reads("dense")?.perPosition, position)
    XCTAssertEqual(reads("dense")?.densePerPosition, position)
    XCTAssertEqual(reads("dense")?.perSelected, [])
    XCTAssertEqual(reads("sparse")?.perPosition, 0)
    XCTAssertEqual(reads("sparse")?.densePerPosition, position)
    XCTAssertEqual(reads("sparse")?.perSelected, [Program.CacheReads.Selected(set: 0, bytes: position)])
  }
}
