/// Rules of what lives with a sequence: signals, sets, views of caches, and the module attributes that say how.
enum SequenceRules {
  /// Ops that compute row by row: they neither read nor make a signal or a set.
  private static let rowOps: Set<String> = [
    "embed", "rmsnorm", "linear", "add", "mul", "silu", "cast", "reshape", "slice", "last_row", "rope", "append",
    "rope_append",
  ]

  /// What is wrong with an argument or a result of a function and its role, as the rest of a sentence that begins with
  /// the value's name.
  static func roleProblem(_ value: Value, _ role: ValueRole) -> (isType: Bool, message: String)? {
    guard value.isSequenceValue else {
      if role == .row || role == .rows, !value.isRows { return (false, "has role \(role.rawValue) but is no rows") }
      if role == .running { return (false, "has role running but is no signal") }
      return nil
    }
    guard isSignal(value.type) || isSet(value.type) else {
      return (
        true,
        "is \(value.type), which is neither rows nor a signal, f32[L] or f32[KV, L], nor a set, i32[S] or i32[KV, S]"
      )
    }
    if role == .round || role == .static || (role == .running && isSignal(value.type)) { return nil }
    let kind = isSignal(value.type) ? "signal" : "set"
    let roles = isSignal(value.type) ? "round, running or static" : "round or static"
    return (false, "is a \(kind), \(value.type): its role must be \(roles), not \(role.rawValue)")
  }

  static func isSignal(_ type: TensorType) -> Bool { type.element == .f32 && hasSequenceShape(type) }
  static func isSet(_ type: TensorType) -> Bool { type.element == .i32 && hasSequenceShape(type) }

  /// [X] or [KV, X] with a dim X that does not count the rows of a step.
  private static func hasSequenceShape(_ type: TensorType) -> Bool {
    guard 1...2 ~= type.rank, case .named(let extent)? = type.shape.last, extent != "T" else { return false }
    return type.shape.dropLast().allSatisfy { $0.fixedValue != nil }
  }

  /// The first signal or set that an op for rows touches.
  static func misplacedValue(_ operation: Operation) -> Value? {
    guard rowOps.contains(operation.name) else { return nil }
    return (operation.allOperands + operation.results).first { $0.isSequenceValue }
  }

  /// Whether the dim of a `select`'s result holds what it can give: the sentence if not.
  static func setProblem(_ select: Operation, _ module: Module) -> String? {
    guard case .named(let name)? = select.result.type.shape.last, select.attributes.int("budget") != nil,
      let length = select.operands.first?.type.shape.last ?? select[group: "cache"].first?.type.shape.first
    else { return nil }
    let signals = select.operands.count
    let size = SetSize(of: select.attributes)
    let budget = size.budget
    // Without signals nothing fills what the first and the recent positions leave.
    let fill = signals > 0 ? budget : size.kept
    let needed = min(budget, module.bound(of: length) ?? budget)
    guard let declaration = module.dims.first(where: { $0.name == name }) else { return nil }
    switch declaration.rule {
    case .bounded(let bound):
      return bound >= needed ? nil : "the set has up to \(needed) positions, but '\(declaration)'"
    case .minimum(let count, let other):
      let isFilled = size.granularity == 1 && (select.attributes.float("cover") ?? 1) >= 1
      if isFilled, count == fill, .named(other) == length { return nil }
      return isFilled
        ? "the set has min(\(fill), \(length)) positions, but '\(declaration)'"
        : "how many positions the set has is open with a cover or blocks: declare 'dim \(name) <= \(budget)'"
    }
  }

  // MARK: Module attributes

  /// What the attributes of a module that the compiler reads may be; others are free.
  static let moduleAttributes: [String: (kind: AttributeSpec.Kind, range: ClosedRange<Int>?)] = [
    "kv_layout": (.word(["packed", "both"]), nil), "refresh": (.int, 1...1 << 20), "dense_every": (.int, 0...1 << 20),
    "observe": (.int, 1...512), "preset": (.string, nil),
  ]

  /// What is wrong with a module attribute; nil when nothing is.
  static func moduleAttributeProblem(_ key: String, _ value: Attribute) -> String? {
    guard let (kind, range) = moduleAttributes[key] else { return nil }
    if let message = AttributeRules.problem(key, kind, value) { return message }
    guard let range, case .int(let number) = value, !range.contains(number) else { return nil }
    return "'\(key)' must be \(range.lowerBound) … \(range.upperBound), not \(number)"
  }

  // MARK: Values that go from function to function

  /// What functions pass on by name: signals, sets and kept rows, with the function that names them first.
  struct Passed {
    private var known: [String: (type: TensorType, role: ValueRole, function: String)] = [:]

    /// What is wrong when a function names the value too; nil when it means the same.
    mutating func problem(_ value: Value, _ role: ValueRole, in function: Function) -> String? {
      // The next version of a running signal goes by its argument's name, whatever its own.
      let value = role == .running ? value.runningArgument ?? value : value
      guard value.isSequenceValue || role == .row || role == .rows else { return nil }
      let own = Lexical.symbol(function.name)
      guard let first = known[value.name] else {
        known[value.name] = (value.type, role, own)
        return nil
      }
      if first.type == value.type, first.role == role { return nil }
      return
        "'%\(Lexical.valueName(value.name))' is \(value.type) {role = \(role.rawValue)} here, but \(first.type) "
        + "{role = \(first.role.rawValue)} in '\(first.function)': values are passed on by name"
    }
  }
}
