import DustinSupport

/// Attention shapes of published models, for timing one layer with generated numbers.
struct LayerShape {
  let name: String
  let layers: Int
  let heads: Int
  let kvHeads: Int
  let dim: Int
  /// The small model of the family that looks ahead: its heads, and how many of its layers score.
  let draft: (name: String, heads: Int, kvHeads: Int, dim: Int, scoringLayers: Int)

  static let all = [
    LayerShape(
      name: "qwen2.5-72b", layers: 80, heads: 64, kvHeads: 8, dim: 128, draft: ("qwen2.5-0.5b", 14, 2, 64, 3)),
    LayerShape(
      name: "qwen2.5-32b", layers: 64, heads: 40, kvHeads: 8, dim: 128, draft: ("qwen2.5-0.5b", 14, 2, 64, 3)),
    LayerShape(
      name: "qwen2.5-7b", layers: 28, heads: 28, kvHeads: 4, dim: 128, draft: ("qwen2.5-0.5b", 14, 2, 64, 3)),
    LayerShape(
      name: "llama-3.3-70b", layers: 80, heads: 64, kvHeads: 8, dim: 128, draft: ("llama-3.2-1b", 32, 8, 64, 3)),
  ]

  /// - Throws: `DiagnosticError` with id `layer` that names the shapes there are.
  static func named(_ name: String) throws -> LayerShape {
    if let shape = all.first(where: { $0.name == name.lowercased() }) { return shape }
    let names = all.map(\.name)
    let hint = suggestion(for: name.lowercased(), in: names)
    throw DiagnosticError("layer", "there is no shape '\(name)', only \(names.joined(separator: ", "))\(hint)")
  }
}
