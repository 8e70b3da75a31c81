import DustinCodegen
import DustinRuntime
import XCTest

@testable import DustinDriver

/// Attention recovery of sets that are known.
final class RecoveryTests: XCTestCase {
  /// Two layers with two KV heads of one query head each, four committed positions, two rows.
  private func round() -> RecoveryProbe.Round {
    func plane(_ rows: [[Float]]) -> [Float] { rows.flatMap { $0 } }
    let a = plane([[0.5, 0.1, 0.2, 0.1, 0.1, 0], [0.4, 0.2, 0.1, 0.1, 0.1, 0.1]])
    let b = plane([[0.1, 0.5, 0.1, 0.2, 0.1, 0], [0.2, 0.4, 0.1, 0.1, 0.1, 0.1]])
    return RecoveryProbe.Round(planes: [[a, a], [b, b]], headsPerPlane: [1, 1], committed: 4, rows: 2)
  }

  private func check(_ values: [Double], _ expected: [Double], line: UInt = #line) {
    XCTAssertEqual(values.count, expected.count, line: line)
    for (value, wanted) in zip(values, expected) { XCTAssertEqual(value, wanted, accuracy: 1e-6, line: line) }
  }

  func testASharedSet() {
    // Positions 2 and 3 and all behind them.
    let measured = round().measure(ReadSets(sets: [[2, 3]], ofLayer: [[0, 0], [0, 0]]))
    check(measured.byRow, [(0.4 + 0.4) / 2, 0.4])
    check(measured.byLayer, [0.4, 0.4])
    // The best two are 0 and 1.
    check(measured.oracleByRow, [0.7, 0.8])
  }

  func testASetForEachLayer() {
    let measured = round().measure(ReadSets(sets: [[0, 3], [1, 3]], ofLayer: [[0, 0], [1, 1]]))
    check(measured.byRow, [(0.7 + 0.8) / 2, 0.7])
    // Over both rows: 0 and 1 in layer 0, 1 and 0 in layer 1; the lower position where two are equal.
    check(measured.oracleByRow, [0.7, 0.8])
  }

  func testWhatIsBehindTheSetIsRead() {
    let measured = round().measure(ReadSets(sets: [[0]], ofLayer: [[0, 0], [0, 0]]))
    check(measured.byRow, [1, 1])
    check(measured.oracleByRow, [1, 1])
  }

  func testALayerThatReadsEverything() {
    let measured = round().measure(ReadSets(sets: [[3]], ofLayer: [[nil, nil], [0, 0]]))
    check(measured.byLayer, [1, (0.3 + 0.3) / 2])
    check(measured.byRow, [(1 + 0.3) / 2, (1 + 0.3) / 2])
  }

  /// The target's own attention: every row's mass is one, and larger sets recover more, up to the oracle's share.
  func testTheProbeOfAModel() throws {
    let path = "\(root)/Tests/Fixtures/llama"
    var options = LoadOptions(target: try .host())
    options.numerics = .f32
    let model = try LoadedModel(path: path, role: .target, options: options)
    let base = try PairTarget(
      .dense, target: model, draft: nil, options: options, team: ThreadTeam(threads: 1))
    let probe = try RecoveryProbe(base, gamma: 3)
    let tokens = (0..<40).map { Int32($0 % 13 + 1) }
    let context = PreparedContext(tokens: Array(tokens.prefix(30)), target: nil, draft: nil)
    try probe.read(context, continuation: Array(tokens.suffix(10)))
    let round = try probe.round(at: 3)
    XCTAssertEqual(round.committed, 32)
    XCTAssertEqual(round.rows, 4)
    for (layer, planes) in round.planes.enumerated() {
      for plane in planes {
        for row in 0..<round.rows {
          let mass = plane[row * round.width..<(row + 1) * round.width]
          XCTAssertEqual(mass.reduce(0, +), Float(round.headsPerPlane[layer]), accuracy: 1e-4)
          // Nothing of the future.
          XCTAssertTrue(mass.suffix(round.rows - 1 - row).allSatisfy { $0 == 0 })
          XCTAssertTrue(mass.allSatisfy { $0 >= 0 })
        }
      }
    }
    let layers = round.planes.map { $0.map { _ in Optional(0) } }
    var last = 0.0
    for count in stride(from: 1, through: 32, by: 3) {
      let set = (0..<count - 1).map { Int32($0) } + [31]
      let measured = round.measure(ReadSets(sets: [set], ofLayer: layers))
      let mean = measured.byRow.reduce(0, +)
      XCTAssertGreaterThanOrEqual(mean, last - 1e-9)
      XCTAssertLessThanOrEqual(mean, measured.oracleByRow.reduce(0, +) + 1e-6)
      last = mean
    }
  }

  /// Forced dense rounds give the same bits however the rows are dealt to rounds.
  func testForcedDenseRounds() throws {
    var options = LoadOptions(target: try .host())
    options.numerics = .f32
    let model = try LoadedModel(path: "\(root)/Tests/Fixtures/llama", role: .target, options: options)
    let base = try PairTarget(.dense, target: model, draft: nil, options: options, team: ThreadTeam(threads: 1))
    let context = PreparedContext(tokens: [1, 5, 3], target: nil, draft: nil)
    let rows: [Int32] = [3, 2, 9, 4, 4, 1]
    let cacheTokens: [Int32] = [1, 5]
    let once = try base.rounds(context, positions: 16, gamma: 2)
    _ = try once.verify(cacheTokens)
    try once.commit(2)
    let all = try once.verify(rows)
    let expected = try rows.indices.map { Array(try all.logits($0)) }
    let again = try base.rounds(context, positions: 16, gamma: 2)
    _ = try again.verify(cacheTokens)
    try again.commit(2)
    for start in stride(from: 0, to: rows.count, by: 2) {
      // Three rows, of which two stay.
      let part = Array(rows[start..<min(start + 3, rows.count)])
      let step = try again.verify(part)
      for row in part.indices { XCTAssertEqual(Array(try step.logits(row)), expected[start + row]) }
      try again.commit(min(2, part.count))
    }
  }
}
