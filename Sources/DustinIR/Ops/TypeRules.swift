// Helpers for the shape rules of op declarations. Each throws a TypeRuleError whose message names the operand.

func rule(_ condition: Bool, _ message: @autoclosure () -> String) throws {
  if !condition { throw TypeRuleError(message()) }
}

/// The only unlabelled operand's type, or that of the group's only value.
func only(_ operation: Operation, _ group: String = "") -> TensorType { operation[group: group][0].type }

/// The extent as a number; the dim must be fixed.
func fixed(_ dim: Dim, _ what: String) throws -> Int {
  guard let value = dim.fixedValue else { throw TypeRuleError("\(what) must be a number, not the dim \(dim)") }
  return value
}

/// The element type that the line states for its first result; `fallback` when none was written.
func writtenElement(_ written: [TensorType], _ fallback: ElementType) -> ElementType {
  written.first?.element ?? fallback
}
