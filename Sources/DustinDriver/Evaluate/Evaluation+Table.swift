import DustinRunner
import DustinSupport

/// Rows of text under a header; the first column names the row.
struct FigureTable {
  let title: String
  let header: [String]
  var rows: [[String]]

  var text: String {
    var table = TextTable(header)
    for row in rows { table.add(row) }
    return table.text
  }
}

extension Evaluation {
  /// Every figure that there is, a table for each length.
  var tables: String {
    let parts = lengths.map { length in
      "\(grouped(length)) tokens\n" + tables(of: length).map(\.text).joined(separator: "\n")
    }
    return (parts + [longBenchTable?.text].compactMap { $0 }).joined(separator: "\n")
  }

  func tables(of length: Int) -> [FigureTable] {
    ([summary(length)] + [byTask(length), byDepth(length), byRow(length), byBin(length)]).filter { !$0.rows.isEmpty }
  }

  private func cells(of length: Int) -> [EvaluationCell] { cells.filter { $0.length == length } }

  private func share(_ value: Double?) -> String { value.map { fixed(100 * $0, 1) } ?? "" }

  private func signed(_ value: Double, _ error: Double?) -> String {
    let text = (value < 0 ? "" : "+") + fixed(100 * value, 1)
    return error.map { "\(text) ± \(fixed(100 * $0, 1))" } ?? text
  }

  /// One line a target. Columns that no cell fills are left out.
  private func summary(_ length: Int) -> FigureTable {
    let cells = cells(of: length)
    func unlessDense(_ cell: EvaluationCell, _ text: String?) -> String { cell.mode.isDense ? "" : text ?? "" }
    let plain = plain[length]
    func speedColumn(_ title: String, _ value: @escaping (SpeedTally) -> String) -> Column {
      Column(title: title, cell: { $0.speed.map(value) ?? "" }, plain: plain.map(value) ?? "")
    }
    let columns = [
      Column("right %") { self.share($0.retrieval.flatMap { $0.all.count > 0 ? $0.all.accuracy : nil }) },
      Column("lost/won") { cell in unlessDense(cell, cell.retrieval.map { "\($0.all.lost)/\($0.all.won)" }) },
      Column("of") { $0.retrieval.map { "\($0.all.count)" } ?? "" },
      Column("copy %") { self.share($0.retrieval?.copyShare) },
      Column("ppl") { $0.perplexity.map { fixed($0.perplexity, 3) } ?? "" },
      Column("word ppl") { cell in
        self.showsWordPerplexity ? cell.perplexity?.wordPerplexity.map { fixed($0, 2) } ?? "" : ""
      },
      Column("change %") { cell in
        unlessDense(cell, cell.perplexity.map { self.signed($0.change, $0.changeError) })
      },
      Column("KL") { cell in unlessDense(cell, cell.perplexity.map { fixed($0.divergence.mean, 4) }) },
      Column("same top %") { cell in unlessDense(cell, self.share(cell.perplexity?.agreement.mean)) },
      Column("tokens") { $0.perplexity.map { grouped($0.loss.count) } ?? "" },
      Column("ARR %") { self.share($0.recovery?.mean) },
      Column("oracle %") { self.share($0.recovery?.oracle) },
      Column("drift: same %") { self.share($0.drift?.meanAgreement) },
      Column("equal for") { cell in unlessDense(cell, cell.drift.map { fixed($0.meanEqualTokens, 0) }) },
      speedColumn("tok/round") { fixed($0.tokensPerRound, 2) },
      speedColumn("tok/s") { fixed($0.tokensPerSecond, 1) },
      speedColumn("KV kB/tok") { fixed($0.bytesPerToken / 1e3, 0) },
    ]
    let filled = columns.filter { column in cells.contains { !column.cell($0).isEmpty } }
    var rows = cells.map { cell in [cell.mode.text] + filled.map { $0.cell(cell) } }
    if plain != nil { rows.append(["dense, no draft"] + filled.map(\.plain)) }
    return FigureTable(title: "Summary", header: ["verification"] + filled.map(\.title), rows: rows)
  }

  private struct Column {
    let title: String
    let cell: (EvaluationCell) -> String
    /// Of decoding without a draft.
    var plain = ""

    init(title: String, cell: @escaping (EvaluationCell) -> String, plain: String) {
      self.title = title
      self.cell = cell
      self.plain = plain
    }
    init(_ title: String, _ cell: @escaping (EvaluationCell) -> String) {
      self.init(title: title, cell: cell, plain: "")
    }
  }

  private func byTask(_ length: Int) -> FigureTable {
    let cells = cells(of: length).filter { $0.retrieval?.byTask.isEmpty == false }
    let tasks = Set(cells.flatMap { $0.retrieval?.byTask.keys.map { $0 } ?? [] }).sorted()
    return FigureTable(
      title: "Right by task", header: ["right by task"] + tasks,
      rows: cells.map { cell in [cell.mode.text] + tasks.map { right(cell.retrieval?.byTask[$0]) } })
  }

  private func byDepth(_ length: Int) -> FigureTable {
    let cells = cells(of: length).filter { $0.retrieval?.byDepth.isEmpty == false }
    let depths = Set(cells.flatMap { $0.retrieval?.byDepth.keys.map { $0 } ?? [] }).sorted()
    return FigureTable(
      title: "Right by depth of the statement, %", header: ["right by depth, %"] + depths.map(String.init),
      rows: cells.map { cell in [cell.mode.text] + depths.map { right(cell.retrieval?.byDepth[$0]) } })
  }

  private func right(_ count: PairedCount?) -> String { count.map { "\($0.right)/\($0.count)" } ?? "" }

  private func byRow(_ length: Int) -> FigureTable {
    let cells = cells(of: length).filter { $0.recovery != nil }
    let rows = cells.map { $0.recovery?.byRow.count ?? 0 }.max() ?? 0
    func shares(_ means: [GroupedMean]) -> [String] {
      (0..<rows).map { $0 < means.count ? share(means[$0].mean) : "" }
    }
    return FigureTable(
      title: "ARR by row of the round, % (row 0 is the last committed token)",
      header: ["ARR % by row"] + (0..<rows).map(String.init),
      rows: cells.flatMap { cell -> [[String]] in
        guard let recovery = cell.recovery else { return [] }
        return [
          [cell.mode.text] + shares(recovery.byRow), ["  oracle of that size"] + shares(recovery.oracleByRow),
        ]
      })
  }

  private func byBin(_ length: Int) -> FigureTable {
    let cells = cells(of: length).filter { $0.drift != nil }
    let bins = cells.map { $0.drift?.agreement.count ?? 0 }.max() ?? 0
    return FigureTable(
      title: "Long greedy outputs by distance from the prompt: the dense target's own choice %, perplexity under it",
      header: ["drift from token"] + (0..<bins).map { String($0 * DriftTally.binSize) },
      rows: cells.map { cell in
        [cell.mode.text]
          + (0..<bins).map { bin in
            guard let drift = cell.drift, bin < drift.agreement.count else { return "" }
            return "\(share(drift.agreement[bin].mean)) \(fixed(exponential(drift.loss[bin].mean), 2))"
          }
      })
  }
}
