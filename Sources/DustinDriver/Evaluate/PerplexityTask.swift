import DustinRunner
import DustinRuntime
import DustinSupport

/// Scores the tokens of a given continuation under one way of verifying.
///
/// The draft proposes by itself, and the set is chosen from that; the verified rows are the text's own tokens, of which
/// the first three are scored and committed each round, as many as a good draft gets accepted. So a set is as fresh, and as
/// wrong about what comes, as in generation, and the text is the same for all.
struct PerplexityTask {
  let session: EvaluationSession
  let context: PreparedContext
  let continuation: [Int32]

  /// Rows that are scored and committed a round.
  var committed: Int { min(3, session.gamma + 1) }

  /// The last token read and all of the continuation but its last: row i's logits are of token i.
  private var rows: [Int32] { context.tokens.suffix(1) + continuation.dropLast() }

  /// First rows of `count` rounds, spread over the continuation.
  func roundStarts(count: Int) -> [Int] {
    let all = Array(stride(from: 0, to: continuation.count - session.gamma, by: committed))
    guard count > 0, !all.isEmpty else { return [] }
    return Set((0..<count).map { all[all.count * $0 / count] }).sorted()
  }

  /// Dense logits of every token, f32[tokens, vocabulary]. Dense rows are the same bits however they are dealt to steps.
  func denseLogits() throws -> DenseLogits {
    let rounds = try session.base.rounds(
      context, positions: context.tokens.count + continuation.count, gamma: session.gamma)
    var logits = DenseLogits(rows: continuation.count)
    // Results of one step stay below some 100 MB with any vocabulary.
    for start in stride(from: 0, to: rows.count, by: 128) {
      try checkInterruption()
      let part = Array(rows[start..<min(start + 128, rows.count)])
      let step = try rounds.verify(part)
      for row in part.indices { logits.add(try step.logits(row)) }
      try rounds.commit(part.count)
    }
    return logits
  }

  func denseScores(_ dense: DenseLogits) throws -> [PerplexityTally.Token] {
    try continuation.indices.map { index in
      let loss = try dense.row(index) { try negativeLogProbability(continuation[index], $0) }
      return PerplexityTally.Token(loss: loss, denseLoss: loss, divergence: 0, agrees: true)
    }
  }

  /// - Parameter lookAt: First rows of rounds whose sets are wanted.
  func scores(
    _ target: any EvaluationTarget, dense: DenseLogits, lookAt: Set<Int>
  ) throws -> (tokens: [PerplexityTally.Token], sets: [Int: ReadSets]) {
    let rows = self.rows
    let rounds = try target.rounds(
      context, positions: context.tokens.count + rows.count + session.gamma, gamma: session.gamma)
    var tokens: [PerplexityTally.Token] = []
    var sets: [Int: ReadSets] = [:]
    while tokens.count < rows.count {
      try checkInterruption()
      let start = tokens.count
      let step = try rounds.verify(Array(rows[start..<min(start + session.gamma + 1, rows.count)]))
      if lookAt.contains(start) { sets[start] = try rounds.sets() }
      let scored = min(committed, rows.count - start)
      for row in 0..<scored {
        let logits = try step.logits(row)
        let token = continuation[start + row]
        let loss = try negativeLogProbability(token, logits)
        try dense.row(start + row) { denseLogits in
          tokens.append(
            PerplexityTally.Token(
              loss: loss, denseLoss: try negativeLogProbability(token, denseLogits),
              divergence: divergence(denseLogits, logits),
              agrees: try argMax(denseLogits, of: "the target") == argMax(logits, of: "the target")))
        }
      }
      try rounds.commit(scored)
    }
    return (tokens, sets)
  }
}

/// −ln p(token) in nats.
///
/// - Throws: `DiagnosticError` with id `token` for a token without a logit, `logits` when no logit is finite.
func negativeLogProbability(_ token: Int32, _ logits: UnsafeBufferPointer<Float>) throws -> Double {
  guard token >= 0, Int(token) < logits.count else {
    throw DiagnosticError("token", "token \(token) is not in the vocabulary of \(logits.count) tokens")
  }
  let sum = logSumExp(logits)
  guard sum.isFinite else { throw DiagnosticError("logits", "the target's logits are not finite") }
  return sum - Double(logits[Int(token)])
}

/// Rows of logits in one block.
struct DenseLogits {
  private var values: [Float] = []
  private var width = 0
  private let expected: Int

  init(rows: Int) { expected = rows }

  mutating func add(_ row: UnsafeBufferPointer<Float>) {
    if width == 0 {
      width = row.count
      values.reserveCapacity(row.count * expected)
    }
    values.append(contentsOf: row)
  }

  func row<Result>(_ index: Int, _ body: (UnsafeBufferPointer<Float>) throws -> Result) rethrows -> Result {
    try values.withUnsafeBufferPointer {
      try body(UnsafeBufferPointer(rebasing: $0[index * width..<(index + 1) * width]))
    }
  }
}
