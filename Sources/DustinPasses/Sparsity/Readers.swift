import DustinIR
import DustinSupport

/// What the sparsity passes share: a function's attention layers, and the rows that it passes on for scoring.
struct AttentionLayers {
  struct Layer {
    let attend: Operation
    var query: Value { attend.operands[0] }
    var scale: Double { attend.attributes.float("scale") ?? 1 }
    var keys: Value { attend[group: "cache"][0] }
    var values: Value { attend[group: "cache"][1] }
  }
  let function: Function
  let layers: [Layer]

  /// - Parameter place: where the function or an op of it stands, for errors; nil: where they were read.
  /// - Throws: `DiagnosticError` when the function has no attention, when it reads through a set already, or when its
  ///   numerics are still open (queries must have the element type in which they are compared).
  init(
    _ function: Function, _ passName: String, at place: ((Operation?) -> SourceRange?)? = nil
  ) throws {
    let place = place ?? { $0?.location ?? function.location }
    self.function = function
    layers = function.body.filter { $0.name == "attend" }.map(Layer.init)
    guard !layers.isEmpty else {
      throw DiagnosticError("no-attention", "\(passName): @\(function.name) has no attention", at: place(nil))
    }
    guard function.numerics != .abstract else {
      throw DiagnosticError(
        "numerics-undecided", "\(passName): the numerics of @\(function.name) are not decided; run numerics first",
        at: place(nil))
    }
    if let sparse = layers.first(where: { !$0.attend[group: "after"].isEmpty }) {
      throw DiagnosticError(
        "sparse-already", "\(passName): @\(function.name) already reads through a set", at: place(sparse.attend))
    }
  }

  /// The layer, with the heads that it has.
  /// - Throws: `DiagnosticError` with id `heads` when the layer or one of the heads does not exist.
  func layer(_ choice: HeadChoice.Layer, _ passName: String) throws -> Layer {
    guard layers.indices.contains(choice.layer) else {
      throw DiagnosticError(
        "heads", "\(passName): there is no layer \(choice.layer) in @\(function.name), only 0 … \(layers.count - 1)")
    }
    let layer = layers[choice.layer]
    let count = layer.query.type.shape[1].fixedValue ?? 0
    if let head = choice.heads?.first(where: { $0 >= count }) {
      throw DiagnosticError(
        "heads", "\(passName): layer \(choice.layer) of @\(function.name) has no head \(head), only 0 … \(count - 1)")
    }
    return layer
  }
}

extension Function {
  /// Returns the queries of a layer under a name, for whoever scores with them.
  /// - Throws: `DiagnosticError` when there is no such layer, or when its queries go by another name already.
  func returnQueries(of choice: HeadChoice.Layer, as name: String, role: ValueRole, _ passName: String) throws {
    let query = try AttentionLayers(self, passName).layer(choice, passName).query
    if let index = returns.firstIndex(of: query) {
      if query.name == name, returnRoles[index] == role { return }
      throw DiagnosticError(
        "taken-name",
        "\(passName): @\(self.name) returns the queries of layer \(choice.layer) already, as %\(query.name)",
        at: query.definingOperation?.location ?? location)
    }
    query.name = name
    insertReturn(query, role: role)
  }

  /// Adds a result; caches stay the last ones.
  func insertReturn(_ value: Value, role: ValueRole) {
    let index = returnRoles.firstIndex(of: .cache) ?? returns.count
    returns.insert(value, at: index)
    returnRoles.insert(role, at: index)
  }

  /// Takes caches as another function does, in the same order; gives the copies by the originals.
  func addCaches(like other: Function) -> [Value: Value] {
    var copies: [Value: Value] = [:]
    for (argument, role) in zip(other.arguments, other.argumentRoles) where role == .cache {
      copies[argument] = addArgument(argument.name, argument.type, role: .cache)
    }
    return copies
  }

  /// The cache argument behind a version of it.
  func cacheArgument(of version: Value) -> Value {
    var value = version
    while let operation = value.definingOperation, let index = operation.results.firstIndex(of: value) {
      let caches = operation[group: "cache"]
      let place = index - (operation.results.count - caches.count)
      guard caches.indices.contains(place) else { break }
      value = caches[place]
    }
    return value
  }
}

extension AttributeList {
  /// Without the entries that are nil.
  init(given entries: [(String, Attribute?)]) {
    self.init(entries.compactMap { key, value in value.map { (key, $0) } })
  }
}
