import DustinSupport

extension Evaluation {
  /// Every figure that there is, a table for each length.
  var tables: String {
    lengths.map { length in
      "\(grouped(length)) tokens\n" + summary(length).text + details(length)
    }.joined(separator: "\n")
  }

  private func share(_ value: Double?) -> String { value.map { fixed(100 * $0, 1) } ?? "" }

  private func signed(_ value: Double, _ error: Double?) -> String {
    let text = (value < 0 ? "" : "+") + fixed(100 * value, 1)
    return error.map { "\(text) ± \(fixed(100 * $0, 1))" } ?? text
  }

  /// One line a target. Columns that no cell fills are left out.
  private func summary(_ length: Int) -> TextTable {
    let cells = cells.filter { $0.length == length }
    let columns: [(title: String, cell: (EvaluationCell) -> String)] = [
      ("right %", { $0.retrieval.map { self.share($0.all.accuracy) } ?? "" }),
      ("lost/won", { $0.mode.isDense ? "" : $0.retrieval.map { "\($0.all.lost)/\($0.all.won)" } ?? "" }),
      ("of", { $0.retrieval.map { "\($0.all.count)" } ?? "" }),
      ("copy %", { self.share($0.retrieval?.copyShare) }),
      ("ppl", { $0.perplexity.map { fixed($0.perplexity, 3) } ?? "" }),
      ("ppl change %", { $0.mode.isDense ? "" : $0.perplexity.map { self.signed($0.change, $0.changeError) } ?? "" }),
      ("KL", { $0.mode.isDense ? "" : $0.perplexity.map { fixed($0.divergence.mean, 4) } ?? "" }),
      ("same greedy %", { $0.mode.isDense ? "" : self.share($0.perplexity?.agreement.mean) }),
      ("ARR %", { self.share($0.recovery?.mean) }),
      ("oracle %", { self.share($0.recovery?.oracle) }),
      ("drift: agree %", { self.share($0.drift?.meanAgreement) }),
      ("equal tokens", { $0.mode.isDense ? "" : $0.drift.map { fixed($0.meanEqualTokens, 0) } ?? "" }),
      ("tok/round", { $0.speed.map { fixed($0.tokensPerRound, 2) } ?? "" }),
      ("tok/s", { $0.speed.map { fixed($0.tokensPerSecond, 1) } ?? "" }),
      ("KV kB/tok", { $0.speed.map { fixed($0.bytesPerToken / 1e3, 0) } ?? "" }),
    ]
    let filled = columns.filter { column in cells.contains { !column.cell($0).isEmpty } }
    var table = TextTable(["verification"] + filled.map(\.title))
    for cell in cells { table.add([cell.mode.text] + filled.map { $0.cell(cell) }) }
    if let plain = plain[length] {
      table.add(
        ["dense, no draft"]
          + filled.map { column in
            switch column.title {
            case "tok/round": fixed(plain.tokensPerRound, 2)
            case "tok/s": fixed(plain.tokensPerSecond, 1)
            case "KV kB/tok": fixed(plain.bytesPerToken / 1e3, 0)
            default: ""
            }
          })
    }
    return table
  }

  /// Accuracy by task and by depth.
  private func details(_ length: Int) -> String {
    let cells = cells.filter { $0.length == length && $0.retrieval != nil }
    func table(_ title: String, _ keys: [String], _ value: (RetrievalTally, String) -> PairedCount?) -> String {
      if keys.isEmpty { return "" }
      var table = TextTable([title] + keys)
      for cell in cells {
        table.add(
          [cell.mode.text]
            + keys.map { key in
              cell.retrieval.flatMap { value($0, key) }.map { "\($0.right)/\($0.count)" } ?? ""
            })
      }
      return "\n" + table.text
    }
    let tasks = Set(cells.flatMap { $0.retrieval?.byTask.keys.map { $0 } ?? [] }).sorted()
    let depths = Set(cells.flatMap { $0.retrieval?.byDepth.keys.map { $0 } ?? [] }).sorted()
    return table("right by task", tasks) { $0.byTask[$1] }
      + table("right by depth, %", depths.map(String.init)) { tally, key in Int(key).flatMap { tally.byDepth[$0] } }
  }
}
