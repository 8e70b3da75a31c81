/// Proposes tokens that were fixed beforehand: always right when given the continuation that the target will produce,
/// always wrong with every token of it replaced. For tests, and to measure a run's best and worst case.
public final class ScriptedDrafter: Drafter {
  private let continuations: [[Int32]]
  private var prompts: [Int: Int] = [:]

  /// - Parameter continuations: What follows the prompt of each sequence of the run, by its number. Where one ends,
  ///   nothing is proposed.
  public init(continuations: [[Int32]]) {
    self.continuations = continuations
  }

  /// - Parameter vocabulary: At least 2; every proposed token is the right one's successor, modulo this.
  public static func wrong(_ continuations: [[Int32]], vocabulary: Int) -> ScriptedDrafter {
    let count = Int32(clamping: max(vocabulary, 1))
    return ScriptedDrafter(continuations: continuations.map { $0.map { token in (token &+ 1) % count } })
  }

  public var traffic: CacheTraffic { CacheTraffic() }

  public func begin(_ sequences: [DraftSequence], _ context: DraftContext) throws {
    prompts = Dictionary(uniqueKeysWithValues: sequences.map { ($0.index, $0.prompt.count) })
  }

  public func propose(_ wishes: [DraftWish]) throws -> [Proposal] {
    wishes.map { wish in
      guard let prompt = prompts[wish.index], continuations.indices.contains(wish.index) else { return Proposal() }
      return Proposal(tokens: Array(continuations[wish.index].dropFirst(wish.tokens.count - prompt).prefix(wish.count)))
    }
  }

  public func end(_ index: Int) {}
}

/// Proposes tokens at random, each equally probable, and says so: the sampled rule has to correct all of it.
public final class RandomDrafter: Drafter {
  private let uniform: Distribution
  private var randoms: [Int: KeyedRandom] = [:]

  /// - Throws: `DiagnosticError` with id `distribution` when the vocabulary is empty.
  public init(vocabulary: Int) throws {
    uniform = try Distribution(weights: Array(repeating: 1, count: max(vocabulary, 0)))
  }

  public var traffic: CacheTraffic { CacheTraffic() }

  public func begin(_ sequences: [DraftSequence], _ context: DraftContext) throws {
    randoms = Dictionary(uniqueKeysWithValues: sequences.map { ($0.index, $0.random) })
  }

  public func propose(_ wishes: [DraftWish]) throws -> [Proposal] {
    wishes.map { wish in
      guard let random = wish.random ?? randoms[wish.index] else { return Proposal() }
      let tokens = (0..<wish.count).map { uniform.sample(random.uniform(.draft, position: wish.tokens.count + $0)) }
      return Proposal(tokens: tokens, distributions: Array(repeating: uniform, count: wish.count))
    }
  }

  public func end(_ index: Int) {}
}
