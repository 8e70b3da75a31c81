/// Follows the places of a planned function from the top: two values that are needed at the same time share no bytes.
///
/// A value is needed from the operation that makes it to the last one that reads it; arguments for the whole function,
/// results until its end, scratch rows while their operation runs. Two values are one memory by right: a reshape and its
/// operand, and the residual that a `linear` reads for the last time where it writes its result.
struct ArenaPlan {
  private struct Tenant {
    let name: String
    let bytes: Range<Int>
    /// Number of the last operation that needs the bytes.
    let end: Int
    /// Values that are one memory by right.
    let group: Int
  }
  private let function: Function
  private let maxRows: Int
  private var lastUse: [Value: Int] = [:]
  private var groups: [Value: Int] = [:]
  private var offsets: [Value: Int] = [:]
  private var nextGroup = 0
  /// Whoever still needs bytes when the current operation starts.
  private var tenants: [Tenant] = []

  /// - Parameter maxRows: The most rows of a step, the bound of `T`.
  init(_ function: Function, maxRows: Int) {
    self.function = function
    self.maxRows = maxRows
    for (index, operation) in function.body.enumerated() {
      for operand in operation.allOperands { lastUse[operand] = index }
    }
    for value in function.returns { lastUse[value] = function.body.count }
    for (index, offset) in Arena.argumentOffsets(of: function, maxRows: maxRows).offsets {
      let argument = function.arguments[index]
      enter(argument, at: offset, group: newGroup(), until: function.body.count)
    }
  }

  /// What is wrong with the places of `body[index]`, as id and sentence; nil when nothing is. To be called in order, for
  /// operations that keep the other rules.
  mutating func problem(_ operation: Operation, _ index: Int) -> (id: String, message: String)? {
    tenants.removeAll { $0.end < index }
    var problem: (id: String, message: String)?
    if let type = Arena.scratchType(of: operation), let offset = operation.attributes.int("scratch") {
      let rows = Tenant(name: "the scratch rows", bytes: bytes(type, offset), end: index, group: newGroup())
      problem = conflict(rows)
      tenants.append(rows)
    }
    guard case .array(let places)? = operation.attributes["at"] else { return problem }
    for (result, place) in zip(operation.results.filter(\.isRows), places) {
      guard case .int(let offset) = place else { continue }
      var group = newGroup()
      let source = operation.name == "reshape" ? operation.operands.first : nil
      if let source, let from = offsets[source], Arena.rowBytes(source.type) == Arena.rowBytes(result.type) {
        if from != offset {
          let message =
            "'%\(result.name)' is '%\(source.name)' under another shape and lies at \(from), not at \(offset)"
          problem = problem ?? ("arena-place", message)
        }
        group = groups[source] ?? group
      } else if let residual = residual(of: operation, index, at: offset) {
        // Element by element it is read, then written: its bytes change hands.
        tenants.removeAll { $0.group == residual && $0.end == index }
      }
      problem = problem ?? conflict(tenant(result, at: offset, group: group, until: lastUse[result] ?? index))
      enter(result, at: offset, group: group, until: lastUse[result] ?? index)
    }
    return problem
  }

  /// The group of the residual that a `linear` may overwrite at `offset`.
  private func residual(of operation: Operation, _ index: Int, at offset: Int) -> Int? {
    guard operation.name == "linear", let residual = operation[group: "residual"].first, let group = groups[residual],
      offsets[residual] == offset, residual.type == operation.result.type,
      // The rows that are multiplied are read while the result is written.
      operation.operands.allSatisfy({ groups[$0] != group })
    else { return nil }
    return group
  }

  private func conflict(_ new: Tenant) -> (id: String, message: String)? {
    guard let other = tenants.first(where: { $0.group != new.group && $0.bytes.overlaps(new.bytes) }) else {
      return nil
    }
    return ("arena-overlap", "\(new.name) and \(other.name) share bytes of the arena, and both are needed here")
  }

  private mutating func newGroup() -> Int {
    nextGroup += 1
    return nextGroup
  }
  private func bytes(_ type: TensorType, _ offset: Int) -> Range<Int> {
    offset..<offset + Arena.byteCount(type, maxRows: maxRows)
  }
  private func tenant(_ value: Value, at offset: Int, group: Int, until end: Int) -> Tenant {
    Tenant(name: "'%\(Lexical.valueName(value.name))'", bytes: bytes(value.type, offset), end: end, group: group)
  }
  private mutating func enter(_ value: Value, at offset: Int, group: Int, until end: Int) {
    groups[value] = group
    offsets[value] = offset
    tenants.append(tenant(value, at: offset, group: group, until: end))
  }
}
