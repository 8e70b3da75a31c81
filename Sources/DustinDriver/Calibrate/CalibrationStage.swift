import DustinIR
import DustinPasses
import DustinRunner

/// Candidates that differ in one thing, and which of them was chosen.
struct CalibrationStage {
  struct Entry {
    let label: String
    let candidate: Candidate
    let result: CandidateResult
    let scoringBytes: Int
    let scoredHeads: Int
  }
  /// What decides between candidates whose divergence is as good as equal.
  enum Preference {
    /// Fewer bytes of keys that scoring reads, then fewer heads, then more tokens a round.
    case scoring
    /// Fewer bytes a token of free text: what the draft reads against the tokens that it brings.
    case reading
  }
  let title: String
  let entries: [Entry]
  let chosen: Int
  /// Why that one, in one sentence.
  let reason: String

  var choice: Entry { entries[chosen] }

  /// A divergence within this share of the least one is as good.
  static let tolerance = 0.02

  /// Nil without entries.
  init?(_ title: String, _ entries: [Entry], prefers preference: Preference) {
    let leastLost = entries.map(\.result.netLost).min() ?? 0
    let kept = entries.indices.filter { entries[$0].result.netLost <= leastLost }
    guard
      let best = kept.min(by: { (entries[$0].result.divergence, $0) < (entries[$1].result.divergence, $1) })
    else { return nil }
    let least = entries[best].result.divergence
    let near = kept.filter { entries[$0].result.divergence <= least * (1 + Self.tolerance) }
    let chosen =
      near.min { a, b in
        let (x, y) = (entries[a], entries[b])
        let (p, q) = (x.result, y.result)
        switch preference {
        case .scoring:
          return (x.scoringBytes, x.scoredHeads, -p.tokensPerRound, p.divergence, a)
            < (y.scoringBytes, y.scoredHeads, -q.tokensPerRound, q.divergence, b)
        case .reading:
          return (p.bytesPerToken, p.divergence, Double(a)) < (q.bytesPerToken, q.divergence, Double(b))
        }
      } ?? best
    self.title = title
    self.entries = entries
    self.chosen = chosen
    reason = Self.reason(title, entries, kept: kept, best: best, chosen: chosen, preference)
  }

  private static func reason(
    _ title: String, _ entries: [Entry], kept: [Int], best: Int, chosen: Int, _ preference: Preference
  ) -> String {
    let (own, least) = (entries[chosen], entries[best])
    var text = "\(title): \(own.label), KL \(fixed(own.result.divergence, 4))"
    if chosen == best {
      text += entries.count > 1 ? ", the least of \(entries.count)" : ", the only one"
    } else {
      text += ", within \(Int(100 * tolerance)) % of the least (\(least.label), \(fixed(least.result.divergence, 4)))"
      switch preference {
      case .scoring where own.scoringBytes < least.scoringBytes:
        text += ", and scoring reads \(own.scoringBytes) in place of \(least.scoringBytes) bytes a position"
      case .scoring where own.scoredHeads < least.scoredHeads:
        text += ", and \(own.scoredHeads) in place of \(least.scoredHeads) heads score"
      case .scoring:
        text +=
          ", at \(fixed(own.result.tokensPerRound, 2)) tokens a round against \(fixed(least.result.tokensPerRound, 2))"
      case .reading:
        text +=
          ", and a token reads \(megabytes(own.result.bytesPerToken)) against \(megabytes(least.result.bytesPerToken))"
      }
    }
    let out = entries.indices.filter { !kept.contains($0) }
    if !out.isEmpty {
      text +=
        "; lost more answers: "
        + out.map { "\(entries[$0].label) (\(entries[$0].result.lost))" }.joined(separator: ", ")
    }
    return text
  }

  /// The candidates as a table, the chosen one marked.
  var text: String {
    var table = TextTable([
      "", "", "KL", "prose", "answers", "right", "lost", "won", "tok/round", "MB/tok", "ARR", "B/pos",
    ])
    for (number, entry) in entries.enumerated() {
      let result = entry.result
      table.add([
        entry.label, number == chosen ? "*" : "", fixed(result.divergence, 4), fixed(result.proseDivergence, 4),
        fixed(result.retrievalDivergence, 4), "\(result.right)", "\(result.lost)", "\(result.won)",
        fixed(result.tokensPerRound, 2), fixed(result.bytesPerToken / 1e6, 1), fixed(result.recovery, 3),
        "\(entry.scoringBytes)",
      ])
    }
    return "\(title)\n\(table.text)  \(reason)\n"
  }
}

/// Bytes for people: `12.3 MB`.
private func megabytes(_ bytes: Double) -> String { "\(fixed(bytes / 1e6, 1)) MB" }
