import DustinRunner

/// Elements and attributes as text, for pages and drawings alike: every element is closed, so that the page is XML too.
enum Markup {
  static func escaped(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      // XML has no place for control characters.
      case "\t", "\n", "\r": result.unicodeScalars.append(scalar)
      case _ where scalar.value < 0x20 || scalar.value == 0x7F || scalar.value == 0xFFFE || scalar.value == 0xFFFF:
        result += "\u{FFFD}"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  /// - Parameters:
  ///   - attributes: Escaped here.
  ///   - content: Markup, not escaped.
  static func element(_ name: String, _ attributes: [(String, String)] = [], _ content: String = "") -> String {
    let written = attributes.map { " \($0.0)=\"\(escaped($0.1))\"" }.joined()
    let isVoid = ["line", "circle", "path", "rect", "polyline", "meta", "br"].contains(name) && content.isEmpty
    return isVoid ? "<\(name)\(written)/>" : "<\(name)\(written)>\(content)</\(name)>"
  }

  /// A coordinate: two decimals are less than a pixel.
  static func number(_ value: Double) -> String { value.isFinite ? fixed(value, 2) : "0" }
}
