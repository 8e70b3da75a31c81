import DustinIR
import DustinSupport

extension KernelPlan {
  /// Numbers the signals and sets of all functions: those that are passed on go by their names, the others have their
  /// own place in each function.
  mutating func declareSequenceValues(of module: Module) throws {
    for function in module.functions {
      let values = function.arguments + function.returns + function.body.flatMap(\.results)
      for value in values where value.isSequenceValue {
        let declared = try Self.declaration(of: value, in: function, module)
        if let known = program.sequenceValues.first(where: { $0.name == declared.name }) {
          guard known == declared else {
            throw DiagnosticError(
              "value-mismatch",
              "'%\(value.name)' of '@\(function.name)' is \(value.type), but another function means another type by it",
              at: function.location)
          }
        } else {
          program.sequenceValues.append(declared)
        }
      }
    }
  }

  /// The name under which a signal or a set is kept.
  static func name(of value: Value, in function: Function) -> String {
    if let running = value.runningArgument { return running.name }
    let isPassedOn = function.arguments.contains(value) || function.returns.contains(value)
    return isPassedOn ? value.name : "\(function.name)/\(value.name)"
  }

  private static func declaration(
    of value: Value, in function: Function, _ module: Module
  ) throws -> Program.SequenceValue {
    let type = value.type
    let planes = type.rank == 1 ? 1 : type.shape[0].fixedValue
    let bound = type.shape.last.flatMap { module.bound(of: $0) }
    guard type.rank <= 2, let planes, let bound, type.element == .f32 || type.element == .i32 else {
      throw DiagnosticError(
        "value-type", "'%\(value.name)' of '@\(function.name)' is neither a signal nor a set: \(type)",
        at: function.location)
    }
    return Program.SequenceValue(
      name: name(of: value, in: function), kind: type.element == .f32 ? .signal : .set(bound: bound), planes: planes)
  }

  /// The two words that tell a kernel where a signal or a set lies: bytes, and bytes per position of the capacity.
  func arguments(ofSequenceValue number: Int) -> [Argument] {
    let place = program.place(ofValue: number)
    return [.value(place.fixed), .value(place.perPosition)]
  }
}
