import DustinIR
import DustinRunner

/// A function as boxes: an op each, in the order of the body, a row for what stands outside of the layers and one for each
/// layer. A box shows the op, what it makes and its shape; the pointer shows the whole line.
struct FunctionDrawing {
  let function: Function
  let module: Module
  /// Times of the function's ops, if they were measured.
  let times: CallTimes.Function?

  var markup: String {
    var rows: [(title: String, operations: [Operation])] = []
    let titles = function.body.map(Self.layer)
    for (index, operation) in function.body.enumerated() {
      // What a pass put in without a layer's name belongs to the layer around it.
      let next = titles[index...].first { $0 != nil } ?? nil
      let title = titles[index] ?? (next != nil && next == rows.last?.title ? next : nil) ?? ""
      if rows.last?.title == title {
        rows[rows.count - 1].operations.append(operation)
      } else {
        rows.append((title, [operation]))
      }
    }
    // Layers that look like the one above are one row.
    var markup = ""
    var index = 0
    while index < rows.count {
      var end = index + 1
      let kinds = rows[index].operations.map(look)
      while end < rows.count, !rows[index].title.isEmpty, rows[end].operations.map(look) == kinds { end += 1 }
      markup += row(rows[index..<end].map(\.title), rows[index].operations, rows[index..<end].map(\.operations))
      index = end
    }
    return Markup.element("div", [("class", "layers")], markup)
  }

  private func row(_ titles: [String], _ operations: [Operation], _ layers: [[Operation]]) -> String {
    let title =
      titles.count > 1
      ? "\(titles[0]) … \(titles[titles.count - 1].dropFirst(6))" : titles[0]
    let boxes = operations.indices.map { place in box(operations[place], layers.map { $0[place] }) }.joined()
    let seconds = layers.joined().reduce(0) { $0 + time($1) }
    let cost = seconds > 0 ? Markup.element("span", [("class", "soft")], "\(fixed(seconds * 1e6, 0)) µs") : ""
    return Markup.element("div", [("class", "layer")], Markup.escaped(title) + " " + cost)
      + Markup.element("div", [("class", "boxes")], boxes)
  }

  /// - Parameter all: the op at this place of every layer of the row.
  private func box(_ operation: Operation, _ all: [Operation]) -> String {
    let isSparse = !operation[group: "after"].isEmpty || ["gather", "score", "pool", "select"].contains(operation.name)
    let seconds = all.reduce(0) { $0 + time($1) }
    let shapes = operation.results.filter { !$0.isCache || operation.name == "gather" }.map(\.type.description)
    var content = Markup.element("b", [], Markup.escaped(operation.name) + detail(operation))
    content += Markup.element("span", [], Markup.escaped(operation.results.first.map { "%\($0.name)" } ?? ""))
    content += Markup.element("code", [], Markup.escaped(shapes.first ?? "caches"))
    if seconds > 0 {
      let share = seconds / max(times?.seconds ?? 0, 1e-12)
      content +=
        Markup.element(
          "i", [("style", "width: \(Markup.number(min(100, 100 * share)))%")],
          "") + Markup.element("span", [("class", "soft")], "\(fixed(seconds * 1e6, 1)) µs")
    }
    let kind = isSparse ? "box sparse" : operation.name == "attend" ? "box attend" : "box"
    return Markup.element("div", [("class", kind), ("title", operation.text())], content)
  }

  /// What was fused into a linear.
  private func detail(_ operation: Operation) -> String {
    var parts: [String] = []
    if !operation[group: "norm"].isEmpty { parts.append("norm") }
    if operation[group: "weight"].count == 3 { parts.append("q k v") }
    if let activation = operation.attributes.word("activation") { parts.append(activation) }
    if !operation[group: "residual"].isEmpty { parts.append("+ residual") }
    if !operation[group: "after"].isEmpty { parts.append("through a set") }
    return parts.isEmpty ? "" : " " + Markup.element("small", [], Markup.escaped(parts.joined(separator: ", ")))
  }

  private func time(_ operation: Operation) -> Double {
    times?.calls.reduce(0) { $1.operation === operation ? $0 + $1.seconds : $0 } ?? 0
  }

  /// `layer 3`, from names such as `%l3.qkv`.
  private static func layer(of operation: Operation) -> String? {
    guard let name = operation.results.first?.name, name.first == "l" || name.contains(".") else { return nil }
    let head = name.split(separator: ".")
    if let first = head.first, first.first == "l", let number = Int(first.dropFirst()) { return "layer \(number)" }
    // `%history.6`: a value that passes named anew.
    if head.count > 1, let number = head.last.flatMap({ Int($0) }) { return "layer \(number)" }
    return nil
  }

  private func look(_ operation: Operation) -> String {
    let groups = operation.groups.map { "\($0.label)\($0.values.count)" }
    return
      "\(operation.name) \(groups) \(operation.results.map(\.type.description)) \(operation.attributes.ints("heads") ?? [])"
  }
}
