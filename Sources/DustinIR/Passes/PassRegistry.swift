/// A pipeline with a name: its text is what `dustin pipelines` prints.
public struct NamedPipeline: Sendable {
  public let name: String
  public let summary: String
  public let text: String

  public init(_ name: String, _ summary: String, _ text: String) {
    self.name = name
    self.summary = summary
    self.text = text
  }
}

/// The passes and named pipelines that a pipeline text may use. Plug-ins register theirs with the same call as the
/// built-in ones.
public struct PassRegistry: Sendable {
  private var makers: [@Sendable () -> any Pass] = []
  private var indexByName: [String: Int] = [:]
  public private(set) var pipelines: [NamedPipeline] = []

  public init() {}

  /// `registry.register(CommonSubexpressions())`; every use in a pipeline evaluates the expression anew. Returns false,
  /// and changes nothing, when the name is taken.
  @discardableResult
  public mutating func register(_ make: @autoclosure @escaping @Sendable () -> any Pass) -> Bool {
    let name = make().name
    guard indexByName[name] == nil, pipeline(name) == nil else { return false }
    indexByName[name] = makers.count
    makers.append(make)
    return true
  }

  /// A named pipeline stands in a pipeline text for the passes that it lists. Returns false when the name is taken.
  @discardableResult
  public mutating func register(_ pipeline: NamedPipeline) -> Bool {
    guard indexByName[pipeline.name] == nil, self.pipeline(pipeline.name) == nil else { return false }
    pipelines.append(pipeline)
    return true
  }

  /// In the order of registration.
  public var names: [String] { makers.map { $0().name } }
  /// One new pass of every kind, in the order of registration.
  public var passes: [any Pass] { makers.map { $0() } }

  /// A new pass with its options at their defaults.
  public func make(_ name: String) -> (any Pass)? { indexByName[name].map { makers[$0]() } }
  public func pipeline(_ name: String) -> NamedPipeline? { pipelines.first { $0.name == name } }
}
