import DustinSupport

/// A way of verifying: `dense`, or the text of a preset with the budget that it is to have.
struct EvaluationMode: Hashable, Codable {
  /// What is compiled: `dustin{budget=128}`; `dense` for the baseline.
  let text: String
  /// The preset as it was typed, without the budget that was put in: a line of a plot.
  let preset: String
  /// Positions a set holds; nil when the preset decides.
  let budget: Int?

  static let dense = EvaluationMode(text: "dense", preset: "dense", budget: nil)
  var isDense: Bool { self == .dense }

  /// Every preset with every budget; one that names its own budget stands once. Dense verification comes first.
  ///
  /// - Throws: `DiagnosticError` with id `preset` for braces that do not match.
  static func list(presets: [String], budgets: [Int]) throws -> [EvaluationMode] {
    var modes = [dense]
    for preset in presets {
      let parts = try parts(of: preset)
      if parts.name == dense.preset || parts.name == "none" { continue }
      let made: [EvaluationMode]
      if let own = parts.budget {
        made = [EvaluationMode(text: preset, preset: preset, budget: Int(own))]
      } else if budgets.isEmpty {
        made = [EvaluationMode(text: preset, preset: preset, budget: nil)]
      } else {
        made = budgets.map {
          let options = (parts.options.isEmpty ? "" : parts.options + " ") + "budget=\($0)"
          return EvaluationMode(text: "\(parts.name){\(options)}", preset: preset, budget: $0)
        }
      }
      for mode in made where !modes.contains(mode) { modes.append(mode) }
    }
    return modes
  }

  private static func parts(of preset: String) throws -> (name: String, options: String, budget: Substring?) {
    guard let open = preset.firstIndex(of: "{") else {
      if preset.isEmpty || preset.contains("}") { throw broken(preset) }
      return (preset, "", nil)
    }
    guard preset.last == "}", open > preset.startIndex else { throw broken(preset) }
    let options = preset[preset.index(after: open)...].dropLast()
    guard !options.contains("{"), !options.contains("}") else { throw broken(preset) }
    let words = options.split(separator: " ")
    let budget = words.first { $0.hasPrefix("budget=") }?.dropFirst("budget=".count)
    return (String(preset[..<open]), words.joined(separator: " "), budget)
  }

  private static func broken(_ preset: String) -> DiagnosticError {
    DiagnosticError("preset", "'\(preset)' is no preset: NAME or NAME{option=value …}")
  }
}
