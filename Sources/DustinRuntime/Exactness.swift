import DustinSupport

/// Refuses a function that no longer computes the model's own distribution; numerics are never refused.
/// - Throws: `DiagnosticError` with id `exact` for an approximate function, `function` for one that there is not.
public func requireExact(_ program: Program, function name: String) throws {
  guard let function = program.function(name) else {
    let names = program.functions.map(\.name)
    let hint = suggestion(for: name, in: names)
    throw DiagnosticError("function", "the program has no function '\(name)'\(hint)")
  }
  guard !function.isExact else { return }
  throw DiagnosticError(
    "exact", "function '\(name)' is approximate: its tokens are not those of the dense model",
    notes: [.note("exact runs verify its blocks with a dense function ('dense')")])
}
