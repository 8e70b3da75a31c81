import DustinRunner

/// Stacked bars, one below the other.
struct BarPlot {
  struct Bar {
    let name: String
    /// One for each part.
    let values: [Double]
  }

  let title: String
  let xLabel: String
  let parts: [String]
  let bars: [Bar]

  private static let width = 560.0
  private static let rowHeight = 24.0
  private static let (right, top, bottom) = (16.0, 8.0, 44.0)

  /// Nil without bars.
  var markup: String? {
    let sums = bars.map { $0.values.reduce(0, +) }.filter(\.isFinite)
    guard !bars.isEmpty, sums.contains(where: { $0 > 0 }) else { return nil }
    // Some seven units a letter, within half of the drawing.
    let letters = bars.map(\.name.count).max() ?? 0
    let left = min(Double(letters) * 7 + 14, Self.width * 0.5)
    let scale = PlotScale(.linear, values: sums, including: [0])
    let height = Self.top + Self.bottom + Double(bars.count) * Self.rowHeight
    let floor = height - Self.bottom
    func x(_ value: Double) -> Double { left + scale.place(value) * (Self.width - left - Self.right) }
    let n = Markup.number
    var drawing = ""
    for tick in scale.ticks {
      drawing += Markup.element(
        "line", [("class", "grid"), ("x1", n(x(tick))), ("x2", n(x(tick))), ("y1", n(Self.top)), ("y2", n(floor))])
      drawing += Markup.element(
        "text", [("class", "tick"), ("x", n(x(tick))), ("y", n(floor + 16)), ("text-anchor", "middle")],
        Markup.escaped(scale.label(tick)))
    }
    for (row, bar) in bars.enumerated() {
      let y = Self.top + Double(row) * Self.rowHeight
      drawing += Markup.element(
        "text", [("class", "tick"), ("x", n(left - 7)), ("y", n(y + 16)), ("text-anchor", "end")],
        Markup.escaped(bar.name))
      var done = 0.0
      for (part, value) in bar.values.enumerated() where value > 0 && value.isFinite {
        drawing += Markup.element(
          "rect",
          [
            ("x", n(x(done))), ("y", n(y + 4)), ("width", n(max(0, x(done + value) - x(done)))),
            ("height", n(Self.rowHeight - 8)), ("style", "fill: var(--c\(part % Legend.colors))"),
          ],
          Markup.element(
            "title", [],
            Markup.escaped("\(bar.name)\n\(parts.indices.contains(part) ? parts[part] : ""): \(fixed(value, 3))")))
        done += value
      }
    }
    drawing += Markup.element(
      "line",
      [("class", "axis"), ("x1", n(left)), ("x2", n(Self.width - Self.right)), ("y1", n(floor)), ("y2", n(floor))])
    drawing += Markup.element(
      "text",
      [
        ("class", "label"), ("x", n((left + Self.width - Self.right) / 2)), ("y", n(height - 8)),
        ("text-anchor", "middle"),
      ],
      Markup.escaped(xLabel))
    let keys = parts.enumerated().map { index, part in
      Markup.element(
        "span", [("class", "entry")],
        Markup.element(
          "svg", [("class", "key"), ("viewBox", "0 0 26 14")],
          Markup.element(
            "rect",
            [
              ("x", "4"), ("y", "2"), ("width", "18"), ("height", "10"),
              ("style", "fill: var(--c\(index % Legend.colors))"),
            ])) + Markup.escaped(part))
    }
    return Markup.element(
      "figure", [],
      Markup.element("figcaption", [], Markup.escaped(title))
        + Markup.element(
          "svg", [("viewBox", "0 0 \(Int(Self.width)) \(Int(height))"), ("role", "img"), ("aria-label", title)], drawing
        )
        + Markup.element("div", [("class", "legend")], keys.joined()))
  }
}
