import DustinSupport

/// Proposes with a smaller model of the same vocabulary, and looks ahead for the target: if the draft's program has a
/// function `look`, that one makes signals or sets of the rows that the draft's steps left.
///
/// If `look` takes rows, or signals that the draft's steps add up, the draft is run once more, on its last proposal, so that
/// its rows are those that verification will feed: the sequence's last token and every proposed one. `look` sees as many
/// positions as the target has committed. It runs when the target is about to choose positions, when the draft's own policy
/// says so if its steps read through what `look` makes, and over the prompt's last row before the first round.
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
    /// Need not be there.
    public var look = "look"
    public init() {}
  }

  private struct Slot {
    var cache: KVCache
    var random: KeyedRandom
    /// Tokens of the prompt, which never change.
    let promptCount: Int
    /// Tokens at the cached positions: the sequence's, and behind them proposals.
    var tokens: [Int32]
    /// Proposals since it looked ahead, 0: what it offers is of the last one; nil: never.
    var age: Int?
  }

  private let engine: Engine
  private let contextSize: Int
  private let choice: Choice
  private let functions: Functions
  private let vocabulary: Int
  private let look: CompiledFunction?
  /// The draft's steps read through what `look` makes.
  private let readsOwnSets: Bool
  /// Signals that the draft's steps add to: zero when a round begins.
  private let running: [Int]
  /// What `look` makes is made of the rows of a round.
  private let looksAtRows: Bool
  /// Rows of a sequence that one step of the draft takes.
  private let mostRows: Int
  private var context = DraftContext(sampling: Sampling())
  private var slots: [Int: Slot] = [:]

  public let offers: [Program.SequenceValue]

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
    let program = engine.model.program
    _ = try engine.model.function(functions.prefill)
    let draft = try engine.model.function(functions.draft)
    vocabulary = try draft.result("logits").port.count
    let look = program.function(functions.look) == nil ? nil : try engine.model.function(functions.look)
    self.look = look
    offers = look.map { $0.valueResults.map { program.sequenceValues[$0.value] } } ?? []
    running = draft.runningValues
    looksAtRows =
      look.map { [running] in !$0.rowArguments.isEmpty || $0.valueArguments.contains(where: running.contains) } ?? false
    mostRows = draft.maxRows
    readsOwnSets = look.map { $0.valueResults.contains { draft.valueArguments.contains($0.value) } } ?? false
  }

  public var traffic: CacheTraffic { engine.traffic }

  public func begin(_ sequences: [DraftSequence], _ context: DraftContext) throws {
    self.context = context
    slots = [:]
    var rows: [StepRows] = []
    var caches: [KVCache] = []
    for sequence in sequences {
      let limit = min(sequence.limit, sequence.cache?.limit ?? contextSize, contextSize)
      guard sequence.prompt.count <= limit, knows(sequence.prompt[...]) else { continue }
      let cache = try sequence.cache ?? KVCache(engine.model, positions: limit)
      // To look ahead, the last row is wanted, not only its keys and values.
      cache.truncate(to: sequence.prompt.count - (look == nil ? 0 : 1))
      slots[sequence.index] = Slot(
        cache: cache, random: sequence.random, promptCount: sequence.prompt.count, tokens: sequence.prompt)
      caches.append(cache)
      if cache.length < sequence.prompt.count { rows.append(StepRows(cache, sequence.prompt[cache.length...])) }
    }
    if rows.isEmpty { return }
    let done = try engine.prefill(
      rows, function: functions.prefill, wantLogits: false, cancel: context.cancel, progress: context.progress)
    guard done.isComplete, context.cancel?.isCancelled != true else {
      slots = [:]
      return
    }
    if let look, readsOwnSets {
      // A cache that a caller brings may hold the sums of an earlier run.
      for cache in caches { cache.clearValues(running) }
      _ = try engine.step(look.name, caches.map { StepRows($0) })
      for index in slots.keys { slots[index]?.age = 0 }
    }
  }

  public func propose(_ wishes: [DraftWish]) throws -> [Proposal] {
    var proposals = Array(repeating: Proposal(), count: wishes.count)
    var counts = Array(repeating: 0, count: wishes.count)
    var places: [Int] = []
    var rows: [StepRows] = []
    var lookers: Set<Int> = []
    for (place, wish) in wishes.enumerated() {
      guard let (cache, pending) = try catchUp(wish) else { continue }
      let looks = looksAhead(wish)
      if looks { lookers.insert(place) }
      // If the last proposal is not fed, positions up to tokens.count + count - 2 are taken.
      counts[place] = min(wish.count, cache.limit - wish.tokens.count + (looks && looksAtRows ? 0 : 1))
      if counts[place] == 0, !looks { continue }
      places.append(place)
      cache.clearValues(running)
      rows.append(StepRows(cache, pending, scored: wish.tokens.count - 1))
    }
    var isFirst = true
    while !rows.isEmpty, context.cancel?.isCancelled != true {
      let step = try engine.step(functions.draft, rows)
      var next: (places: [Int], rows: [StepRows]) = ([], [])
      for (sequence, place) in places.enumerated() {
        let cache = rows[sequence].cache
        let fed = rows[sequence].tokens.count
        // Of the tokens that it catches up with only the last one is a row of verification.
        if looksAtRows { try step.keep(sequence: sequence, rows: fed - 1..<fed, appending: !isFirst) }
        try cache.commit(fed)
        slots[wishes[place].index]?.tokens += rows[sequence].tokens
        if proposals[place].tokens.count == counts[place] { continue }
        let position = wishes[place].tokens.count + proposals[place].tokens.count
        let token = try draw(step.lastLogits(sequence: sequence), wishes[place], position, &proposals[place])
        proposals[place].tokens.append(token)
        if (looksAtRows && lookers.contains(place)) || proposals[place].tokens.count < counts[place] {
          next.places.append(place)
          next.rows.append(StepRows(cache, [token], scored: wishes[place].tokens.count - 1))
        }
      }
      (places, rows) = next
      isFirst = false
    }
    if context.cancel?.isCancelled != true { try lookAhead(lookers.sorted().map { wishes[$0] }) }
    return proposals
  }

  public func offer(_ index: Int, to cache: KVCache) throws -> Bool {
    guard let slot = slots[index], slot.age == 0 else { return false }
    let positions = min(slot.cache.length, cache.length)
    try cache.copyValues(from: slot.cache, positions: positions, names: Set(offers.map(\.name)))
    return true
  }

  public func end(_ index: Int) { slots[index] = nil }

  /// Drops what was rejected and says which tokens the draft has not seen, no more than a step of it takes. Nil when there
  /// is nothing to propose.
  private func catchUp(_ wish: DraftWish) throws -> (KVCache, ArraySlice<Int32>)? {
    guard var slot = slots[wish.index] else { return nil }
    // The last token is fed in any case: its logits are the next proposal.
    let most = min(slot.tokens.count, wish.tokens.count - 1)
    var same = min(slot.promptCount, most)
    while same < most, slot.tokens[same] == wish.tokens[same] { same += 1 }
    slot.cache.truncate(to: same)
    slot.tokens.removeLast(slot.tokens.count - slot.cache.length)
    slot.age = slot.age.map { $0 + 1 }
    let pending = wish.tokens[slot.cache.length...]
    guard wish.tokens.count <= slot.cache.limit, knows(pending) else {
      slots[wish.index] = nil
      return nil
    }
    // A signal is made by the last row of one step: what does not fit into that goes before.
    let early = running.isEmpty ? 0 : max(0, pending.count - mostRows)
    if early > 0 {
      let rows = StepRows(slot.cache, pending.prefix(early))
      let done = try engine.prefill([rows], function: functions.prefill, wantLogits: false, cancel: context.cancel)
      guard done.isComplete else {
        slots[wish.index] = nil
        return nil
      }
      slot.tokens += pending.prefix(early)
    }
    slots[wish.index] = slot
    return (slot.cache, pending.dropFirst(early))
  }

  private func looksAhead(_ wish: DraftWish) -> Bool {
    guard look != nil, let slot = slots[wish.index] else { return false }
    let isOld = slot.age.map { $0 >= engine.model.program.policy.refresh } ?? true
    return wish.wantsValues || (readsOwnSets && isOld)
  }

  private func lookAhead(_ wishes: [DraftWish]) throws {
    guard let look, !wishes.isEmpty else { return }
    // The target has committed all tokens but the last.
    _ = try engine.step(
      look.name,
      wishes.compactMap { wish in
        slots[wish.index].map { StepRows($0.cache, length: wish.tokens.count - 1) }
      })
    for wish in wishes { slots[wish.index]?.age = 0 }
  }

  /// A draft's vocabulary may be shorter than the target's.
  private func knows(_ tokens: ArraySlice<Int32>) -> Bool { tokens.allSatisfy { 0 <= $0 && Int($0) < vocabulary } }

  private func draw(
    _ logits: UnsafeBufferPointer<Float>, _ wish: DraftWish, _ position: Int, _ proposal: inout Proposal
  ) throws -> Int32 {
    guard !context.sampling.isGreedy, choice == .sampled, !wish.wantsCertain,
      let random = wish.random ?? slots[wish.index]?.random
    else {
      return try argMax(logits, of: "the draft")
    }
    let distribution = try Distribution(logits: logits, sampling: context.sampling, of: "the draft")
    proposal.distributions.append(distribution)
    return distribution.sample(random.uniform(.draft, position: position))
  }
}
