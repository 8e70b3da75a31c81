import DustinSupport

/// What became of a proposal.
struct Verdict: Equatable {
  /// Proposed tokens that stand.
  var accepted: Int
  /// The token behind them: the correction of the first rejected one, or the bonus token.
  var next: Int32
}

/// The lossless acceptance rules (Leviathan et al. 2023, Chen et al. 2023).
enum Acceptance {
  /// Accepts while the target's own choice is the proposed token.
  ///
  /// - Parameter choice: The target's greatest logit behind `row` proposed tokens.
  static func greedy(_ proposal: [Int32], choice: (_ row: Int) throws -> Int32) rethrows -> Verdict {
    for (row, token) in proposal.enumerated() {
      let best = try choice(row)
      if best != token { return Verdict(accepted: row, next: best) }
    }
    return Verdict(accepted: proposal.count, next: try choice(proposal.count))
  }

  /// Accepts x ~ q with min(1, p(x)/q(x)); draws the first rejected position from norm(max(p − q, 0)), and one more from
  /// p when all stand. The tokens then follow p exactly.
  ///
  /// - Parameters:
  ///   - position: Of the first proposed token.
  ///   - target: p behind `row` proposed tokens.
  /// - Throws: `DiagnosticError` with id `proposal` for a token that cannot have been drawn from its q.
  static func sampled(
    _ proposal: Proposal, position: Int, random: KeyedRandom, target: (_ row: Int) throws -> Distribution
  ) throws -> Verdict {
    guard proposal.distributions.isEmpty || proposal.distributions.count == proposal.tokens.count else {
      throw DiagnosticError(
        "proposal", "the drafter gave \(proposal.distributions.count) distributions for \(proposal.tokens.count) tokens"
      )
    }
    for (row, token) in proposal.tokens.enumerated() {
      let p = try target(row)
      let q = proposal.distributions.isEmpty ? nil : proposal.distributions[row]
      let probability = q?.probability(of: token) ?? 1
      guard probability > 0 else {
        throw DiagnosticError(
          "proposal", "the drafter proposed token \(token), to which its distribution gives nothing")
      }
      if random.uniform(.accept, position: position + row) * probability < p.probability(of: token) { continue }
      let rest = q.map(p.residual) ?? p.residual(point: token)
      return Verdict(accepted: row, next: rest.sample(random.uniform(.sample, position: position + row)))
    }
    let count = proposal.tokens.count
    let bonus = try target(count)
    return Verdict(accepted: count, next: bonus.sample(random.uniform(.sample, position: position + count)))
  }
}
