import DustinSupport

/// What a pass reports while it runs: that it changed something, and counts by name.
public final class PassContext {
  /// The pass that runs, for messages.
  public let passName: String
  /// The ops that the module's text may use; a pass that builds ops by name looks them up here.
  public let registry: OpRegistry
  public private(set) var isChanged = false
  /// In the order of first mention.
  public private(set) var statistics: [(name: String, value: Int)] = []

  public init(passName: String, registry: OpRegistry = .standard) {
    self.passName = passName
    self.registry = registry
  }

  /// A pass that changes a module without a rewriter says so here.
  public func noteChange() { isChanged = true }

  /// Adds to a counter. Names are kebab-case, with the unit if it is not a plain count: `arena-bytes`.
  public func count(_ name: String, _ amount: Int = 1) {
    if let index = statistics.firstIndex(where: { $0.name == name }) {
      statistics[index].value &+= amount
    } else {
      statistics.append((name, amount))
    }
  }

  /// Runs the body with a rewriter over the function; the new body takes effect when it returns, or throws.
  public func rewrite<Result>(_ function: Function, _ body: (Rewriter) throws -> Result) rethrows -> Result {
    let rewriter = Rewriter(function, context: self)
    defer { rewriter.finish() }
    return try body(rewriter)
  }

  /// Throws a sentence with a cure unless the module is in one of the stages.
  public func require(_ stages: Stage..., of module: Module) throws {
    if stages.contains(module.stage) { return }
    let names = stages.map(\.rawValue).joined(separator: " or ")
    let cure = module.stage == .tensor ? "; run lower-to-kernel first" : ""
    throw DiagnosticError(
      "wrong-stage", "\(passName) needs stage \(names), and the module is in stage \(module.stage.rawValue)\(cure)")
  }

  /// Where a function, or an op of it, stands, for errors: in the text that the module was read from, or, for a function
  /// that a pass made since, in the module's text as it is now.
  public func place(of function: Function, _ operation: Operation? = nil, in module: Module) -> SourceRange? {
    if let own = function.location, own.text == "@\(function.name)" { return operation?.location ?? own }
    let buffer = SourceBuffer(name: "<before \(passName)>", text: module.text())
    guard let shown = (try? ModuleParser.parse(buffer, registry: registry))?.function(function.name) else { return nil }
    let index = operation.flatMap { operation in function.body.firstIndex { $0 === operation } }
    guard let index, shown.body.indices.contains(index) else { return shown.location }
    return shown.body[index].location
  }

  /// The named function, or a diagnostic with the closest name.
  public func function(_ name: String, of module: Module) throws -> Function {
    if let function = module.function(name) { return function }
    let names = module.functions.map(\.name)
    let hint = closestName(to: name, in: names).map { "; did you mean @\($0)?" } ?? ""
    throw DiagnosticError("unknown-function", "\(passName): the module has no function @\(name)\(hint)")
  }
}
