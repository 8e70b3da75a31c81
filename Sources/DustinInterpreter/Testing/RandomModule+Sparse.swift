import DustinIR
import DustinSupport

extension RandomModule {
  /// Random choices of how attention becomes sparse; every combination is valid.
  public struct Sparsity: Sendable, Equatable, CustomStringConvertible {
    /// Where the sets come from: one for the model or one per layer from `@select`, or made by `@sparse` itself from upper
    /// bounds of its own rows.
    public enum Sets: String, Sendable, CaseIterable { case model, layer, own }
    public var sets = Sets.model
    /// A set per KV head.
    public var isPerHead = false
    public var budget = 24
    public var sink = 4
    public var recent = 8
    public var granularity = 1
    /// Share of a signal's sum that is enough; 1 is off. Where the cut falls depends on the order of sums, so that
    /// emitted code may rightly choose otherwise.
    public var cover = 1.0
    /// Positions of the first signal; nil for equal shares.
    public var quota: Int?
    /// Every other layer stays dense.
    public var keepsDenseLayers = false
    public var take = "all"
    public var reduce = "mean"
    public var pool = 1
    /// Block size of upper bounds in the place of the softmax; nil for none.
    public var bound: Int?
    /// Scores by some query heads only.
    public var choosesHeads = false
    /// Keeps the last accepted row instead of all.
    public var keepsLastRow = false

    public init() {}

    public init(seed: UInt64) {
      var random = SeededGenerator(seed: seed ^ 0x5a55)
      func one<Choice>(_ choices: [Choice]) -> Choice { choices[Int.random(in: choices.indices, using: &random)] }
      sets = one(Sets.allCases)
      isPerHead = one([true, false, false])
      granularity = one([1, 1, 16])
      sink = one([0, 1, 4, 6])
      recent = one([1, 3, 16])
      let kept = SetSize(budget: 0, sink: sink, recent: recent, granularity: granularity).kept
      budget = kept + granularity * Int.random(in: 0...(granularity == 1 ? 40 : 3), using: &random)
      quota = Bool.random(using: &random) ? Int.random(in: 0...(budget - kept), using: &random) : nil
      keepsDenseLayers = one([true, false, false])
      take = one(["all", "last", "ends"])
      reduce = one(["mean", "max"])
      pool = one([1, 3, 5, 9])
      bound = one([nil, nil, 1, 5, 16])
      choosesHeads = Bool.random(using: &random)
      keepsLastRow = Bool.random(using: &random)
    }

    public var description: String {
      var parts = [
        "\(sets.rawValue)\(isPerHead ? " per head" : "")", "\(budget) of \(sink)+\(recent) by \(granularity)",
      ]
      parts += ["\(reduce) of \(take)", "pool \(pool)"]
      if let bound { parts.append("bound \(bound)") }
      if let quota { parts.append("quota \(quota)") }
      if cover < 1 { parts.append("cover \(cover)") }
      if keepsDenseLayers { parts.append("some layers dense") }
      return parts.joined(separator: ", ")
    }
  }

  /// Adds the functions of a sparse round to a module in stage tensor, after its numerics are decided: `@sparse`, a copy
  /// of a function that gives logits for every row, which reads through sets; `@look`, a signal from the kept rows; and
  /// `@select`, the sets from that signal and another one. All functions with logits then also return the rows that
  /// `@look` and `@select` take.
  public static func addSparseFunctions(
    to module: Module, _ sparsity: Sparsity, like name: String = "verify"
  ) throws {
    guard module.stage == .tensor, let dense = module.function(name) else {
      throw DiagnosticError("unknown-function", "a module in stage tensor with '@\(name)' is needed")
    }
    let builder = try SparseBuilder(module, dense, sparsity)
    let sparse = dense.clone(as: "sparse")
    sparse.fidelity = .approximate("random")
    for function in module.functions + [sparse] where function.body.contains(where: { $0.name == "attend" }) {
      builder.returnRows(of: function)
    }
    try builder.makeSparse(sparse)
    module.functions.append(sparse)
    module.functions.append(try builder.look())
    if sparsity.sets != .own { module.functions.append(try builder.select()) }
    try Verifier.check(module)
  }
}

/// Builds the functions of one round.
private struct SparseBuilder {
  let module: Module
  let dense: Function
  let sparsity: RandomModule.Sparsity
  let extent: Dim

  init(_ module: Module, _ dense: Function, _ sparsity: RandomModule.Sparsity) throws {
    self.module = module
    self.dense = dense
    self.sparsity = sparsity
    let isOpen = sparsity.granularity > 1 || sparsity.cover < 1
    let rule = isOpen ? DimDeclaration.Rule.bounded(sparsity.budget) : .minimum(sparsity.budget, of: "L")
    module.dims.append(DimDeclaration("S", rule))
    extent = .named("S")
  }

  private func attends(_ function: Function) -> [Operation] { function.body.filter { $0.name == "attend" } }
  private var layers: Range<Int> { 0..<attends(dense).count }
  private var sparseLayers: [Int] { layers.filter { !sparsity.keepsDenseLayers || $0 % 2 == 0 } }
  private var planes: [Dim] {
    guard sparsity.isPerHead, let cache = dense.arguments.first(where: \.isCache) else { return [] }
    return [cache.type.shape[1]]
  }
  private var setType: TensorType { TensorType(.i32, planes + [extent]) }
  private var signalType: TensorType { TensorType(.f32, planes + [.named("L")]) }
  private var rowRole: ValueRole { sparsity.keepsLastRow ? .row : .rows }

  /// The queries of every layer, in front of the caches.
  func returnRows(of function: Function) {
    let place = function.returnRoles.firstIndex(of: .cache) ?? function.returns.count
    for (layer, attend) in attends(function).enumerated() {
      attend.operands[0].name = "rows.\(layer)"
      function.returns.insert(attend.operands[0], at: place + layer)
      function.returnRoles.insert(rowRole, at: place + layer)
    }
  }

  func makeSparse(_ function: Function) throws {
    var body: [Operation] = []
    var layer = -1
    let model = sparsity.sets == .model ? function.addArgument("set", setType, role: .round) : nil
    for operation in function.body {
      defer { body.append(operation) }
      guard operation.name == "attend" else { continue }
      layer += 1
      guard sparseLayers.contains(layer) else { continue }
      let caches = operation[group: "cache"]
      let set: Value
      switch sparsity.sets {
      case .model: set = model ?? caches[0]
      case .layer: set = function.addArgument("set.\(layer)", setType, role: .round)
      case .own:
        let bounds = try score(
          operation.operands[0], caches[0], operation, bound: sparsity.bound ?? 16, named: "bounds")
        let own = try select([bounds.result], named: "own")
        body += [bounds, own]
        set = own.result
      }
      let views = try OpDefinition.gather.operation([("", [set]), ("cache", caches)], names: ["ks", "vs"])
      body.append(views)
      operation[group: "cache"] = views.results
      operation[group: "tail"] = caches
      operation[group: "after"] = [set]
    }
    function.setBody(body)
  }

  /// `@look(rows, caches) -> (%look)`, over the last layer.
  func look() throws -> Function {
    let (function, rows, caches) = reader("look")
    let layer = layers.upperBound - 1
    let operation = try score(rows[layer], caches[2 * layer], attends(dense)[layer], bound: nil, named: "look")
    function.addReturn(function.append(operation).result, role: .round)
    return function
  }

  /// `@select(rows, %look, caches) -> (%set)` or one set per layer; its own signal goes over all layers or over the set's.
  func select() throws -> Function {
    let (function, rows, caches) = reader("select")
    let look = function.addArgument("look", signalType, role: .round)
    for group in sparsity.sets == .model ? [nil] : sparseLayers.map(Optional.some) {
      var signal: Value?
      for layer in layers where group == nil || group == layer {
        let operation = try score(
          rows[layer], caches[2 * layer], attends(dense)[layer], bound: sparsity.bound, onto: signal, named: "signal")
        signal = function.append(operation).result
      }
      let set = try select([look] + (signal.map { [$0] } ?? []), named: group.map { "set.\($0)" } ?? "set")
      function.addReturn(function.append(set).result, role: .round)
    }
    return function
  }

  /// A function of kept rows and of all caches.
  private func reader(_ name: String) -> (Function, rows: [Value], caches: [Value]) {
    let function = Function(name)
    function.numerics = dense.numerics
    let rows = attends(dense).enumerated().map { layer, attend in
      function.addArgument("rows.\(layer)", attend.operands[0].type, role: rowRole)
    }
    let caches = dense.arguments.filter(\.isCache).map { function.addArgument($0.name, $0.type, role: .cache) }
    return (function, rows, caches)
  }

  private func score(
    _ q: Value, _ keys: Value, _ attend: Operation, bound: Int?, onto: Value? = nil, named name: String
  ) throws -> Operation {
    let (heads, groups) = (q.type.shape[1].fixedValue ?? 1, keys.type.shape[1].fixedValue ?? 1)
    // At least one of each KV head.
    let chosen = (0..<heads).filter { $0 % max(1, heads / groups) == 0 || $0 % 3 == 1 }
    var attributes = AttributeList([
      ("scale", attend.attributes["scale"] ?? .float(1)), ("take", .word(sparsity.take)),
      ("reduce", .word(sparsity.reduce)), ("pool", .int(sparsity.pool)),
    ])
    if sparsity.choosesHeads { attributes["heads"] = .array(chosen.map { .int($0) }) }
    if let bound { attributes["bound"] = .int(bound) }
    return try OpDefinition.score.operation(
      [("", [q]), ("cache", [keys]), ("onto", onto.map { [$0] } ?? [])], attributes, names: [name], types: [signalType])
  }

  private func select(_ signals: [Value], named name: String) throws -> Operation {
    var attributes = AttributeList([
      ("budget", .int(sparsity.budget)), ("sink", .int(sparsity.sink)), ("recent", .int(sparsity.recent)),
      ("granularity", .int(sparsity.granularity)),
    ])
    if sparsity.cover < 1 { attributes["cover"] = .float(sparsity.cover) }
    if signals.count == 2, let quota = sparsity.quota { attributes["quotas"] = .array([.int(quota)]) }
    return try OpDefinition.select.operation([("", signals)], attributes, names: [name], types: [setType])
  }
}
