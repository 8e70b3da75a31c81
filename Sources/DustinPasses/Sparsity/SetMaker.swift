import DustinIR
import DustinSupport

/// Builds the signals and sets of `sparsify-verify`, in the function where they belong.
struct SetMaker {
  let pass: SparsifyVerify
  let module: Module
  let verify: Function
  private let size: SetSize
  private let extent: Dim
  /// Sets that `@select` or `@observe` make: one for the model, or one per layer.
  private var types: [TensorType] = []

  init(pass: SparsifyVerify, module: Module, verify: Function) {
    self.pass = pass
    self.module = module
    self.verify = verify
    var size = pass.size
    // Without signals a set is what is always taken.
    if pass.signals.isEmpty && size.granularity == 1 { size.budget = size.kept }
    self.size = size
    let positions = verify.arguments.first { $0.isCache }?.type.shape[0] ?? .named("L")
    extent = size.declare("S", of: positions, in: module, fills: pass.cover == 1)
  }

  private var attention: AttentionLayers { get throws { try AttentionLayers(verify, pass.name) } }
  private var attributes: AttributeList {
    size.attributes(quotas: pass.quotas, cover: pass.cover == 1 ? nil : pass.cover)
  }

  // MARK: History

  /// Layers whose queries are passed on, with the heads that score.
  private func historyLayers() throws -> [HeadChoice.Layer] {
    guard pass.signals.contains(.history) else { return [] }
    if let history = pass.history {
      for layer in history.layers { _ = try attention.layer(layer, pass.name) }
      return history.layers
    }
    return try attention.layers.indices.filter { !pass.denseLayers.contains($0) }.map { HeadChoice.Layer($0, nil) }
  }

  func passHistoryOn(to functions: [Function]) throws {
    for layer in try historyLayers() {
      for function in functions {
        try function.returnQueries(
          of: layer, as: "history.\(layer.layer)", role: pass.rows == .last ? .row : .rows, pass.name)
      }
    }
  }

  // MARK: Functions that make sets

  /// Builds `@select` or `@observe`; nil when the layers of `@verify` choose for themselves.
  mutating func makeSets() throws -> Function? {
    if pass.signals.contains(.bounds) { return nil }
    if pass.signals.contains(.window) || pass.signals.contains(.oracle) { return try observe() }
    return try select()
  }

  private mutating func select() throws -> Function {
    let function = Function("select")
    function.numerics = verify.numerics
    let history = try historyLayers()
    let layers = try attention.layers
    var rows: [Int: Value] = [:]
    for layer in history {
      rows[layer.layer] = function.addArgument(
        "history.\(layer.layer)", layers[layer.layer].query.type, role: pass.rows == .last ? .row : .rows)
    }
    let caches = function.addCaches(like: verify)
    let builder = FunctionBuilder(function)
    let groups = pass.sets == .model ? [-1] : layers.indices.filter { !pass.denseLayers.contains($0) }
    for group in groups {
      var signals: [Value] = []
      for signal in pass.signals {
        if signal == .look {
          signals.append(try function.take("look", TensorType(.f32, [layers[0].keys.type.shape[0]]), pass.name))
          continue
        }
        var sum: Value?
        let chosen = history.filter { group < 0 || $0.layer == group }
        for (index, layer) in chosen.enumerated() {
          let keys = verify.cacheArgument(of: layers[layer.layer].keys)
          sum = try score(
            rows[layer.layer].map { [$0] } ?? [], keys: caches[keys] ?? keys, layers[layer.layer], heads: layer.heads,
            onto: sum, isLast: index == chosen.count - 1, takesEnds: pass.rows == .ends, builder)
        }
        if let sum { signals.append(sum) }
      }
      let cache = signals.isEmpty ? function.arguments.first { $0.isCache } : nil
      try returnSet(group, signals, cache: cache, role: .round, function, builder)
    }
    return function
  }

  /// A dense run over some tokens whose queries choose the sets.
  private mutating func observe() throws -> Function {
    let function = verify.clone(as: "observe")
    let builder = FunctionBuilder(function)
    let layers = try AttentionLayers(function, pass.name).layers
    let kept = zip(function.returns, function.returnRoles).filter { $0.1 == .cache }
    function.returns = kept.map(\.0)
    function.returnRoles = kept.map(\.1)
    let role: ValueRole = pass.signals.contains(.oracle) ? .round : .static
    let sparse = layers.indices.filter { !pass.denseLayers.contains($0) }
    let isOneSet = pass.sets == .model
    var sum: Value?
    for index in sparse {
      let signal = try score(
        [layers[index].query], keys: layers[index].keys, layers[index], heads: nil, onto: sum,
        isLast: !isOneSet || index == sparse.last, takesEnds: false, builder)
      if isOneSet { sum = signal } else { try returnSet(index, [signal], cache: nil, role: role, function, builder) }
    }
    if let sum { try returnSet(-1, [sum], cache: nil, role: role, function, builder) }
    return function
  }

  private mutating func returnSet(
    _ group: Int, _ signals: [Value], cache: Value?, role: ValueRole, _ function: Function, _ builder: FunctionBuilder
  ) throws {
    let planes = signals.first.map { Array($0.type.shape.dropLast()) } ?? []
    let type = TensorType(.i32, planes + [extent])
    let set = try builder.emit(
      .select, [("", signals), ("cache", cache.map { [$0] } ?? [])], attributes,
      names: [group < 0 ? "set" : "set.\(group)"], types: [type])[0]
    function.addReturn(set, role: role)
    types.append(type)
  }

  private func score(
    _ rows: [Value], keys: Value, _ layer: AttentionLayers.Layer, heads: [Int]?, onto: Value?, isLast: Bool,
    takesEnds: Bool, bound: Int? = nil, _ builder: FunctionBuilder
  ) throws -> Value {
    let operation = try scoreOperation(
      rows, keys: keys, layer, heads: heads, onto: onto, isLast: isLast, takesEnds: takesEnds, bound: bound)
    return builder.function.append(operation).result
  }

  private func scoreOperation(
    _ rows: [Value], keys: Value, _ layer: AttentionLayers.Layer, heads: [Int]?, onto: Value?, isLast: Bool,
    takesEnds: Bool, bound: Int?
  ) throws -> Operation {
    let attributes = AttributeList(given: [
      ("heads", heads.map { .array($0.map { .int($0) }) }), ("scale", .float(layer.scale)),
      ("take", takesEnds ? .word("ends") : nil), ("reduce", pass.reduce == .max ? .word("max") : nil),
      ("bound", bound.map { .int($0) }), ("pool", bound == nil && isLast && pass.pool > 1 ? .int(pass.pool) : nil),
    ])
    let shape = keys.type.shape
    let planes = pass.sets == .kvHead ? [shape[1]] : []
    return try OpDefinition.score.operation(
      [("", rows), ("cache", [keys]), ("onto", onto.map { [$0] } ?? [])], attributes,
      names: [isLast ? "signal" : "part"],
      types: [TensorType(.f32, planes + [shape[0]])])
  }

  // MARK: Readers

  /// The set that a layer of `@verify` reads through.
  mutating func set(
    ofLayer index: Int, for layer: AttentionLayers.Layer, _ rewriter: Rewriter
  ) throws -> Value {
    let role: ValueRole = pass.signals.contains(.window) ? .static : .round
    guard pass.signals.contains(.bounds) else {
      let number = pass.sets == .model ? 0 : index - pass.denseLayers.filter { $0 < index }.count
      return try verify.take(pass.sets == .model ? "set" : "set.\(index)", types[number], role: role, pass.name)
    }
    let score = try scoreOperation(
      [layer.query], keys: layer.keys, layer, heads: nil, onto: nil, isLast: true, takesEnds: false, bound: pass.block)
    rewriter.insert(score, before: layer.attend)
    var signals: [Value] = []
    for signal in pass.signals {
      switch signal {
      case .bounds: signals.append(score.result)
      case .look:
        signals.append(try verify.take("look", TensorType(.f32, [layer.keys.type.shape[0]]), pass.name))
      default: throw DiagnosticError("signals", "\(pass.name): bounds go with look only")
      }
    }
    let type = TensorType(.i32, Array(score.result.type.shape.dropLast()) + [extent])
    let select = try OpDefinition.select.operation([("", signals)], attributes, names: ["set"], types: [type])
    rewriter.insert(select, before: layer.attend)
    return select.result
  }
}
