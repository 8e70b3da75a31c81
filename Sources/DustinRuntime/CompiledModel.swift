import CDustin
import DustinSupport

/// A model as the compiler leaves it: call tables, machine code and packed weights. Immutable; one serves any number of
/// engines and caches.
public final class CompiledModel: @unchecked Sendable {
  // Sendable: nothing changes after init; the pointers lead to memory that only reads are made of.
  public let program: Program
  let entry: dustin_entry
  let weights: UnsafeRawPointer?
  /// What keeps the code and the weights alive.
  private let owners: [AnyObject]
  private let functions: [CompiledFunction]
  /// Where each signal or set starts in a sequence's memory of values.
  let valuePlaces: [(fixed: Int, perPosition: Int)]

  /// - Parameters:
  ///   - weights: `program.weightBytes` bytes, 64-byte aligned; may be nil for a program without weights.
  ///   - owners: Objects that own the code and the weights; they live as long as the model.
  /// - Throws: `DiagnosticError` with id `program` when a table, port or region does not hold together: a damaged
  ///   executable must not become a wild write.
  public init(
    program: Program, entry: @escaping dustin_entry, weights: UnsafeRawPointer?, owners: [AnyObject] = []
  ) throws {
    try program.validateSizes()
    if program.weightBytes > 0 {
      guard let weights, Int(bitPattern: weights) % 64 == 0 else {
        throw DiagnosticError("program", "the packed weights are missing or not 64-byte aligned")
      }
    }
    self.program = program
    self.entry = entry
    self.weights = weights
    self.owners = owners
    valuePlaces = program.sequenceValues.indices.map { program.place(ofValue: $0) }
    functions = try program.functions.map { try CompiledFunction($0, of: program) }
  }

  /// - Throws: `DiagnosticError` with id `function` that names the functions there are.
  func function(_ name: String) throws -> CompiledFunction {
    if let function = functions.first(where: { $0.name == name }) { return function }
    let names = functions.map(\.name)
    let hint = suggestion(for: name, in: names)
    throw DiagnosticError(
      "function", "the program has no function '\(name)', only \(names.joined(separator: ", "))\(hint)")
  }
}
