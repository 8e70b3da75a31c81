import DustinSupport
import XCTest

@testable import DustinRuntime

final class SamplingTests: XCTestCase {
  private func logits(_ seed: Int, count: Int, levels: UInt64) -> [Float] {
    (0..<count).map { Float(mixed(UInt64(seed), UInt64($0)) % levels) / Float(levels) * 12 - 6 }
  }

  func testPhiloxIsThePublishedOne() {
    // Known answers of Random123.
    let pi = KeyedRandom.philox(
      SIMD4(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344), key: (0xa409_3822, 0x299f_31d0))
    XCTAssertEqual(pi, SIMD4(0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1))
    XCTAssertEqual(
      KeyedRandom.philox(SIMD4(repeating: 0), key: (0, 0)), SIMD4(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
  }

  func testRandomNumbersAreUniformAndDifferByEveryKey() {
    var counts = Array(repeating: 0, count: 64)
    for position in 0..<64_000 {
      let u = KeyedRandom(seed: 3, sequence: 4).uniform(.sample, position: position)
      XCTAssertTrue(0..<1 ~= u)
      counts[Int(u * 64)] += 1
    }
    // Fixed seed; a fresh one would fail once in a million.
    XCTAssertGreaterThan(ChiSquare(counts: counts, expected: Array(repeating: 1 / 64, count: 64)).pValue, 1e-6)
    let numbers: [Double] = [
      KeyedRandom(seed: 3, sequence: 4).uniform(.sample, position: 5),
      KeyedRandom(seed: 2, sequence: 4).uniform(.sample, position: 5),
      KeyedRandom(seed: 3 + 1 << 32, sequence: 4).uniform(.sample, position: 5),
      KeyedRandom(seed: 3, sequence: 5).uniform(.sample, position: 5),
      KeyedRandom(seed: 3, sequence: 4 + 1 << 32).uniform(.sample, position: 5),
      KeyedRandom(seed: 3, sequence: 4).uniform(.sample, position: 6),
      KeyedRandom(seed: 3, sequence: 4).uniform(.accept, position: 5),
      KeyedRandom(seed: 3, sequence: 4).uniform(.draft, position: 5),
    ]
    XCTAssertEqual(Set(numbers).count, numbers.count)
  }

  func testArgMaxTakesTheFirstOfTheGreatest() throws {
    for count in [1, 5, 15, 16, 17, 63, 64, 65, 100, 1000, 4096] {
      for seed in 0..<12 {
        var values = logits(seed + count, count: count, levels: seed % 2 == 0 ? 7 : 100_000)
        if seed % 3 == 0 { for index in stride(from: seed, to: count, by: 5) { values[index] = .nan } }
        if seed % 4 == 1 { values[count / 2] = -.infinity }
        let best = values.indices.filter { !values[$0].isNaN }.max {
          values[$0] < values[$1] || (values[$0] == values[$1] && $0 > $1)
        }
        guard let best, values[best].isFinite else { continue }
        XCTAssertEqual(try values.withUnsafeBufferPointer { try argMax($0) }, Int32(best), "\(count), \(seed)")
      }
    }
    for broken in [[Float](), [.nan, .nan], [-.infinity], [1, .infinity]] {
      XCTAssertThrowsError(try broken.withUnsafeBufferPointer { try argMax($0) }) {
        XCTAssertEqual(identifier($0), "logits")
      }
      XCTAssertThrowsError(
        try broken.withUnsafeBufferPointer { try Distribution(logits: $0, sampling: Sampling(temperature: 1)) }
      ) { XCTAssertEqual(identifier($0), "logits") }
    }
  }

  func testDistributionsAreThoseOfTheDefinition() throws {
    for count in [1, 2, 33, 700] {
      for (seed, levels) in [(1, UInt64(5)), (2, 40), (3, 1 << 40)] {
        let values = logits(seed, count: count, levels: levels)
        for temperature in [Float(0.3), 1, 3] {
          for topK in [0, 1, 3, 64, 65, 10_000] {
            for (topP, minP) in [(Float(1), Float(0)), (0.9, 0), (0.999, 0), (1e-6, 0), (1, 0.1), (0.7, 0.2), (1, 1)] {
              let sampling = Sampling(temperature: temperature, topK: topK, topP: topP, minP: minP)
              let expected = referenceDistribution(values, sampling)
              let found = try values.withUnsafeBufferPointer { try Distribution(logits: $0, sampling: sampling) }
              let what = "\(count) logits, \(levels) levels, \(sampling)"
              XCTAssertEqual(found.probabilities.reduce(0, +), 1, accuracy: 1e-9, what)
              // f32 weights may put a token on the other side of a cut that it meets exactly; none does here.
              for token in values.indices {
                XCTAssertEqual(found.probability(of: Int32(token)), expected[token], accuracy: 2e-6, "\(what) \(token)")
              }
            }
          }
        }
      }
    }
  }

  func testNearlyZeroTemperatureIsGreedy() throws {
    let values = logits(4, count: 100, levels: 9)
    for temperature in [Float.leastNonzeroMagnitude, 1e-30, 1e-4] {
      let sampling = Sampling(temperature: temperature, topK: 1)
      let found = try values.withUnsafeBufferPointer { try Distribution(logits: $0, sampling: sampling) }
      XCTAssertEqual(found.sample(0.99), try values.withUnsafeBufferPointer { try argMax($0) })
      let all = try values.withUnsafeBufferPointer {
        try Distribution(logits: $0, sampling: Sampling(temperature: temperature))
      }
      XCTAssertEqual(all.probabilities.filter { $0 > 0 }.count, values.filter { $0 == values.max() }.count)
    }
  }

  func testSamplesInvertTheCumulatedProbabilities() throws {
    let d = try Distribution(tokens: [3, 8, 9], weights: [1, 0, 3])
    XCTAssertEqual(d.sample(0), 3)
    XCTAssertEqual(d.sample(0.2499), 3)
    XCTAssertEqual(d.sample(0.25), 9)
    XCTAssertEqual(d.sample(0.999999999999), 9)
    XCTAssertEqual(d.sample(1), 9)
    XCTAssertEqual([0, 3, 8, 9, 10].map { d.probability(of: $0) }, [0, 0.25, 0, 0.75, 0])
    for weights in [[], [0, 0], [-1, 2], [.nan], [.infinity]] as [[Double]] {
      XCTAssertThrowsError(try Distribution(weights: weights))
    }
    XCTAssertThrowsError(try Distribution(tokens: [2, 1], weights: [1, 1]))
    XCTAssertThrowsError(try Distribution(tokens: [1], weights: [1, 1]))
  }

  func testResiduals() throws {
    let p = try Distribution(tokens: [1, 2, 5, 7], weights: [4, 3, 2, 1])
    let q = try Distribution(tokens: [0, 2, 5, 7, 9], weights: [1, 5, 1, 1, 2])
    let rest = p.residual(q)  // 0.4, 0, 0.1, 0
    for (token, expected) in [(1, 0.8), (2, 0), (5, 0.2), (7, 0), (0, 0), (9, 0)] {
      XCTAssertEqual(rest.probability(of: Int32(token)), expected, accuracy: 1e-12)
    }
    XCTAssertEqual(p.residual(p), p)
    XCTAssertEqual(p.residual(point: 1).probability(of: 2), 0.5, accuracy: 1e-12)
    XCTAssertEqual(p.residual(point: 1).probability(of: 1), 0)
    for token in [1, 2, 5, 7] as [Int32] {
      XCTAssertEqual(p.residual(point: 4).probability(of: token), p.probability(of: token), accuracy: 1e-12)
    }
    // Dense against sparse.
    let dense = try Distribution(weights: [1, 1, 1, 1])
    XCTAssertEqual(
      dense.residual(try Distribution(tokens: [1], weights: [1])).probability(of: 0), 1 / 3, accuracy: 1e-12)
  }
}
