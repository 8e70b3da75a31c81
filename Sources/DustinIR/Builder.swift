import DustinSupport

extension OpDefinition {
  /// An operation of this op that belongs to no function yet; its result types are inferred.
  ///
  /// - Parameters:
  ///   - groups: Operands by label, "" for the unlabelled ones.
  ///   - names: What the text calls the results; missing ones are called after the op.
  ///   - types: The result types; nil for those that the op infers. `reshape` needs them.
  ///   - element: The element type of the first result of an op that leaves it open; nil for the op's default.
  /// - Throws: `DiagnosticError` with the op's name when the operands or attributes break the declaration.
  public func operation(
    _ groups: [(label: String, values: [Value])], _ attributes: AttributeList = AttributeList(), names: [String] = [],
    types: [TensorType]? = nil, element: ElementType? = nil, location: SourceRange? = nil
  ) throws -> Operation {
    let operands = groups.map { OperandGroup($0.label, $0.values) }
    let probe = Operation(self, operands, attributes, results: [])
    // Shape rules read operands without asking whether they are there.
    let problems = OperationRules.operandProblems(probe, nil) + OperationRules.attributeProblems(probe, nil)
    guard problems.isEmpty else {
      throw DiagnosticError(problems.map { Diagnostic($0.id, "\(name): \($0.message)", at: location) })
    }
    for value in probe.allOperands where DimRules.elementCount(value.type, bound: { _ in nil }) == nil {
      throw DiagnosticError("type-size", "\(name): \(DimRules.sizeMessage(value.type))", at: location)
    }
    var written = types ?? []
    if written.isEmpty, let element { written = [TensorType(element, [])] }
    let inferred: [TensorType]
    do {
      inferred = try inferTypes(probe, written)
    } catch {
      let message = (error as? TypeRuleError)?.message ?? "\(error)"
      throw DiagnosticError("type-rule", "\(name): \(message)", at: location)
    }
    guard inferred.count == resultCount else {
      throw DiagnosticError(
        "result-count", "\(name): infers \(inferred.count) results, not \(resultCount)", at: location)
    }
    if let types, types != inferred {
      let (given, found) = (types.map(\.description), inferred.map(\.description))
      throw DiagnosticError(
        "result-type", "\(name): the result is \(found.joined(separator: ", ")), not \(given.joined(separator: ", "))",
        at: location)
    }
    let results = inferred.enumerated().map { index, type in
      (name: index < names.count ? names[index] : name, type: type)
    }
    return Operation(self, operands, attributes, results: results, location: location)
  }
}

/// Appends operations to a function; result types are inferred.
///
/// Every method throws `DiagnosticError` with the op's name when operands or attributes break the op's declaration.
public struct FunctionBuilder {
  public let function: Function

  public init(_ function: Function) { self.function = function }

  /// Appends an operation and gives its results.
  @discardableResult
  public func emit(
    _ definition: OpDefinition, _ groups: [(label: String, values: [Value])],
    _ attributes: AttributeList = AttributeList(), names: [String] = [], types: [TensorType]? = nil,
    element: ElementType? = nil
  ) throws -> [Value] {
    let operation = try definition.operation(groups, attributes, names: names, types: types, element: element)
    return function.append(operation).results
  }

  private func one(
    _ definition: OpDefinition, _ groups: [(label: String, values: [Value])],
    name: String, _ attributes: AttributeList = AttributeList(), types: [TensorType]? = nil,
    element: ElementType? = nil
  ) throws -> Value {
    let operation = try definition.operation(groups, attributes, names: [name], types: types, element: element)
    return function.append(operation).result
  }
}

// One method per op. Shapes are those of the op's declaration (IR/OPS.md).
extension FunctionBuilder {
  public func embed(_ ids: Value, table: Value, name: String = "embed") throws -> Value {
    try one(.embed, [("", [ids]), ("weight", [table])], name: name)
  }

  public func rmsnorm(
    _ x: Value, gain: Value, eps: Double, name: String = "norm", element: ElementType = .f32
  ) throws -> Value {
    try one(
      .rmsnorm, [("", [x]), ("weight", [gain])], name: name, AttributeList([("eps", .float(eps))]), element: element)
  }

  /// The plain form; fused forms go through `emit`.
  public func linear(
    _ x: Value, weight: Value, bias: Value? = nil, name: String = "linear", element: ElementType = .f32
  ) throws -> Value {
    let groups = [("", [x]), ("weight", [weight]), ("bias", bias.map { [$0] } ?? [])]
    return try one(.linear, groups, name: name, element: element)
  }

  public func add(_ a: Value, _ b: Value, name: String = "add") throws -> Value {
    try one(.add, [("", [a, b])], name: name)
  }

  public func mul(_ a: Value, _ b: Value, name: String = "mul") throws -> Value {
    try one(.mul, [("", [a, b])], name: name)
  }

  public func silu(_ x: Value, name: String = "silu") throws -> Value { try one(.silu, [("", [x])], name: name) }

  public func cast(_ x: Value, to element: ElementType, name: String? = nil) throws -> Value {
    try one(.cast, [("", [x])], name: name ?? x.name, element: element)
  }

  /// - Parameter inner: The extents behind the first one, which stays.
  public func reshape(_ x: Value, inner: [Int], name: String = "reshape") throws -> Value {
    let shape = x.type.shape.prefix(1) + inner.map { .fixed($0) }
    return try one(.reshape, [("", [x])], name: name, types: [TensorType(x.type.element, Array(shape))])
  }

  public func slice(_ x: Value, begin: Int, count: Int, name: String = "slice") throws -> Value {
    try one(.slice, [("", [x])], name: name, AttributeList([("begin", .int(begin)), ("count", .int(count))]))
  }

  public func lastRow(_ x: Value, name: String = "last") throws -> Value { try one(.lastRow, [("", [x])], name: name) }

  /// - Parameter scale: Factor on cos and sin; 1 is not written.
  public func rope(
    _ x: Value, positions: Value, freqs: Value, scale: Double = 1, name: String = "rope", element: ElementType = .f32
  ) throws -> Value {
    let attributes = AttributeList(scale == 1 ? [] : [("scale", .float(scale))])
    return try one(
      .rope, [("", [x]), ("positions", [positions]), ("freqs", [freqs])], name: name, attributes, element: element)
  }

  /// The next versions of the caches.
  public func append(
    keys: Value, values: Value, cache: (keys: Value, values: Value), names: [String] = ["kc", "vc"]
  ) throws -> (keys: Value, values: Value) {
    let results = try emit(.append, [("", [keys, values]), ("cache", [cache.keys, cache.values])], names: names)
    return (results[0], results[1])
  }

  public func attend(
    _ q: Value, cache: (keys: Value, values: Value), role: String? = nil, scale: Double, name: String = "attend",
    element: ElementType = .f32
  ) throws -> Value {
    var attributes = AttributeList()
    if let role { attributes["role"] = .word(role) }
    attributes["scale"] = .float(scale)
    return try one(
      .attend, [("", [q]), ("cache", [cache.keys, cache.values])], name: name, attributes, element: element)
  }
}
