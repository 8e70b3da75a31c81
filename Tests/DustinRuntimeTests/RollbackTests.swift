import DustinSupport
import XCTest

@testable import DustinRuntime

/// Rejected rows leave nothing behind, whatever was drafted, truncated and forked before.
final class RollbackTests: XCTestCase {
  func testCommittedBitsAreThoseOfAFreshPrefill() throws {
    var random = mixed(7, 7)
    func next(_ bound: Int) -> Int {
      random = mixed(random, 21)
      return Int(random % UInt64(bound))
    }
    let engine = try fakeEngine(FakeModel(maxRows: 9), threads: 2)
    var sequences = try (0..<3).map { _ in (cache: try KVCache(engine.model, positions: 150), tokens: [Int32]()) }
    for turn in 0..<400 {
      let chosen = sequences.indices.filter { _ in next(3) > 0 }
      if chosen.isEmpty { continue }
      switch next(8) {
      case 0:
        for index in chosen {
          let length = next(sequences[index].tokens.count + 1)
          sequences[index].cache.truncate(to: length)
          sequences[index].tokens.removeLast(sequences[index].tokens.count - length)
        }
      case 1:
        let source = sequences[chosen[0]]
        sequences[next(3)] = (try source.cache.fork(), source.tokens)
      default:
        let rows = chosen.compactMap { index -> (Int, StepRows)? in
          let count = min(1 + next(9), sequences[index].cache.free)
          if count == 0 { return nil }
          let tokens = (0..<count).map { _ in Int32(next(32)) }
          return (index, StepRows(sequences[index].cache, tokens))
        }
        if rows.isEmpty { continue }
        _ = try engine.step(turn % 2 == 0 ? "verify" : "draft", rows.map(\.1))
        for (index, share) in rows {
          let accepted = next(share.tokens.count + 1)
          try share.cache.commit(accepted)
          sequences[index].tokens += share.tokens.prefix(accepted)
        }
      }
      if turn % 10 != 9 { continue }
      for (index, sequence) in sequences.enumerated() {
        XCTAssertEqual(sequence.cache.length, sequence.tokens.count)
        let fresh = try KVCache(engine.model, positions: 200)
        if !sequence.tokens.isEmpty { _ = try engine.prefill([StepRows(fresh, sequence.tokens)]) }
        XCTAssertEqual(
          try sequence.cache.bits(ofPositions: 0..<sequence.tokens.count),
          try fresh.bits(ofPositions: 0..<sequence.tokens.count), "turn \(turn), sequence \(index)")
      }
    }
  }

  /// After a run with many rejections both caches hold what a fresh prefill of the final tokens makes.
  func testCachesAfterARunAreThoseOfAFreshPrefill() throws {
    for gamma in [1, 3, 6] {
      let team = try ThreadTeam(threads: 2)
      let target = try Engine(model: FakeModel().compiled(), team: team)
      let draft = try Engine(model: FakeModel(agreement: 50, voice: 2).compiled(), team: team)
      let requests = try (0..<3).map { index in
        GenerationRequest(
          prompt: fakePrompt(index, count: 5 + 9 * index), maxNewTokens: 40,
          targetCache: try KVCache(target.model, positions: 100), draftCache: try KVCache(draft.model, positions: 100))
      }
      var options = GenerationOptions()
      options.gamma = gamma
      let loop = try SpeculativeLoop(
        target: target, drafter: ModelDrafter(engine: draft, contextSize: 100), options: options)
      let results = try loop.run(requests)
      XCTAssertLessThan(loop.metrics.speculation.accepted, loop.metrics.speculation.drafted)
      for (request, result) in zip(requests, results) {
        let tokens = request.prompt + result.tokens
        let cache = try XCTUnwrap(request.targetCache)
        XCTAssertEqual(cache.length, tokens.count - 1)
        let fresh = try KVCache(target.model, positions: 100)
        _ = try target.prefill([StepRows(fresh, tokens.dropLast())])
        XCTAssertEqual(
          try cache.bits(ofPositions: 0..<cache.length), try fresh.bits(ofPositions: 0..<cache.length))
        // The draft may lag behind, or hold proposals of the last round behind what it shares with the sequence.
        let draftCache = try XCTUnwrap(request.draftCache)
        let shared = min(draftCache.length, tokens.count - gamma - 2)
        let freshDraft = try KVCache(draft.model, positions: 100)
        _ = try draft.prefill([StepRows(freshDraft, tokens[..<shared])])
        XCTAssertEqual(
          try draftCache.bits(ofPositions: 0..<shared), try freshDraft.bits(ofPositions: 0..<shared))
      }
    }
  }
}
