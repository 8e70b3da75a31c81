/// Which mark stands for what. A colour and a shape together: colours alone do not tell ten lines apart, nor everybody.
struct Legend {
  static let colors = 10

  let entries: [(name: String, color: Int, isDashed: Bool)]

  var markup: String {
    let items = entries.map { entry in
      let line = Markup.element(
        "line",
        [
          ("class", "series\(entry.isDashed ? " dashed" : "")"), ("x1", "0"), ("y1", "7"), ("x2", "26"), ("y2", "7"),
          ("style", "stroke: var(--c\(entry.color % Self.colors))"),
        ])
      let key = Markup.element(
        "svg", [("class", "key"), ("viewBox", "0 0 26 14")], line + Self.mark(entry.color, x: 13, y: 7, size: 4))
      return Markup.element("span", [("class", "entry")], key + Markup.escaped(entry.name))
    }
    return Markup.element("div", [("class", "legend")], items.joined())
  }

  /// A disc, a square, a diamond or a triangle.
  static func mark(_ color: Int, x: Double, y: Double, size: Double, hint: String? = nil) -> String {
    let hint = hint.map { Markup.element("title", [], Markup.escaped($0)) } ?? ""
    let style = [("class", "mark"), ("style", "fill: var(--c\(color % colors))")]
    let n = Markup.number
    switch color % 4 {
    case 0:
      return Markup.element("circle", style + [("cx", n(x)), ("cy", n(y)), ("r", n(size))], hint)
    case 1:
      let side = size * 1.7
      return Markup.element(
        "rect",
        style + [("x", n(x - side / 2)), ("y", n(y - side / 2)), ("width", n(side)), ("height", n(side))], hint)
    case 2:
      let r = size * 1.3
      return Markup.element(
        "path", style + [("d", "M\(n(x)) \(n(y - r))L\(n(x + r)) \(n(y))L\(n(x)) \(n(y + r))L\(n(x - r)) \(n(y))Z")],
        hint)
    default:
      let r = size * 1.25
      return Markup.element(
        "path", style + [("d", "M\(n(x)) \(n(y - r))L\(n(x + r)) \(n(y + r))L\(n(x - r)) \(n(y + r))Z")], hint)
    }
  }
}
