/// Points, joined in order, over two axes: an SVG drawing without scripts. The value of a point shows when the pointer
/// rests on it.
struct LinePlot {
  struct Point {
    let x: Double
    let y: Double
    /// Half the length of the bar through the point; nil: none.
    var error: Double?
    let hint: String
  }
  struct Series {
    let name: String
    let color: Int
    var points: [Point]
    var isDashed = false
  }
  /// A level to compare with, across the whole plot.
  struct Level {
    let name: String
    let y: Double
  }

  let title: String
  let xLabel: String
  let yLabel: String
  var series: [Series]
  var levels: [Level] = []
  var xKind = PlotScale.Kind.linear
  var yIncluding: [Double] = []
  var yLimits: ClosedRange<Double>?
  var xIncluding: [Double] = []

  private static let width = 560.0
  private static let height = 330.0
  private static let (left, right, top, bottom) = (66.0, 16.0, 20.0, 48.0)
  /// Room between the axis and the first and the last point.
  private static let margin = 12.0

  /// Nil without points.
  var markup: String? {
    let points = series.flatMap(\.points).filter { $0.x.isFinite && $0.y.isFinite }
    if points.isEmpty { return nil }
    let xScale = PlotScale(xKind, values: points.map(\.x), including: xIncluding)
    let yScale = PlotScale(
      .linear,
      values: points.flatMap { point in point.error.map { [point.y - $0, point.y + $0] } ?? [point.y] }
        + levels.map(\.y),
      including: yIncluding, limits: yLimits)
    func x(_ value: Double) -> Double {
      Self.left + Self.margin + xScale.place(value) * (Self.width - Self.left - Self.right - 2 * Self.margin)
    }
    func y(_ value: Double) -> Double {
      Self.height - Self.bottom - yScale.place(value) * (Self.height - Self.top - Self.bottom)
    }
    var drawing = axes(xScale, yScale, x, y)
    for level in levels where level.y.isFinite {
      drawing += Markup.element(
        "line",
        [
          ("class", "level"), ("x1", Markup.number(Self.left)), ("x2", Markup.number(Self.width - Self.right)),
          ("y1", Markup.number(y(level.y))), ("y2", Markup.number(y(level.y))),
        ], title("\(level.name): \(yScale.label(level.y))"))
      drawing += text(level.name, Self.width - Self.right - 4, y(level.y) - 5, anchor: "end", style: "note")
    }
    // Lines that lie on each other stay visible: later ones are thinner.
    for (number, one) in series.enumerated() {
      drawing += lines(
        one, x, y, size: max(3.2, 6.4 - 0.6 * Double(number)), width: max(1.5, 3.3 - 0.35 * Double(number)))
    }
    return Markup.element(
      "figure", [],
      Markup.element("figcaption", [], Markup.escaped(title))
        + Markup.element(
          "svg", [("viewBox", "0 0 \(Int(Self.width)) \(Int(Self.height))"), ("role", "img"), ("aria-label", title)],
          drawing) + Legend(entries: series.map { ($0.name, $0.color, $0.isDashed) }).markup)
  }

  private func axes(
    _ xScale: PlotScale, _ yScale: PlotScale, _ x: (Double) -> Double, _ y: (Double) -> Double
  ) -> String {
    var drawing = ""
    func line(_ style: String, _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double) {
      drawing += Markup.element(
        "line",
        [
          ("class", style), ("x1", Markup.number(x1)), ("y1", Markup.number(y1)), ("x2", Markup.number(x2)),
          ("y2", Markup.number(y2)),
        ])
    }
    for tick in yScale.ticks {
      line("grid", Self.left, y(tick), Self.width - Self.right, y(tick))
      drawing += text(yScale.label(tick), Self.left - 7, y(tick) + 4, anchor: "end")
    }
    let floor = Self.height - Self.bottom
    for tick in xScale.ticks {
      line("grid", x(tick), Self.top, x(tick), floor)
      drawing += text(xScale.label(tick), x(tick), floor + 17, anchor: "middle")
    }
    line("axis", Self.left, floor, Self.width - Self.right, floor)
    line("axis", Self.left, Self.top, Self.left, floor)
    drawing += text(
      xLabel, (Self.left + Self.width - Self.right) / 2, Self.height - 10, anchor: "middle", style: "label")
    let middle = (Self.top + floor) / 2
    drawing += Markup.element(
      "text",
      [
        ("class", "label"), ("x", "0"), ("y", "0"), ("text-anchor", "middle"),
        ("transform", "translate(14 \(Markup.number(middle))) rotate(-90)"),
      ], Markup.escaped(yLabel))
    return drawing
  }

  private func lines(
    _ series: Series, _ x: (Double) -> Double, _ y: (Double) -> Double, size: Double, width: Double
  ) -> String {
    let points = series.points.filter { $0.x.isFinite && $0.y.isFinite }
    var drawing = ""
    if points.count > 1 {
      let path = points.map { "\(Markup.number(x($0.x))),\(Markup.number(y($0.y)))" }.joined(separator: " ")
      drawing += Markup.element(
        "polyline",
        [
          ("class", "series\(series.isDashed ? " dashed" : "")"), ("points", path),
          ("style", "stroke: var(--c\(series.color % Legend.colors)); stroke-width: \(Markup.number(width))"),
        ])
    }
    for point in points {
      if let error = point.error, error > 0 {
        drawing += Markup.element(
          "line",
          [
            ("class", "error"), ("x1", Markup.number(x(point.x))), ("x2", Markup.number(x(point.x))),
            ("y1", Markup.number(y(point.y - error))), ("y2", Markup.number(y(point.y + error))),
            ("style", "stroke: var(--c\(series.color % Legend.colors))"),
          ])
      }
      drawing += Legend.mark(
        series.color, x: x(point.x), y: y(point.y), size: size, hint: "\(series.name)\n\(point.hint)")
    }
    return drawing
  }

  private func title(_ text: String) -> String { Markup.element("title", [], Markup.escaped(text)) }

  private func text(_ text: String, _ x: Double, _ y: Double, anchor: String, style: String = "tick") -> String {
    Markup.element(
      "text", [("class", style), ("x", Markup.number(x)), ("y", Markup.number(y)), ("text-anchor", anchor)],
      Markup.escaped(text))
  }
}
