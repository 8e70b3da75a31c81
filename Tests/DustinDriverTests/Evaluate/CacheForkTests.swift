import DustinCodegen
import DustinRuntime
import DustinSupport
import XCTest

@testable import DustinDriver

/// A text that one program has read, for another program of the same model.
final class CacheForkTests: XCTestCase {
  func testAForkForAnotherProgramIsWhatItsOwnPrefillMakes() throws {
    for numerics in NumericsChoice.allCases {
      var options = LoadOptions(target: try .host())
      options.numerics = numerics
      let dense = try LoadedModel(path: target, role: .target, options: options)
      options.preset = "streaming-llm{budget=32}"
      let packed = try LoadedModel(path: target, role: .target, options: options)
      options.preset = "oracle{budget=32}"
      let both = try LoadedModel(path: target, role: .target, options: options)
      XCTAssertTrue(both.compiled.program.cacheRegions.contains { $0.layout == .rows })
      let team = try ThreadTeam(threads: 1)
      let tokens = (0..<75).map { Int32($0 * 37 % 4000) }
      func read(_ model: LoadedModel) throws -> KVCache {
        let cache = try KVCache(model.compiled, positions: 100)
        _ = try Engine(model: model.compiled, team: team).prefill([StepRows(cache, tokens)], wantLogits: false)
        return cache
      }
      let base = try read(dense)
      for other in [packed, both] {
        let fork = try base.fork(for: other.compiled, positions: 140)
        XCTAssertEqual(fork.length, 75)
        XCTAssertEqual(fork.limit, 140)
        XCTAssertEqual(try fork.bits(ofPositions: 0..<75), try read(other).bits(ofPositions: 0..<75))
        XCTAssertTrue(try fork.rowCopiesMatch(inPositions: 0..<75))
      }
      XCTAssertThrowsError(try base.fork(for: both.compiled, positions: 40))
      let draftModel = try LoadedModel(path: draft, role: .draft, options: options)
      XCTAssertThrowsError(try base.fork(for: draftModel.compiled)) {
        XCTAssertTrue("\($0)".contains("in different ways"), "\($0)")
      }
    }
  }

  /// What the text before had in common is not read again, and the caches are those of a text that was read alone.
  func testATextThatBeginsLikeTheOneBefore() throws {
    let options = LoadOptions(target: try .host())
    let pair = try ModelPair.load(target: target, draft: draft, options: options)
    let tokenizer = try XCTUnwrap(pair.tokenizer)
    let team = try ThreadTeam(threads: 1)
    func session() throws -> EvaluationSession {
      EvaluationSession(
        base: try PairTarget(.dense, target: pair.target, draft: pair.draft, options: options, team: team), others: [],
        tokenizer: tokenizer, gamma: 4)
    }
    let first = (0..<300).map { Int32($0 * 37 % 4000) }
    let second = Array(first.prefix(240)) + (0..<100).map { Int32($0 * 11 % 4000) }
    let both = try session()
    _ = try both.prepare(first)
    var read = 0
    let shared = try both.prepare(second) { _, total in read = total }
    XCTAssertEqual(read, 99)
    let alone = try session().prepare(second)
    for (a, b) in [(shared.target, alone.target), (shared.draft, alone.draft)] {
      let (a, b) = (try XCTUnwrap(a), try XCTUnwrap(b))
      XCTAssertEqual(a.length, 339)
      XCTAssertEqual(try a.bits(ofPositions: 0..<339), try b.bits(ofPositions: 0..<339))
    }
  }
}
