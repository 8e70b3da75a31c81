/// A transformation of a module: a small value with a kebab-case name, options as properties, one file, one registry
/// line. A pass never keeps state between runs.
///
///     struct DropReturns: Pass {
///       let name = "drop-returns"
///       let summary = "Keeps the first results of every function."
///       @PassOption("keep", "results to keep, at least 1") var keep = 1
///
///       func run(on module: Module, context: PassContext) throws { … }
///     }
///
/// The doc comment of a pass shows the rewrite, before → after, and says what is legal and why. Whatever a pass changes
/// it reports through the context: rewriters do so by themselves, direct changes call `context.noteChange()`.
public protocol Pass {
  /// Kebab-case; what a pipeline text calls the pass.
  var name: String { get }
  /// One line for `dustin passes`.
  var summary: String { get }
  /// One sentence about options that do not fit together or are missing; nil when they are fine.
  func validate() -> String?
  /// Changes the module, or throws a `DiagnosticError` that names what stands in the way.
  func run(on module: Module, context: PassContext) throws
}

extension Pass {
  public func validate() -> String? { nil }

  /// The declared options, in the order of the declarations.
  public var options: [any PassOptionProtocol] {
    Mirror(reflecting: self).children.compactMap { $0.value as? any PassOptionProtocol }
  }
}
