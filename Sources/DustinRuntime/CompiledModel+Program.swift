import DustinSupport

extension CompiledModel {
  /// The same code and weights under other call tables: parts of a function, for tools that look at single kernels.
  ///
  /// - Throws: `DiagnosticError` with id `program`, as `init`.
  public func running(_ program: Program) throws -> CompiledModel {
    try CompiledModel(program: program, entry: entry, weights: weights, owners: [self])
  }
}
