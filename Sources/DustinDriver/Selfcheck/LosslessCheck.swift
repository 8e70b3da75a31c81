import DustinRunner
import DustinRuntime
import DustinSupport

/// Shows that greedy speculative decoding gives the tokens of plain decoding, and leaves the cache of a fresh prefill,
/// bit for bit: for γ, batch, threads, and drafts that are real, always wrong or always right.
///
/// Every prompt is read once; all combinations go on from its cache, which is truncated to the prompt again. The
/// reference of a prompt is plain decoding by itself on one thread, so equality in a batch also shows that a sequence
/// does not depend on its neighbours.
public final class LosslessCheck {
  public enum Length: String, Sendable, CaseIterable {
    case half = "0.5k"
    case eight = "8k"
    case thirtyTwo = "32k"

    public var tokens: Int {
      switch self {
      case .half: 512
      case .eight: 8192
      case .thirtyTwo: 32_768
      }
    }
  }
  public enum Draft: String, Sendable, CaseIterable { case real, wrong, right }

  public struct Combination: Sendable, Hashable, CustomStringConvertible {
    public let gamma: Int
    public let batch: Int
    public let threads: Int
    public let draft: Draft
    public var description: String { "gamma \(gamma), batch \(batch), threads \(threads), \(draft) draft" }
  }
  public struct Outcome: Sendable {
    public let combination: Combination
    public let metrics: SpeculationMetrics
    public let seconds: Double
    /// What differs, in words; empty when nothing does.
    public let faults: [String]
  }

  /// All of them at 0.5k; at 8k a subset that holds every pair of two factors' values; at 32k six.
  public static func combinations(for length: Length) -> [Combination] {
    let (batches, drafts) = ([1, 3, 16], Draft.allCases)
    switch length {
    case .half:
      return (1...8).flatMap { gamma in
        batches.flatMap { batch in
          [1, 2].flatMap { threads in
            drafts.map { Combination(gamma: gamma, batch: batch, threads: threads, draft: $0) }
          }
        }
      }
    case .eight:
      // γ and batch in full; 2 and 3 have no common divisor, so threads and draft run through all pairs as well.
      return (1...8).flatMap { gamma in
        batches.indices.map { index in
          Combination(
            gamma: gamma, batch: batches[index], threads: 1 + (gamma + index) % 2, draft: drafts[(gamma + index) % 3])
        }
      }
    case .thirtyTwo:
      return [
        Combination(gamma: 4, batch: 1, threads: 2, draft: .real),
        Combination(gamma: 1, batch: 1, threads: 1, draft: .real),
        Combination(gamma: 8, batch: 1, threads: 1, draft: .wrong),
        Combination(gamma: 8, batch: 1, threads: 2, draft: .right),
        Combination(gamma: 4, batch: 3, threads: 2, draft: .real),
        Combination(gamma: 5, batch: 3, threads: 1, draft: .wrong),
      ]
    }
  }

  /// One prompt, what plain decoding makes of it, and the bits that a fresh prefill of all that leaves behind the prompt.
  private struct Sequence {
    let prompt: [Int32]
    let count: Int
    let expected: [Int32]
    let freshBits: [UInt8]
    let target: KVCache
    let draft: KVCache
  }

  private let target: LoadedModel
  private let draft: LoadedModel
  private let engines: [Int: (target: Engine, draft: Engine)]
  private var sequences: [Sequence] = []

  /// Reads as many prompts as the largest batch among `combinations` needs.
  ///
  /// - Parameters:
  ///   - text: tokens to cut prompts from; short texts are used several times with other starts.
  ///   - newTokens: most new tokens of a sequence.
  public init(
    pair: ModelPair, text: [Int32], length: Length, newTokens: Int, combinations: [Combination]
  ) throws {
    guard let draft = pair.draft else { throw DiagnosticError("draft", "the check needs a draft model") }
    target = pair.target
    self.draft = draft
    var engines: [Int: (target: Engine, draft: Engine)] = [:]
    let counts = Set(combinations.map(\.threads)).union([1])
    for threads in counts {
      let team = try ThreadTeam(threads: threads)
      engines[threads] = (
        try Engine(model: pair.target.compiled, team: team), try Engine(model: draft.compiled, team: team)
      )
    }
    self.engines = engines
    guard !text.isEmpty else { throw DiagnosticError("text", "the text of the check is empty") }
    let widest = engines[counts.max() ?? 1] ?? engines[1]
    for index in 0..<(combinations.map(\.batch).max() ?? 1) {
      // Ragged prompts of different texts, and sequences that end at different times.
      let count = length.tokens - 13 * index
      let start = index * length.tokens % text.count
      let prompt = (0..<count).map { text[(start + $0) % text.count] }
      if let widest { sequences.append(try sequence(prompt, newTokens - index % 5, widest)) }
    }
  }

  private func sequence(
    _ prompt: [Int32], _ count: Int, _ engines: (target: Engine, draft: Engine)
  ) throws -> Sequence {
    let positions = prompt.count + count
    let targetCache = try KVCache(target.compiled, positions: positions)
    let draftCache = try KVCache(draft.compiled, positions: positions)
    for (engine, cache) in [(engines.target, targetCache), (engines.draft, draftCache)] {
      let done = try engine.prefill([StepRows(cache, prompt)], wantLogits: false, cancel: interruption)
      if !done.isComplete { throw Interrupted() }
    }
    let request = GenerationRequest(prompt: prompt, maxNewTokens: count, targetCache: targetCache)
    guard let single = self.engines[1] else { throw DiagnosticError("threads", "no engine with one thread") }
    let loop = try SpeculativeLoop(target: single.target, options: Self.options(gamma: 0), cancel: interruption)
    let expected = try loop.run([request])[0].tokens
    if interruption.isCancelled { throw Interrupted() }

    // What the cache must hold afterwards, from a prefill in one piece. Its prompt is the one that was read above.
    let fresh = try targetCache.fork()
    fresh.truncate(to: prompt.count)
    let rest = expected.dropLast()
    if !rest.isEmpty {
      _ = try engines.target.prefill([StepRows(fresh, Array(rest))], wantLogits: false, cancel: interruption)
    }
    return Sequence(
      prompt: prompt, count: count, expected: expected,
      freshBits: try fresh.bits(ofPositions: prompt.count..<fresh.length), target: targetCache, draft: draftCache)
  }

  private static func options(gamma: Int) -> GenerationOptions {
    var options = GenerationOptions()
    options.gamma = gamma
    return options
  }

  /// Decodes with one combination and compares. Throws only what has nothing to do with equality.
  public func run(_ combination: Combination) throws -> Outcome {
    guard let engine = engines[combination.threads], combination.batch <= sequences.count else {
      throw DiagnosticError("combination", "the check was not prepared for \(combination)")
    }
    let sequences = sequences[..<combination.batch]
    let drafter: any Drafter =
      switch combination.draft {
      case .real: try ModelDrafter(engine: engine.draft, contextSize: draft.contextSize)
      case .wrong: ScriptedDrafter.wrong(sequences.map(\.expected), vocabulary: target.config.vocabSize)
      case .right: ScriptedDrafter(continuations: sequences.map(\.expected))
      }
    let requests = sequences.map { sequence in
      GenerationRequest(
        prompt: sequence.prompt, maxNewTokens: sequence.count, targetCache: sequence.target,
        draftCache: combination.draft == .real ? sequence.draft : nil)
    }
    let loop = try SpeculativeLoop(
      target: engine.target, drafter: drafter, options: Self.options(gamma: combination.gamma), cancel: interruption)
    let start = monotonicSeconds()
    let results = try loop.run(requests)
    let time = monotonicSeconds() - start
    if interruption.isCancelled { throw Interrupted() }

    var faults: [String] = []
    for (number, (sequence, result)) in zip(sequences, results).enumerated() {
      if result.tokens != sequence.expected {
        let place = zip(result.tokens, sequence.expected).prefix { $0 == $1 }.count
        faults.append("sequence \(number) differs from plain decoding at its token \(place + 1)")
        continue
      }
      let cache = sequence.target
      let bits = try cache.bits(ofPositions: sequence.prompt.count..<cache.length)
      if bits != sequence.freshBits {
        faults.append("the cache of sequence \(number) differs from a fresh prefill's")
      }
    }
    faults += Self.faults(of: combination, loop.metrics.speculation)
    return Outcome(combination: combination, metrics: loop.metrics.speculation, seconds: time, faults: faults)
  }

  /// A draft that is always wrong, or always right, must have been found so: otherwise the check checks nothing.
  private static func faults(of combination: Combination, _ metrics: SpeculationMetrics) -> [String] {
    switch combination.draft {
    case .real: metrics.drafted == 0 ? ["nothing was drafted"] : []
    case .wrong: metrics.drafted > 0 && metrics.accepted == 0 ? [] : ["a wrong draft was accepted"]
    case .right: metrics.drafted > 0 && metrics.accepted == metrics.drafted ? [] : ["a right draft was rejected"]
    }
  }
}
