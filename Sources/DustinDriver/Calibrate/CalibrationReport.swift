import DustinModels
import DustinRunner
import DustinSupport

/// What a calibration says of its findings.
struct CalibrationReport {
  let calibration: Calibration
  let heads: (target: HeadScores, draft: HeadScores)

  /// Stage 0: how much of the attention of each layer's best heads falls on the value that is asked for.
  static func heads(_ heads: (target: HeadScores, draft: HeadScores)) -> String {
    var table = TextTable(["retrieval heads", "layer", "head and share of its attention on the asked value"])
    for (name, scores) in [("draft", heads.draft), ("target", heads.target)] {
      for layer in scores.layers(byBest: 4).prefix(4) {
        let best = scores.order(ofLayer: layer).prefix(4).map { "\($0): \(fixed(scores.scores[layer][$0], 2))" }
        table.add([name, "\(layer)", best.joined(separator: "  ")])
      }
    }
    return table.text
  }

  /// Options as `sparsity.json` has them.
  var options: [(name: String, value: String)] {
    let best = calibration.best
    var options: [(name: String, value: String)] = []
    if let look = best.look { options.append(("look", look.optionText)) }
    options.append(("pool", "\(best.pool)"))
    options.append(("granularity", "\(best.granularity)"))
    options.append(("draft", "\(best.draft)"))
    if best.draft > 0 { options.append(("draft-recent", "\(Candidate.draftRecent)")) }
    if best.usesHistory(budget: calibration.plan.budget), let history = best.history {
      options.append(("m", "\(best.m ?? 0)"))
      options.append(("history", history.optionText))
    } else if let history = calibration.history {
      // Whatever the budget, the look-ahead chooses all of it; the history is for presets that choose by nothing else.
      options.append(("m", "\(Self.everything)"))
      options.append(("history", history.optionText))
    }
    return options
  }

  /// No budget is larger.
  private static let everything = 1 << 20

  /// For people, one sentence each.
  var why: [String] {
    let plan = calibration.plan
    var lines = [
      "judged by the KL of sparse verification from dense verification, over \(plan.proseLengths.count * plan.windows) "
        + "windows of prose of \(plan.proseLengths.map(grouped).joined(separator: " and ")) tokens and the answers to "
        + "\(plan.promptLengths.count * plan.prompts) retrieval prompts, at budget \(plan.budget) with seed \(plan.seed)"
    ]
    for (name, scores) in [("draft", heads.draft), ("target", heads.target)] {
      let top = scores.top(4).map { "layer \($0.layer) head \($0.head) (\(fixed($0.score, 2)))" }
      lines.append(
        "retrieval heads of the \(name), by the attention on what is asked for: \(top.joined(separator: ", "))")
    }
    lines += calibration.stages.map(\.reason)
    if let history = calibration.history, !calibration.best.usesHistory(budget: plan.budget) {
      lines.append(
        "no history: m leaves none of the set to \(history.optionText), which serves presets that need a history")
    }
    if let last = calibration.stages.last?.choice.result {
      lines.append(
        "in the end: KL \(fixed(last.divergence, 4)) (prose \(fixed(last.proseDivergence, 4)), answers "
          + "\(fixed(last.retrievalDivergence, 4))), \(last.right) of \(last.prompts) answers right (lost \(last.lost), won "
          + "\(last.won) against dense), \(fixed(last.tokensPerRound, 2)) tokens a round, attention recovery "
          + "\(fixed(last.recovery, 3)) of the oracle's \(fixed(last.oracle, 3))")
    }
    return lines
  }

  func file(target: String, draft: String) -> SparsityFile {
    SparsityFile(target: target, draft: draft, options: options, why: why)
  }
}

extension SparsityFile {
  /// The file, one member a line for people who look into it.
  var text: String {
    guard case .object(let members) = json else { return json.text + "\n" }
    let lines = members.map { key, value -> String in
      guard case .array(let items) = value, !items.isEmpty else { return "  \(JSON.quoted(key)): \(value.text)" }
      return "  \(JSON.quoted(key)): [\n" + items.map { "    \($0.text)" }.joined(separator: ",\n") + "\n  ]"
    }
    return "{\n" + lines.joined(separator: ",\n") + "\n}\n"
  }
}
