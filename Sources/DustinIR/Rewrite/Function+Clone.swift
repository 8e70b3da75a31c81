extension Function {
  /// A copy under another name: new values and operations, the same globals. The caller adds it to the module.
  public func clone(as name: String) -> Function {
    let copy = Function(name)
    copy.fidelity = fidelity
    copy.numerics = numerics
    copy.location = location
    var copies: [Value: Value] = [:]
    for (argument, role) in zip(arguments, argumentRoles) {
      copies[argument] = copy.addArgument(argument.name, argument.type, role: role)
    }
    for operation in body {
      let groups = operation.groups.map { group in
        OperandGroup(group.label, group.values.map { copies[$0] ?? $0 })
      }
      let clone = Operation(
        operation.definition, groups, operation.attributes, results: operation.results.map { ($0.name, $0.type) },
        location: operation.location)
      copy.append(clone)
      for (before, after) in zip(operation.results, clone.results) { copies[before] = after }
    }
    for (value, role) in zip(returns, returnRoles) { copy.addReturn(copies[value] ?? value, role: role) }
    return copy
  }
}
