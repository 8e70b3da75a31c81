import DustinIR
import DustinSupport

/// Runs the functions of a module for one sequence, at any stage: the meaning against which emitted code is judged.
///
/// Plain f32: every op computes its `meaning` and rounds only where that says so. Sums over a row (norms, softmax) are
/// kept in double, dot products are OpenBLAS's. The module must not be changed while an interpreter uses it.
public final class Interpreter {
  /// A value that goes into a function or comes out of one.
  public enum Argument {
    case tensor(Tensor)
    case cache(Cache)
  }

  public let module: Module
  /// Called after every op with its results; an append's are the rows that it wrote, [T, KV, D].
  public var onOperation: ((Operation, [Tensor]) throws -> Void)?
  private let weights: any WeightSource
  private let implementations: [String: OpImplementation]
  /// Weights as their globals state them, and casts of them as `name:element`, made once.
  private var loaded: [String: Tensor] = [:]

  /// Throws when the module is not well-formed or holds an op without an implementation. Weights are read when a
  /// function first needs them.
  public init(
    module: Module, weights: any WeightSource, implementations: [String: OpImplementation] = Interpreter.standard
  ) throws {
    self.module = module
    self.weights = weights
    self.implementations = implementations
    try Self.check(module, implementations)
  }

  /// Runs a function. Tensors and caches must fit the arguments' types; a cache's extent is its committed length.
  /// Caches are written in place and come back as their next version, with the step's rows in flight.
  public func call(_ name: String, _ arguments: [Argument]) throws -> [Argument] {
    guard let function = module.function(name) else {
      let notes = closestName(to: name, in: module.functions.map(\.name)).map {
        [Diagnostic.note("did you mean '@\($0)'?")]
      }
      throw DiagnosticError("unknown-function", "there is no function '@\(name)'", notes: notes ?? [])
    }
    var extents = try bind(arguments, to: function)
    try bindMinima(&extents)
    try checkSets(arguments, of: function, extents)
    var values: [ObjectIdentifier: Argument] = [:]
    for (value, argument) in zip(function.arguments, arguments) { values[ObjectIdentifier(value)] = argument }
    let lastUses = lastUses(in: function)
    for (index, operation) in function.body.enumerated() {
      let results = try evaluate(operation, values, extents)
      for (value, result) in zip(operation.results, results) { values[ObjectIdentifier(value)] = result }
      if let onOperation { try onOperation(operation, try results.map(observed)) }
      for value in lastUses[index] { values[value] = nil }
    }
    return try function.returns.map { value in
      if let global = value.global { return .tensor(try tensor(of: global)) }
      guard let result = values[ObjectIdentifier(value)] else {
        throw DiagnosticError(
          "undefined-value", "'@\(name)' returns '%\(value.name)', which nothing defines", at: function.location)
      }
      return result
    }
  }

  /// A global's numbers: of a constant, or from the weights.
  public func tensor(of global: Global) throws -> Tensor {
    if let tensor = loaded[global.name] { return tensor }
    let shape = try global.type.shape.map { dim in
      guard let extent = dim.fixedValue, extent > 0 else {
        throw DiagnosticError(
          "global-shape", "'@\(global.name)' needs positive extents, not \(global.type)", at: global.location)
      }
      return extent
    }
    let tensor: Tensor
    switch global.content {
    case .constant(let floats) where global.type.element == .i32:
      tensor = try Tensor(shape, ints: floats.map { try Self.integer($0, global) })
    case .constant(let floats):
      tensor = try Tensor(global.type.element, shape, floats)
    case .weight:
      tensor = try weights.tensor(named: global.name)
      guard tensor.shape == shape, tensor.element == global.type.element else {
        throw DiagnosticError(
          "weight-type", "the weight '\(global.name)' is \(tensor.typeDescription), not \(global.type)",
          at: global.location)
      }
    }
    loaded[global.name] = tensor
    return tensor
  }

  private static func integer(_ value: Float, _ global: Global) throws -> Int32 {
    guard let integer = Int32(exactly: value) else {
      throw DiagnosticError("global-value", "'@\(global.name)' holds \(value), which is no i32", at: global.location)
    }
    return integer
  }

  // MARK: - One operation

  private func evaluate(
    _ operation: Operation, _ values: [ObjectIdentifier: Argument], _ extents: [String: Int]
  ) throws -> [Argument] {
    // Weights are packed, hence cast, once.
    if operation.name == "cast", let global = operation.operands.first?.global {
      return [.tensor(try tensor(of: global, as: operation.result.type.element))]
    }
    var operands: [Argument] = []
    for value in operation.allOperands {
      if let global = value.global {
        operands.append(.tensor(try tensor(of: global)))
      } else if let known = values[ObjectIdentifier(value)] {
        operands.append(known)
      } else {
        throw DiagnosticError(
          "undefined-value", "'\(operation.name)' uses '%\(value.name)', which nothing above defines",
          at: operation.location)
      }
    }
    guard let implementation = implementations[operation.name] else {
      throw Self.unknownOp(operation)
    }
    let shapes = try operation.results.map { try shape(of: $0, extents, operation.location) }
    let evaluation = OpEvaluation(operation: operation, values: operands, resultShapes: shapes)
    let results = try implementation(evaluation)
    guard results.count == shapes.count else {
      throw evaluation.error("'\(operation.name)' gave \(results.count) results, not \(shapes.count)")
    }
    for (index, result) in results.enumerated() {
      guard case .tensor(let tensor) = result else { continue }
      let value = operation.results[index]
      guard tensor.element == value.type.element, Self.fits(tensor.shape, shapes[index]) else {
        throw evaluation.error(
          "'\(operation.name)' gave \(tensor.typeDescription) for '%\(value.name)', which is \(value.type)")
      }
      // How many positions a set holds is its own affair, as far as its dim has room.
      if let extent = tensor.shape.last, let dim = value.type.shape.last, shapes[index].last == -1 {
        let bound = limit(of: dim, extents)
        guard extent <= bound else {
          throw evaluation.error("'%\(value.name)' has \(extent) positions, but \(dim) is at most \(bound)")
        }
      }
    }
    return results
  }

  private static func fits(_ shape: [Int], _ wanted: [Int]) -> Bool {
    shape.count == wanted.count && zip(shape, wanted).allSatisfy { $0 == $1 || $1 == -1 }
  }

  /// The largest extent that a dim may have in this call.
  private func limit(of dim: Dim, _ extents: [String: Int]) -> Int {
    if case .named(let name) = dim, let extent = extents[name] { return extent }
    return module.bound(of: dim) ?? 0
  }

  private func tensor(of global: Global, as element: ElementType) throws -> Tensor {
    let key = "\(global.name):\(element.rawValue)"
    if let tensor = loaded[key] { return tensor }
    let plain = try tensor(of: global)
    let result = plain.element == element ? plain : try Tensor(element, plain.shape, plain.floats)
    loaded[key] = result
    return result
  }

  private func observed(_ result: Argument) throws -> Tensor {
    switch result {
    case .tensor(let tensor): tensor
    case .cache(let cache): try cache.rows()
    }
  }

  /// For each op, the values that nobody needs after it.
  private func lastUses(in function: Function) -> [[ObjectIdentifier]] {
    var result = [[ObjectIdentifier]](repeating: [], count: function.body.count)
    var seen = Set(function.returns.map { ObjectIdentifier($0) })
    for index in function.body.indices.reversed() {
      for value in function.body[index].results + function.body[index].allOperands
      where seen.insert(ObjectIdentifier(value)).inserted { result[index].append(ObjectIdentifier(value)) }
    }
    return result
  }

  // MARK: - Extents

  /// The extents that the arguments give to the named dims.
  private func bind(_ arguments: [Argument], to function: Function) throws -> [String: Int] {
    func fail(_ message: String) -> DiagnosticError { DiagnosticError("argument", message, at: function.location) }
    guard arguments.count == function.arguments.count else {
      throw fail("'@\(function.name)' takes \(function.arguments.count) arguments, not \(arguments.count)")
    }
    var extents: [String: Int] = [:]
    for (index, argument) in arguments.enumerated() {
      let value = function.arguments[index]
      let name = "'%\(value.name)' of '@\(function.name)'"
      let (element, shape): (ElementType, [Int])
      switch argument {
      case .tensor(let tensor):
        guard function.argumentRoles[index] != .cache else { throw fail("\(name) must be a cache, not a tensor") }
        (element, shape) = (tensor.element, tensor.shape)
      case .cache(let cache):
        guard !cache.isStale else { throw fail("\(name) got a version of a cache that an append has replaced") }
        let storage = cache.storage
        guard cache.positions == nil else { throw fail("\(name) must be a whole cache, not gathered positions") }
        (element, shape) = (storage.element, [cache.length, storage.heads, storage.dim])
      }
      guard element == value.type.element, shape.count == value.type.rank else {
        throw fail(
          "\(name) must be \(value.type), not \(element.rawValue)[\(shape.map(String.init).joined(separator: ", "))]")
      }
      for (extent, dim) in zip(shape, value.type.shape) {
        switch dim {
        case .fixed(let expected):
          guard extent == expected else { throw fail("\(name) must be \(value.type), but an extent is \(extent)") }
        case .named(let dimName):
          // A set has as many positions as were chosen for it, perhaps when the context was shorter.
          if value.isSet { continue }
          if let known = extents[dimName], known != extent {
            throw fail("\(name) has \(dimName) = \(extent), but an argument before it has \(known)")
          }
          guard let bound = module.bound(of: dim) else { throw fail("the dim '\(dimName)' of \(name) is not declared") }
          guard extent <= bound else { throw fail("\(name) has \(dimName) = \(extent), above its bound \(bound)") }
          extents[dimName] = extent
        }
      }
    }
    return extents
  }

  private func checkSets(_ arguments: [Argument], of function: Function, _ extents: [String: Int]) throws {
    for (value, argument) in zip(function.arguments, arguments) where value.isSet {
      guard case .tensor(let tensor) = argument, let dim = value.type.shape.last, let count = tensor.shape.last,
        count > limit(of: dim, extents)
      else { continue }
      throw DiagnosticError(
        "argument",
        "'%\(value.name)' of '@\(function.name)' has \(count) positions, but \(dim) is at most \(limit(of: dim, extents))",
        at: function.location)
    }
  }

  /// The dims `S = min(512, L)` whose `L` is known; their arguments must agree.
  private func bindMinima(_ extents: inout [String: Int]) throws {
    // A dim may be the minimum of one that is declared below it.
    for _ in module.dims {
      var isDone = true
      for declaration in module.dims {
        guard case .minimum(let limit, let other) = declaration.rule, let extent = extents[other] else { continue }
        let value = min(limit, extent)
        if let known = extents[declaration.name], known != value {
          throw DiagnosticError("argument", "\(declaration.name) is \(known), but min(\(limit), \(other)) is \(value)")
        }
        if extents.updateValue(value, forKey: declaration.name) == nil { isDone = false }
      }
      if isDone { return }
    }
  }

  /// - Returns: -1 for the extent of a set, which the op decides, and for that of a view through one.
  private func shape(of value: Value, _ extents: [String: Int], _ location: SourceRange?) throws -> [Int] {
    try value.type.shape.map { dim in
      switch dim {
      case .fixed(let extent): return extent
      case .named(let name):
        if value.isSet { return -1 }
        if let extent = extents[name] { return extent }
        if value.isCache { return -1 }
        throw DiagnosticError("unbound-dim", "no argument gives '\(name)' of '%\(value.name)' an extent", at: location)
      }
    }
  }

  // MARK: - The module

  /// Finds what would make an op read past its operands; the verifier's other rules do not matter here.
  private static func check(_ module: Module, _ implementations: [String: OpImplementation]) throws {
    for operation in module.functions.flatMap(\.body) {
      guard implementations[operation.name] != nil else { throw unknownOp(operation) }
      for group in operation.definition.operandGroups where !group.count.contains(operation[group: group.label].count) {
        let count = operation[group: group.label].count
        let label = group.label.isEmpty ? "" : " in '\(group.label)'"
        throw DiagnosticError(
          "operands", "'\(operation.name)' cannot have \(count) operands\(label)", at: operation.location)
      }
      let written = operation.results.map(\.type)
      do {
        let types = try operation.definition.inferTypes(operation, written)
        guard types == written, written.count == operation.definition.resultCount else {
          let text = types.map(\.description).joined(separator: ", ")
          throw TypeRuleError("the result of '\(operation.name)' must be \(text)")
        }
      } catch let error as TypeRuleError {
        throw DiagnosticError("types", error.message, at: operation.location)
      }
    }
  }

  private static func unknownOp(_ operation: Operation) -> DiagnosticError {
    DiagnosticError("unknown-op", "the interpreter does not know the op '\(operation.name)'", at: operation.location)
  }
}

extension Value {
  /// i32[S] or i32[KV, S]: positions, as many as were chosen.
  var isSet: Bool { isSequenceValue && type.element == .i32 }
}
