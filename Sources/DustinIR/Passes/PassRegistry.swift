import DustinSupport

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
  /// Where passes came from, by name: those that `add` brought.
  public private(set) var origins: [String: String] = [:]

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

  /// Registers passes from outside: `try registry.add([MyPass.init], from: "libmine.so")`.
  ///
  /// - Parameter origin: what messages and lists call the place that they come from.
  /// - Throws: `DiagnosticError` with id `pass-name` for a name that is taken or that no pipeline text could spell; the
  ///   registry is then unchanged.
  public mutating func add(_ makers: [@Sendable () -> any Pass], from origin: String) throws {
    var changed = self
    for make in makers {
      let name = make().name
      guard Self.isPassName(name) else {
        throw DiagnosticError(
          "pass-name", "\(origin): a pass cannot be called '\(name)'",
          notes: [.note("names are kebab-case: lower-case letters, digits and '-', a letter first")])
      }
      guard changed.register(make()) else {
        let owner = changed.origins[name].map { "'\($0)' has one" } ?? "it is built in"
        throw DiagnosticError(
          "pass-name", "\(origin): there is a pass or pipeline '\(name)' already: \(owner)",
          notes: [.note("rename the one of \(origin)")])
      }
      changed.origins[name] = origin
    }
    self = changed
  }

  /// Lower-case letters, digits and `-`, a letter first.
  public static func isPassName(_ text: String) -> Bool {
    guard let first = text.utf8.first, 0x61...0x7a ~= first else { return false }
    return text.utf8.allSatisfy { 0x61...0x7a ~= $0 || 0x30...0x39 ~= $0 || $0 == UInt8(ascii: "-") }
  }

  /// In the order of registration.
  public var names: [String] { makers.map { $0().name } }
  /// One new pass of every kind, in the order of registration.
  public var passes: [any Pass] { makers.map { $0() } }

  /// What makes a pass with its options at their defaults.
  public func maker(_ name: String) -> (@Sendable () -> any Pass)? { indexByName[name].map { makers[$0] } }
  /// A new pass with its options at their defaults.
  public func make(_ name: String) -> (any Pass)? { maker(name)?() }
  public func pipeline(_ name: String) -> NamedPipeline? { pipelines.first { $0.name == name } }
}
