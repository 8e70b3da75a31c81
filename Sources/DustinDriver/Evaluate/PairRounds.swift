import DustinRunner
import DustinRuntime
import DustinSupport

/// Forced rounds of a pair: what `SpeculativeLoop` does with one sequence, function by function, but with given tokens in
/// place of the proposed ones. The draft's proposals serve only to choose positions.
final class PairRounds: ForcedRounds {
  private let engine: Engine
  private let cache: KVCache
  private let drafter: (any Drafter)?
  private let functions: Functions
  private let readers: [AttentionReader]
  private let gamma: Int
  /// All committed tokens; the cache holds them all.
  private var tokens: [Int32]
  /// Rounds since positions were chosen; nil: never.
  private var age: Int?
  /// Tokens committed since everything was read.
  private var sinceDense = 0
  private var last: (rows: [Int32], verified: VerifiedRows, isDense: Bool)?

  /// What the target's program has.
  private struct Functions {
    let policy: Program.Policy
    let select: Bool
    let observe: Bool
    let observeOnce: Bool
    let dense: Bool
    /// Values that the draft makes and the target's functions take.
    let offered: Bool

    init(_ program: Program, offers: [Program.SequenceValue]) {
      policy = program.policy
      let observed = program.function("observe")?.results.map(\.role) ?? []
      select = program.function("select") != nil
      observe = observed.contains("round")
      observeOnce = observed.contains("static")
      dense = program.function("dense") != nil
      let taken = ["verify", "select", "observe"].flatMap { program.function($0)?.arguments.map(\.name) ?? [] }
      offered = offers.contains { program.sequenceValues.contains($0) && taken.contains($0.name) }
    }

    var choosesPositions: Bool { select || observe || offered }
  }

  init(
    _ pair: PairTarget, cache: KVCache, draftCache: KVCache?, tokens: [Int32], positions: Int, gamma: Int
  ) throws {
    engine = pair.targetEngine
    drafter = try pair.makeDrafter()
    functions = Functions(engine.model.program, offers: drafter?.offers ?? [])
    readers = try AttentionReader.all(of: pair.target)
    self.gamma = gamma
    self.cache = cache
    self.tokens = tokens
    if tokens.isEmpty { return }
    // The loop begins as always: the last row by this program, what is chosen once, the draft's own reading. Its first
    // token is not the text's, and it makes no round.
    var options = GenerationOptions()
    options.gamma = gamma
    let loop = try SpeculativeLoop(target: engine, drafter: drafter, options: options, cancel: interruption)
    try loop.begin([
      GenerationRequest(
        prompt: tokens, maxNewTokens: max(2, positions - tokens.count), id: 0, targetCache: cache,
        draftCache: drafter == nil ? nil : draftCache)
    ])
    try checkInterruption()
  }

  func verify(_ rows: [Int32]) throws -> VerifiedRows {
    var isDense =
      functions.dense && functions.policy.denseEvery > 0
      && sinceDense + gamma + 1 > functions.policy.denseEvery
    var fedAgain = isDense ? sinceDense : 0
    if !isDense, functions.choosesPositions, age ?? .max >= functions.policy.refresh {
      if try chooses(rows) {
        age = 0
      } else if functions.dense {
        isDense = true
        fedAgain = functions.policy.denseEvery > 0 ? sinceDense : 0
      }
    }
    let step = try engine.step(
      isDense ? "dense" : "verify",
      [StepRows(cache, tokens.suffix(fedAgain) + rows, length: cache.length - fedAgain)])
    let verified = VerifiedRows(step: step, skipped: fedAgain)
    last = (rows, verified, isDense)
    return verified
  }

  /// Draft, look-ahead and selection; false when the draft left nothing to choose by.
  private func chooses(_ rows: [Int32]) throws -> Bool {
    if let drafter, let first = rows.first {
      let wish = DraftWish(index: 0, tokens: tokens + [first], count: gamma, wantsValues: functions.offered)
      _ = try drafter.propose([wish])
      try checkInterruption()
      if functions.offered, try !drafter.offer(0, to: cache) { return false }
    }
    if functions.observe { _ = try engine.step("observe", [StepRows(cache, rows)]) }
    if functions.select { _ = try engine.step("select", [StepRows(cache)]) }
    return true
  }

  func commit(_ count: Int) throws {
    guard let last, count > 0 else { return }
    try last.verified.step.keep(sequence: 0, rows: last.verified.skipped..<last.verified.skipped + count)
    try cache.commit(count)
    tokens += last.rows.prefix(count)
    sinceDense += count
    if last.isDense {
      if last.verified.skipped + count == sinceDense { sinceDense = 0 }
      // Positions were chosen by the rows before; now there are better ones.
      age = nil
    } else {
      age = age.map { $0 + 1 }
    }
    self.last = nil
  }

  func sets() throws -> ReadSets? {
    if last?.isDense ?? true { return nil }
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
