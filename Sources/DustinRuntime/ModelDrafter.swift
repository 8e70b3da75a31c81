import DustinSupport

/// Proposes with a smaller model of the same vocabulary.
public final class ModelDrafter: Drafter {
  /// How tokens are proposed in a sampled run.
  public enum Choice: String, Sendable {
    /// From the draft's own distribution, with the target's sampling options: the best acceptance.
    case sampled
    /// The greatest logit: proposals are certain.
    case greedy
  }

  /// Functions of the draft's program.
  public struct Functions: Sendable {
    public var prefill = "prefill"
    public var draft = "draft"
    public init() {}
  }

  private struct Slot {
    var cache: KVCache
    var random: KeyedRandom
    /// Cached positions that are known to hold the sequence's tokens.
    var verified: Int
    /// Tokens at the cached positions behind those: proposals of the last round.
    var speculated: [Int32] = []
  }

  private let engine: Engine
  private let contextSize: Int
  private let choice: Choice
  private let functions: Functions
  private let vocabulary: Int
  private var context = DraftContext(sampling: Sampling())
  private var slots: [Int: Slot] = [:]

  /// - Parameters:
  ///   - contextSize: Positions that the draft model can take. A longer sequence goes on without proposals.
  /// - Throws: `DiagnosticError` with id `function` or `port` when the program lacks a function or its logits.
  public init(
    engine: Engine, contextSize: Int, choice: Choice = .sampled, functions: Functions = Functions()
  ) throws {
    self.engine = engine
    self.contextSize = contextSize
    self.choice = choice
    self.functions = functions
    _ = try engine.model.function(functions.prefill)
    vocabulary = try engine.model.function(functions.draft).result("logits").port.count
  }

  public var traffic: CacheTraffic { engine.traffic }

  public func begin(_ sequences: [DraftSequence], _ context: DraftContext) throws {
    self.context = context
    slots = [:]
    var rows: [StepRows] = []
    for sequence in sequences {
      let limit = min(sequence.limit, sequence.cache?.limit ?? contextSize, contextSize)
      guard sequence.prompt.count <= limit, knows(sequence.prompt[...]) else { continue }
      let cache = try sequence.cache ?? KVCache(engine.model, positions: limit)
      cache.truncate(to: sequence.prompt.count)
      slots[sequence.index] = Slot(cache: cache, random: sequence.random, verified: sequence.prompt.count)
      if cache.length < sequence.prompt.count { rows.append(StepRows(cache, sequence.prompt[cache.length...])) }
    }
    if rows.isEmpty { return }
    let done = try engine.prefill(
      rows, function: functions.prefill, wantLogits: false, cancel: context.cancel, progress: context.progress)
    if !done.isComplete { slots = [:] }
  }

  public func propose(_ wishes: [DraftWish]) throws -> [Proposal] {
    var proposals = Array(repeating: Proposal(), count: wishes.count)
    var counts = Array(repeating: 0, count: wishes.count)
    var places: [Int] = []
    var rows: [StepRows] = []
    for (place, wish) in wishes.enumerated() {
      guard let (cache, pending) = catchUp(wish) else { continue }
      // The last proposal is not fed: positions up to tokens.count + count - 2 are taken.
      counts[place] = min(wish.count, cache.limit - wish.tokens.count + 1)
      places.append(place)
      rows.append(StepRows(cache, pending))
    }
    while !rows.isEmpty, context.cancel?.isCancelled != true {
      let step = try engine.step(functions.draft, rows)
      var next: (places: [Int], rows: [StepRows]) = ([], [])
      for (sequence, place) in places.enumerated() {
        let wish = wishes[place]
        let cache = rows[sequence].cache
        try fed(rows[sequence], wish)
        let logits = try step.lastLogits(sequence: sequence)
        let position = wish.tokens.count + proposals[place].tokens.count
        let token = try draw(logits, wish.index, position: position, &proposals[place])
        proposals[place].tokens.append(token)
        if proposals[place].tokens.count < counts[place] {
          next.places.append(place)
          next.rows.append(StepRows(cache, [token]))
        }
      }
      (places, rows) = next
    }
    return proposals
  }

  public func end(_ index: Int) { slots[index] = nil }

  /// Drops what was rejected and says which tokens the draft has not seen. Nil when there is nothing to propose.
  private func catchUp(_ wish: DraftWish) -> (KVCache, ArraySlice<Int32>)? {
    guard var slot = slots[wish.index] else { return nil }
    let same = zip(slot.speculated, wish.tokens[slot.verified...]).prefix { $0 == $1 }.count
    slot.cache.truncate(to: slot.verified + same)
    let pending = wish.tokens[slot.cache.length...]
    guard wish.count > 0, wish.tokens.count <= slot.cache.limit, knows(pending) else {
      slots[wish.index] = nil
      return nil
    }
    slot.verified = slot.cache.length
    slot.speculated = []
    slots[wish.index] = slot
    return (slot.cache, pending)
  }

  /// The rows stand in the cache: the first ones of a round caught up with the sequence, later ones are proposals.
  private func fed(_ rows: StepRows, _ wish: DraftWish) throws {
    try rows.cache.commit(rows.tokens.count)
    if rows.cache.length <= wish.tokens.count {
      slots[wish.index]?.verified = rows.cache.length
    } else {
      slots[wish.index]?.speculated += rows.tokens
    }
  }

  /// A draft's vocabulary may be shorter than the target's.
  private func knows(_ tokens: ArraySlice<Int32>) -> Bool { tokens.allSatisfy { 0 <= $0 && Int($0) < vocabulary } }

  private func draw(
    _ logits: UnsafeBufferPointer<Float>, _ index: Int, position: Int, _ proposal: inout Proposal
  ) throws -> Int32 {
    guard !context.sampling.isGreedy, choice == .sampled, let random = slots[index]?.random else {
      return try argMax(logits, of: "the draft")
    }
    let distribution = try Distribution(logits: logits, sampling: context.sampling, of: "the draft")
    proposal.distributions.append(distribution)
    return distribution.sample(random.uniform(.draft, position: position))
  }
}
