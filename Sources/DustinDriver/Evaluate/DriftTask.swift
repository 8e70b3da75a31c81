import DustinRunner
import DustinRuntime
import DustinSupport

/// Reads outputs again, densely: how probable the dense target finds them, and where it would have gone on otherwise.
struct DriftTask {
  let session: EvaluationSession
  let context: PreparedContext

  /// - Returns: For every token of the output whether it is the dense target's choice after the same text, and −ln p.
  func score(_ output: [Int32]) throws -> (agrees: [Bool], loss: [Double]) {
    let rows = context.tokens.suffix(1) + output.dropLast()
    let rounds = try session.base.rounds(
      context, positions: context.tokens.count + output.count, gamma: session.gamma)
    var agrees: [Bool] = []
    var loss: [Double] = []
    for start in stride(from: 0, to: output.count, by: 128) {
      try checkInterruption()
      let part = Array(rows.dropFirst(start).prefix(128))
      let step = try rounds.verify(part)
      for row in part.indices {
        let logits = try step.logits(row)
        agrees.append(try argMax(logits, of: "the target") == output[start + row])
        loss.append(try negativeLogProbability(output[start + row], logits))
      }
      try rounds.commit(part.count)
    }
    return (agrees, loss)
  }
}
