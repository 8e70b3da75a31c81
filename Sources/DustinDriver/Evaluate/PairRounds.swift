import DustinRunner
import DustinRuntime
import DustinSupport

/// Forced rounds of a pair, and what they read.
final class PairRounds: ForcedRounds {
  private let rounds: GivenRounds
  private let cache: KVCache
  private let readers: [AttentionReader]
  private var wasDense = true

  init(
    _ pair: PairTarget, cache: KVCache, draftCache: KVCache?, tokens: [Int32], positions: Int, gamma: Int
  ) throws {
    self.cache = cache
    readers = try AttentionReader.all(of: pair.target)
    rounds = try GivenRounds(
      target: pair.targetEngine, drafter: pair.makeDrafter(), gamma: gamma, cache: cache, draftCache: draftCache,
      tokens: tokens, positions: positions, cancel: interruption)
    try checkInterruption()
  }

  func verify(_ rows: [Int32]) throws -> VerifiedRows {
    let verified = try rounds.verify(rows)
    try checkInterruption()
    wasDense = verified.isDense
    return VerifiedRows(step: verified.step, skipped: verified.skipped)
  }

  func commit(_ count: Int) throws { try rounds.commit(count) }

  func sets() throws -> ReadSets? {
    if wasDense { return nil }
    var read = ReadSets(sets: [], ofLayer: [])
    var starts: [String: Int] = [:]
    for reader in readers {
      guard let name = reader.set else {
        read.ofLayer.append(Array(repeating: nil, count: reader.keyHeads))
        continue
      }
      let planes = try cache.set(named: name)
      let start = starts[name] ?? read.sets.count
      if starts[name] == nil {
        starts[name] = start
        read.sets += planes
      }
      read.ofLayer.append((0..<reader.keyHeads).map { planes.count == 1 ? start : start + min($0, planes.count - 1) })
    }
    return read
  }
}
