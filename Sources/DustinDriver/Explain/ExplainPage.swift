import DustinIR
import DustinRunner
import DustinRuntime
import DustinSupport

/// One page that shows what a pair of models became: passes, functions, kernels. Complete in itself: no scripts, nothing
/// from a network.
struct ExplainPage {
  struct Model {
    let title: String
    /// In stage planned.
    let module: Module
    let record: CompilationRecord
    let program: Program
    /// Empty without measurements.
    let times: [CallTimes.Function]
  }
  let title: String
  let facts: [(name: String, value: String)]
  let models: [Model]

  var text: String {
    var body = Markup.element("h1", [], Markup.escaped(title))
    body += Markup.element(
      "p", [("class", "soft")],
      "What the passes make of the models, and what it costs. Rest the pointer on a box for the operation's whole line."
    )
    body += Markup.element(
      "dl", [],
      facts.map {
        Markup.element("dt", [("class", "soft")], Markup.escaped($0.name))
          + Markup.element("dd", [], Markup.element("code", [], Markup.escaped($0.value)))
      }.joined())
    for model in models {
      body += Markup.element("h2", [], Markup.escaped("The \(model.title): what a token reads")) + costs(model)
      body += Markup.element("h2", [], Markup.escaped("The \(model.title): pass by pass")) + passes(model)
      body += Markup.element("h2", [], Markup.escaped("The \(model.title): functions"))
      body += model.module.functions.map { function(model, $0) }.joined(separator: "\n")
      if !model.times.isEmpty {
        body += Markup.element("h2", [], Markup.escaped("The \(model.title): kernels"))
        body += model.times.map(kernels).joined(separator: "\n")
      }
    }
    body += Markup.element("h2", [], "How to read the figures") + notes
    let head =
      Markup.element("meta", [("charset", "utf-8")])
      + Markup.element("meta", [("name", "viewport"), ("content", "width=device-width, initial-scale=1")])
      + Markup.element("title", [], "dustin explain")
      + Markup.element("style", [], ReportStyle.css + "\n" + ExplainStyle.css)
    return "<!DOCTYPE html>\n"
      + Markup.element(
        "html", [("lang", "en")], Markup.element("head", [], head) + "\n" + Markup.element("body", [], body)) + "\n"
  }

  private var notes: String {
    let lines = [
      "A token: a step of one row behind the stated positions. FLOPs: of matrices, attention and scoring.",
      "Bytes of a kernel: weights and cache positions that one step reads, each once; rows are small beside them.",
      "Times: every call by itself, the best of the runs, all threads; a whole step has fewer pauses between calls and "
        + "finds more in the caches.",
    ]
    return Markup.element("ul", [], lines.map { Markup.element("li", [], Markup.escaped($0)) }.joined())
  }

  // MARK: Costs

  private func costs(_ model: Model) -> String {
    let length = model.record.length
    let costs = model.module.functions.map { ($0, FunctionCost(of: $0, in: model.module, length: length)) }
    let most = costs.reduce(1) { max($0, $1.1.cacheBytes, $1.1.denseCacheBytes) }
    let rows = costs.map { function, cost -> [String] in
      var fidelity = "exact"
      if case .approximate(let pass) = function.fidelity { fidelity = "approximate: \(pass)" }
      return [
        Markup.element("code", [], Markup.escaped("@\(function.name)")), Markup.escaped(fidelity),
        ModuleSnapshot.bytes(cost.denseCacheBytes), ModuleSnapshot.bytes(cost.cacheBytes),
        bar(cost.cacheBytes / most, behind: cost.denseCacheBytes / most), ModuleSnapshot.count(cost.operations),
      ]
    }
    return table(
      ["function", "", "K and V, all positions", "K and V read", "", "FLOPs"], rows)
      + Markup.element(
        "p", [("class", "soft")],
        "At \(grouped(length)) positions; \(model.program.cacheRegions.count) cache regions, "
          + "\(grouped(model.program.cacheBytesPerPosition)) bytes a position, "
          + "\(ModuleSnapshot.bytes(Double(model.program.weightBytes))) of weights, "
          + "\(ModuleSnapshot.bytes(Double(model.program.arenaBytes))) of arena.")
  }

  // MARK: Passes

  private func passes(_ model: Model) -> String {
    let rows = model.record.steps.enumerated().map { index, step -> String in
      let notes = step.notes.map { Markup.element("div", [], Markup.escaped($0)) }.joined()
      let what = step.isChanged ? notes : Markup.element("span", [("class", "soft")], "no change")
      let cells =
        Markup.element("td", [], "\(index + 1)")
        + Markup.element("td", [("class", "text")], Markup.element("code", [], Markup.escaped(step.pass)))
        + Markup.element("td", [("class", "text")], what + (step.readers.map(readers) ?? ""))
      return Markup.element("tr", [("class", step.readers == nil ? "step" : "step entered")], cells)
    }
    return Markup.element(
      "div", [("class", "scroll")],
      Markup.element("table", [("class", "passes")], Markup.element("tbody", [], rows.joined())))
  }

  private func readers(_ readers: CompilationRecord.Readers) -> String {
    // The layers are alike: a few lines of each kind show what happened.
    func lines(_ lines: [(function: String, line: String)], _ sign: String) -> String {
      var shown: [String: Int] = [:]
      var text = ""
      for (function, line) in lines {
        let kind = function + (line.split(separator: "=").dropFirst().first?.split(separator: " ").first ?? "")
        shown[kind, default: 0] += 1
        if shown[kind] == 1 { text += "\(sign) @\(function): \(line)\n" }
      }
      let rest = lines.count - shown.count
      return text + (rest > 0 ? "\(sign) … \(rest) more\n" : "")
    }
    return Markup.element("h3", [], "Here sparsity enters")
      + Markup.element("pre", [], Markup.escaped(lines(readers.removed, "-") + lines(readers.added, "+")))
  }

  // MARK: Functions

  private func function(_ model: Model, _ function: Function) -> String {
    let times = model.times.first { $0.name == function.name }
    var title = Markup.element("code", [], Markup.escaped("@\(function.name)"))
    title += Markup.element(
      "span", [("class", "soft")],
      " \(function.body.count) op\(function.body.count == 1 ? "" : "s")\(times.map { ", \(fixed($0.seconds * 1e3, 3)) ms for \(rowText($0.rows))" } ?? "")"
    )
    func ports(_ values: [Value], _ roles: [ValueRole]) -> String {
      let named = zip(values, roles).map { value, role -> String in
        "%\(value.name): \(value.type)" + (role == .plain ? "" : " \(role.rawValue)")
      }
      let caches = zip(values, roles).filter { $1 == .cache }.count
      let others = zip(named, roles).filter { $0.1 != .cache }.map(\.0)
      return (others + (caches > 0 ? ["\(caches) caches"] : [])).joined(separator: ", ")
    }
    let signature =
      "(\(ports(function.arguments, function.argumentRoles))) → (\(ports(function.returns, function.returnRoles)))"
    let drawing = FunctionDrawing(function: function, module: model.module, times: times).markup
    let isOpen = ["verify", "draft", "select", "look"].contains(function.name) || model.module.functions.count == 1
    return Markup.element(
      "details", isOpen ? [("open", "open")] : [],
      Markup.element("summary", [], title)
        + Markup.element("p", [], Markup.element("code", [], Markup.escaped(signature)))
        + drawing)
  }

  private func rowText(_ rows: Int) -> String { rows == 0 ? "the sequence" : rows == 1 ? "1 row" : "\(rows) rows" }

  // MARK: Kernels

  private func kernels(_ function: CallTimes.Function) -> String {
    struct Sum {
      var family: String
      var calls = 0
      var bytes = 0.0
      var seconds = 0.0
    }
    var sums: [String: Sum] = [:]
    for call in function.calls {
      var sum = sums[call.kernel] ?? Sum(family: call.family)
      sum.calls += 1
      sum.bytes += call.bytes
      sum.seconds += call.seconds
      sums[call.kernel] = sum
    }
    let longest = sums.values.reduce(1e-12) { max($0, $1.seconds) }
    let rows = sums.sorted { $0.value.seconds > $1.value.seconds }.map { kernel, sum in
      [
        Markup.element("code", [], Markup.escaped(kernel)), Markup.escaped(sum.family), "\(sum.calls)",
        sum.bytes > 0 ? ModuleSnapshot.bytes(sum.bytes) : "", fixed(sum.seconds * 1e6, 1),
        sum.bytes > 0 ? fixed(sum.bytes / max(sum.seconds, 1e-12) / 1e9, 1) : "", bar(sum.seconds / longest),
        "\(fixed(100 * sum.seconds / max(function.seconds, 1e-12), 0)) %",
      ]
    }
    return Markup.element(
      "h3", [],
      Markup.element("code", [], Markup.escaped("@\(function.name)"))
        + ", \(rowText(function.rows)): \(fixed(function.seconds * 1e3, 3)) ms, \(ModuleSnapshot.bytes(function.bytes))"
    )
      + table(["kernel", "family", "calls", "bytes", "µs", "GB/s", "", "share"], rows)
  }

  // MARK: Parts

  /// Cells are markup.
  private func table(_ header: [String], _ rows: [[String]]) -> String {
    func row(_ cells: [String], _ tag: String) -> String {
      Markup.element("tr", [], cells.map { Markup.element(tag, [], $0) }.joined())
    }
    let head = Markup.element("thead", [], row(header, "th"))
    let body = Markup.element("tbody", [], rows.map { row($0, "td") }.joined())
    return Markup.element("div", [("class", "scroll")], Markup.element("table", [], head + body))
  }

  private func bar(_ share: Double, behind: Double = 0) -> String {
    func width(_ value: Double) -> [(String, String)] { [("style", "width: \(Markup.number(100 * min(1, value)))%")] }
    return Markup.element(
      "div", [("class", "bar")],
      (behind > 0 ? Markup.element("div", [("class", "whole")] + width(behind)) : "")
        + Markup.element("div", [("class", "part")] + width(share)))
  }
}

enum ExplainStyle {
  static let css = """
    details { border: 1px solid var(--rule); border-radius: 8px; padding: .5rem .8rem; margin: .6rem 0; }
    summary { cursor: pointer; }
    .layers { display: grid; grid-template-columns: 7.5rem 1fr; gap: .45rem .6rem; align-items: center; }
    .layer { font-size: 13px; }
    .layer .soft { display: block; }
    .boxes { display: flex; flex-wrap: wrap; gap: .4rem; }
    .box { background: var(--card); border: 1px solid var(--rule); border-left: 4px solid var(--c9); border-radius: 5px;
      padding: .25rem .5rem; font-size: 12px; line-height: 1.35; display: grid; min-width: 6.5rem; }
    .box small { font-weight: 400; color: var(--soft); }
    .box code { font-size: 11.5px; color: var(--soft); }
    .box i { height: 4px; background: var(--c0); border-radius: 2px; min-width: 1px; }
    .attend { border-left-color: var(--c0); }
    .sparse { border-left-color: var(--c1); border-color: var(--c1); }
    .bar { position: relative; width: 12rem; height: .8rem; }
    .bar div { position: absolute; top: 0; left: 0; height: 100%; border-radius: 2px; min-width: 1px; }
    .whole { background: var(--rule); }
    .part { background: var(--c0); }
    .passes td { vertical-align: top; }
    td.text { text-align: left; white-space: normal; overflow-wrap: anywhere; }
    .passes td:nth-child(2) { max-width: 22rem; }
    .entered { background: var(--card); box-shadow: inset 4px 0 var(--c1); }
    .entered h3 { margin: .4rem 0; }
    """
}
