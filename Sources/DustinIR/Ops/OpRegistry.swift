/// The ops by name. Plug-ins may add their own before anything is parsed.
public struct OpRegistry: Sendable {
  public private(set) var definitions: [OpDefinition]
  private var byName: [String: OpDefinition]

  public init(_ definitions: [OpDefinition]) {
    self.definitions = definitions
    byName = Dictionary(definitions.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
  }

  public subscript(name: String) -> OpDefinition? { byName[name] }

  /// Every op of the language, in the order of the documentation.
  public static let standard = OpRegistry([
    .embed, .rmsnorm, .linear, .add, .mul, .silu, .cast, .reshape, .slice, .lastRow,
    .rope, .append, .attend, .ropeAppend, .score, .pool, .select, .gather,
  ])
}
