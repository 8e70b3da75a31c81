import DustinRunner

/// One page with plots and all figures of an evaluation, complete in itself: no scripts, nothing from a network.
struct ReportPage {
  let evaluation: Evaluation
  /// What is told about the run: command line, models, machine.
  let facts: [(name: String, value: String)]

  var text: String {
    var body = Markup.element("h1", [], "What sparse verification costs and gains")
    body += Markup.element(
      "p", [("class", "soft")],
      "Every way of verifying answered the same prompts and read the same texts as dense verification. Rest the pointer "
        + "on a mark for its figures.")
    body += Markup.element(
      "dl", [],
      facts.map {
        Markup.element("dt", [("class", "soft")], Markup.escaped($0.name)) + Markup.element("dd", [], fact($0))
      }.joined())
    for length in evaluation.lengths {
      body += Markup.element("h2", [], "\(grouped(length)) tokens")
      body += Markup.element("div", [("class", "plots")], plots(length).joined(separator: "\n"))
      for table in evaluation.tables(of: length) {
        body += Markup.element("h3", [], Markup.escaped(table.title)) + html(table)
      }
    }
    if let table = evaluation.longBenchTable {
      body += Markup.element("h2", [], Markup.escaped(table.title)) + html(table)
    }
    body += Markup.element("h2", [], "How to read the figures") + notes
    let head =
      Markup.element("meta", [("charset", "utf-8")])
      + Markup.element("meta", [("name", "viewport"), ("content", "width=device-width, initial-scale=1")])
      + Markup.element("title", [], "dustin eval") + Markup.element("style", [], ReportStyle.css)
    return "<!DOCTYPE html>\n"
      + Markup.element(
        "html", [("lang", "en")], Markup.element("head", [], head) + "\n" + Markup.element("body", [], body)) + "\n"
  }

  private func fact(_ fact: (name: String, value: String)) -> String {
    Markup.element("code", [], Markup.escaped(fact.value))
  }

  private func html(_ table: FigureTable) -> String {
    func row(_ cells: [String], _ tag: String) -> String {
      Markup.element("tr", [], cells.map { Markup.element(tag, [], Markup.escaped($0)) }.joined())
    }
    let head = Markup.element("thead", [], row(table.header, "th"))
    let width = table.header.count
    let body = table.rows.map { row($0 + Array(repeating: "", count: max(0, width - $0.count)), "td") }.joined()
    return Markup.element(
      "div", [("class", "scroll")], Markup.element("table", [], head + Markup.element("tbody", [], body)))
  }

  private var notes: String {
    let lines = [
      "right %: greedy text begins with the answer; copy prompts are left out of it. lost/won: wrong where dense "
        + "verification is right, and the reverse.",
      "copy %: the share of the answer's tokens that come in the output in the same order.",
      "ppl: perplexity of books' continuations. The draft proposes by itself, positions are chosen from that, the book's "
        + "tokens are verified, and the first three rows of a round are scored and committed. change %: against dense, "
        + "token by token on the same text; the standard error is over windows. KL: D(dense ‖ this) in nats a token. "
        + "same top %: the most probable token is the dense one.",
      "ARR: the share of the dense target's attention that falls on what a round read, averaged over layers and heads; "
        + "the oracle reads the best positions of the same number.",
      "drift: long greedy outputs, read again by dense verification: the share of tokens that it would have chosen. "
        + "equal for: tokens until the output leaves the dense one.",
      "tok/round: the bonus token included. KV kB/tok: bytes of keys and values read a token, target and draft.",
    ]
    return Markup.element("ul", [], lines.map { Markup.element("li", [], Markup.escaped($0)) }.joined())
  }

  // MARK: Plots

  private func plots(_ length: Int) -> [String] {
    [
      accuracyByBudget(length), speedAgainstAccuracy(length), perplexityByBytes(length), perplexityByBudget(length),
      recoveryByRow(length), recoveryByLayer(length), accuracyByDepth(length), drift(length), phases(length),
    ].compactMap { $0 }
  }

  private func cells(_ length: Int) -> [EvaluationCell] { evaluation.cells.filter { $0.length == length } }

  /// Presets in the order in which they were given; dense is 0 everywhere.
  private var presets: [String] {
    evaluation.cells.reduce(into: []) { if !$0.contains($1.mode.preset) { $0.append($1.mode.preset) } }
  }

  /// A line for each preset, through its budgets.
  private func series(
    _ length: Int, _ point: (EvaluationCell) -> LinePlot.Point?
  ) -> [LinePlot.Series] {
    presets.enumerated().compactMap { color, preset in
      let points = cells(length).filter { $0.mode.preset == preset }
        .sorted { ($0.mode.budget ?? 0) < ($1.mode.budget ?? 0) }.compactMap(point)
      return points.isEmpty ? nil : LinePlot.Series(name: preset, color: color, points: points)
    }
  }

  /// A line for each way of verifying, through what it has at places along the axis.
  private func lines(_ length: Int, _ points: (EvaluationCell) -> [LinePlot.Point]) -> [LinePlot.Series] {
    cells(length).enumerated().compactMap { color, cell in
      let points = points(cell)
      return points.isEmpty ? nil : LinePlot.Series(name: cell.mode.text, color: color, points: points)
    }
  }

  private func percent(_ value: Double, _ decimals: Int = 1) -> String { "\(fixed(100 * value, decimals)) %" }

  private func accuracyByBudget(_ length: Int) -> String? {
    var plot = LinePlot(
      title: "Retrieval against budget", xLabel: "budget, positions", yLabel: "right, %",
      series: series(length) { cell in
        guard let budget = cell.mode.budget, let tally = cell.retrieval, tally.all.count > 0 else { return nil }
        return LinePlot.Point(
          x: Double(budget), y: 100 * tally.all.accuracy,
          hint:
            "budget \(budget): \(tally.all.right) of \(tally.all.count) right, lost \(tally.all.lost), won \(tally.all.won)"
        )
      })
    plot.xKind = .powersOfTwo
    plot.yLimits = 0...100
    if let dense = evaluation.cell(.dense, length)?.retrieval, dense.all.count > 0 {
      plot.levels = [LinePlot.Level(name: "dense", y: 100 * dense.all.accuracy)]
    }
    return plot.markup
  }

  private func speedAgainstAccuracy(_ length: Int) -> String? {
    let plain = evaluation.plain[length]?.tokensPerSecond ?? 0
    var plot = LinePlot(
      title: "Speed against accuracy", xLabel: plain > 0 ? "speed, times plain decoding" : "tokens a second",
      yLabel: "right, %",
      series: series(length) { cell in
        guard let speed = cell.speed, speed.tokensPerSecond > 0, let tally = cell.retrieval, tally.all.count > 0 else {
          return nil
        }
        return LinePlot.Point(
          x: plain > 0 ? speed.tokensPerSecond / plain : speed.tokensPerSecond, y: 100 * tally.all.accuracy,
          hint: "\(cell.mode.text): \(fixed(speed.tokensPerSecond, 1)) tokens/s, \(percent(tally.all.accuracy)) right")
      })
    plot.yLimits = 0...100
    plot.xIncluding = [0]
    return plot.markup
  }

  private func perplexityByBytes(_ length: Int) -> String? {
    var plot = LinePlot(
      title: "Perplexity against bytes", xLabel: "KV kB read a token, target and draft", yLabel: "perplexity",
      series: series(length) { cell in
        guard let speed = cell.speed, let tally = cell.perplexity else { return nil }
        return LinePlot.Point(
          x: speed.bytesPerToken / 1e3, y: tally.perplexity,
          hint: "\(cell.mode.text): \(fixed(tally.perplexity, 3)) at \(fixed(speed.bytesPerToken / 1e3, 1)) kB")
      })
    plot.xIncluding = [0]
    if let dense = evaluation.cell(.dense, length)?.perplexity {
      plot.levels = [LinePlot.Level(name: "dense", y: dense.perplexity)]
    }
    return plot.markup
  }

  private func perplexityByBudget(_ length: Int) -> String? {
    var plot = LinePlot(
      title: "Perplexity against budget", xLabel: "budget, positions", yLabel: "change against dense, %",
      series: series(length) { cell in
        guard let budget = cell.mode.budget, let tally = cell.perplexity else { return nil }
        return LinePlot.Point(
          x: Double(budget), y: 100 * tally.change, error: tally.changeError.map { 100 * $0 },
          hint: "budget \(budget): \(percent(tally.change, 2)) ± \(percent(tally.changeError ?? 0, 2)), "
            + "KL \(fixed(tally.divergence.mean, 4))")
      })
    plot.xKind = .powersOfTwo
    plot.yIncluding = [0]
    return plot.markup
  }

  private func recoveryByRow(_ length: Int) -> String? {
    var plot = LinePlot(
      title: "Attention recovery by depth in the round", xLabel: "row of the round (0: the last committed token)",
      yLabel: "ARR, %",
      series: lines(length) { cell in
        (cell.recovery?.byRow ?? []).enumerated().map { row, mean in
          LinePlot.Point(x: Double(row), y: 100 * mean.mean, hint: "row \(row): \(percent(mean.mean))")
        }
      })
    // The oracle depends on the number of positions only: one line for each budget.
    var budgets: Set<Int> = []
    for cell in cells(length) {
      guard let recovery = cell.recovery, let budget = cell.mode.budget, budgets.insert(budget).inserted else {
        continue
      }
      plot.series.append(
        LinePlot.Series(
          name: "oracle of \(budget)", color: 9,
          points: recovery.oracleByRow.enumerated().map { row, mean in
            LinePlot.Point(x: Double(row), y: 100 * mean.mean, hint: "row \(row): \(percent(mean.mean))")
          }, isDashed: true))
    }
    return plot.markup
  }

  private func recoveryByLayer(_ length: Int) -> String? {
    LinePlot(
      title: "Attention recovery by layer", xLabel: "layer", yLabel: "ARR, %",
      series: lines(length) { cell in
        (cell.recovery?.byLayer ?? []).enumerated().map { layer, mean in
          LinePlot.Point(x: Double(layer), y: 100 * mean.mean, hint: "layer \(layer): \(percent(mean.mean))")
        }
      }
    ).markup
  }

  private func accuracyByDepth(_ length: Int) -> String? {
    var plot = LinePlot(
      title: "Retrieval by depth of the statement", xLabel: "text before the statement, %", yLabel: "right, %",
      series: lines(length) { cell in
        (cell.retrieval?.byDepth ?? [:]).sorted { $0.key < $1.key }.map { depth, count in
          LinePlot.Point(
            x: Double(depth), y: 100 * count.accuracy, hint: "\(depth) %: \(count.right) of \(count.count)")
        }
      })
    plot.yLimits = 0...100
    return plot.markup
  }

  private func drift(_ length: Int) -> String? {
    var plot = LinePlot(
      title: "Drift over long outputs", xLabel: "tokens behind the prompt",
      yLabel: "the dense target's own choice, %",
      series: lines(length) { cell in
        (cell.drift?.agreement ?? []).enumerated().map { bin, mean in
          let first = bin * DriftTally.binSize
          return LinePlot.Point(
            x: Double(first), y: 100 * mean.mean, hint: "from token \(first): \(percent(mean.mean))")
        }
      })
    plot.yLimits = 0...100
    return plot.markup
  }

  private func phases(_ length: Int) -> String? {
    let timed = cells(length).filter { ($0.speed?.rounds ?? 0) > 0 }
    guard let parts = timed.first?.speed?.phases.map(\.name) else { return nil }
    return BarPlot(
      title: "Time per phase", xLabel: "milliseconds a round", parts: parts,
      bars: timed.map { cell in
        let rounds = Double(max(1, cell.speed?.rounds ?? 1))
        return BarPlot.Bar(name: cell.mode.text, values: (cell.speed?.phases ?? []).map { 1e3 * $0.seconds / rounds })
      }
    ).markup
  }
}
