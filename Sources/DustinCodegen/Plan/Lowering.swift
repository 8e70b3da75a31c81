import CDustin
import DustinIR
import DustinSupport

extension KernelPlan {
  /// Plans every function of a module in stage `planned`. Throws for shapes that no kernel serves, naming the op.
  public init(lowering module: Module, for target: CPUTarget) throws {
    self.init(target: target)
    guard module.stage == .planned else {
      throw DiagnosticError(
        "stage", "code generation needs stage 'planned', this module is in stage '\(module.stage.rawValue)'",
        notes: [.note("end the pipeline with 'plan-memory'")])
    }
    try declareSequenceValues(of: module)
    program.policy = Program.Policy(
      refresh: module.attributes.int("refresh") ?? 1, denseEvery: module.attributes.int("dense_every") ?? 0,
      observe: module.attributes.int("observe") ?? 0)
    for function in module.functions {
      var lowering = try FunctionLowering(module, function, self)
      try lowering.run()
      self = lowering.plan
    }
    program.kernelCount = kernels.count
    program.weightBytes = weights.byteCount
    for size in [program.arenaBytes, program.weightBytes] where size >= Arena.largestByteCount {
      throw DiagnosticError("program-size", "the module needs more memory than any machine has")
    }
    program.scratchBytesPerThread = ((kernels.map(\.scratchBytes).max() ?? 0) + 63) / 64 * 64 + 64
  }
}

/// Lowers one function; the plan is threaded through.
struct FunctionLowering {
  let module: Module
  let function: Function
  let maxRows: Int
  var plan: KernelPlan
  var calls: [KernelPlan.Call] = []
  /// Arena offset of every row value; aliases share one.
  var offsets: [Value: Int] = [:]
  /// Region of every cache version.
  var regions: [Value: Int] = [:]
  /// Number of every signal and set in the program's `sequenceValues`.
  var sequenceValues: [Value: Int] = [:]
  /// Weights under a `cast`: the element type that they are packed in.
  var weightCasts: [Value: (global: Global, element: ElementType)] = [:]
  var arenaEnd = 0
  /// The op that is being lowered: where diagnostics point.
  var current: Operation?
  var tokenLimit = Int(Int32.max)
  var partialBytes = 0
  /// The attention whose results are still in the partials, and maybe parts of a score.
  var partialsOf: Value?
  /// What a step of the function reads of a sequence's cache.
  var reads = Program.CacheReads()
  /// Whether the caches lie as rows too, for readers through sets.
  var keepsRows: Bool { module.attributes.word("kv_layout") == "both" }

  init(_ module: Module, _ function: Function, _ plan: KernelPlan) throws {
    self.module = module
    self.function = function
    self.plan = plan
    maxRows = module.bound(of: .named("T")) ?? 1
    let arguments = Arena.argumentOffsets(of: function, maxRows: maxRows)
    arenaEnd = arguments.end
    var cacheRegions: [Program.CacheRegion] = []
    for (index, argument) in function.arguments.enumerated() {
      if let offset = arguments.offsets[index] {
        guard argument.type.shape.first == .named("T") else {
          throw unsupported("the argument '%\(argument.name)' must have one row per token (T)", nil)
        }
        offsets[argument] = offset
      } else if argument.isCache {
        regions[argument] = cacheRegions.count
        cacheRegions.append(try Self.region(argument, isKeys: cacheRegions.count % 2 == 0))
      }
    }
    let values = function.arguments + function.returns + function.body.flatMap(\.results)
    for value in values where value.isSequenceValue {
      sequenceValues[value] = plan.program.sequenceValues.firstIndex {
        $0.name == KernelPlan.name(of: value, in: function)
      }
    }
    if keepsRows {
      cacheRegions += cacheRegions.map { region in
        Program.CacheRegion(
          isKeys: region.isKeys, heads: region.heads, dim: region.dim, element: region.element, layout: .rows)
      }
    }
    if plan.program.cacheRegions.isEmpty { self.plan.program.cacheRegions = cacheRegions }
    guard cacheRegions.isEmpty || self.plan.program.cacheRegions == cacheRegions else {
      throw DiagnosticError(
        "cache-mismatch", "function '@\(function.name)' takes other caches than the functions before it",
        at: function.location)
    }
  }

  private static func region(_ value: Value, isKeys: Bool) throws -> Program.CacheRegion {
    let type = value.type
    guard type.rank == 3, let heads = type.shape[1].fixedValue, let dim = type.shape[2].fixedValue,
      let element: Program.Element = type.element == .bf16 ? .bf16 : type.element == .f32 ? .f32 : nil
    else {
      throw DiagnosticError("cache-type", "'%\(value.name)': a cache must be f32 or bf16 [L, KV, D], not \(type)")
    }
    guard dim % 16 == 0, dim > 0 else {
      throw DiagnosticError(
        "head-dim", "compiled attention needs a head dim that 16 divides; this model's heads hold \(dim) values each",
        notes: [.note("the interpreter runs any head dim")])
    }
    return Program.CacheRegion(isKeys: isKeys, heads: heads, dim: dim, element: element)
  }

  mutating func run() throws {
    for operation in function.body {
      current = operation
      try lower(operation)
    }
    current = nil
    var table: [Int64] = []
    for call in calls {
      table += [Int64(call.kernel), call.barrier ? 1 : 0, Int64(call.arguments.count)]
      table += call.arguments.map(\.word)
    }
    func ports(_ values: [Value], _ roles: [ValueRole]) throws -> [Program.Port] {
      try zip(values, roles).map { value, role in
        Program.Port(
          name: (value.runningArgument ?? value).name, role: role.rawValue, place: try place(value))
      }
    }
    plan.functions.append(KernelPlan.PlannedFunction(name: function.name, calls: calls))
    var lowered =
      Program.Function(
        name: function.name, maxRows: maxRows, table: table,
        arguments: try ports(function.arguments, function.argumentRoles),
        results: try ports(function.returns, function.returnRoles), isExact: function.fidelity == .exact,
        tokenLimit: tokenLimit)
    lowered.partialBytes = partialBytes
    lowered.reads = reads
    plan.program.functions.append(lowered)
    plan.program.arenaBytes = max(plan.program.arenaBytes, arenaEnd)
  }

  func place(_ value: Value) throws -> Program.Port.Place {
    if let region = regions[value] { return .cache(region: region) }
    if let number = sequenceValues[value] { return .sequence(value: number) }
    guard let offset = offsets[value] else { throw unsupported("'%\(value.name)' has no place in the arena", nil) }
    let element: Program.Element =
      switch value.type.element {
      case .f32: .f32
      case .bf16: .bf16
      case .i32: .i32
      case .f16: throw unsupported("'%\(value.name)' is f16, which only weights may be", nil)
      }
    return .arena(
      offset: offset, rowBytes: Arena.rowBytes(value.type), count: try columns(value),
      element: element, perSequence: domain(value) == .sequences)
  }

  // MARK: one op

  mutating func lower(_ op: Operation) throws {
    if op.name == "cast", let global = op.operands[0].global {
      weightCasts[op.result] = (global, op.result.type.element)
      return
    }
    try reservePlaces(op)
    switch op.name {
    case "embed": try lowerEmbed(op)
    case "rmsnorm":
      try emitNorm(
        op, x: op.operands[0], gain: op[group: "weight"][0], output: element(op.result), out: offset(op.result))
    case "linear": try lowerLinear(op)
    case "add", "mul", "silu", "cast", "slice", "last_row": try lowerElementwise(op)
    case "reshape": try lowerReshape(op)
    case "rope": try lowerRope(op)
    case "append": try lowerAppend(op)
    case "rope_append": try lowerRopeAppend(op)
    case "attend": try lowerAttend(op)
    case "score": try lowerScore(op)
    case "pool": try lowerPool(op)
    case "select": try lowerSelect(op)
    case "gather": break  // a view: the attention that reads through it has the code
    default: throw unsupported("op '\(op.name)' has no kernel", op)
    }
    // Behind the checks above: the figures are of shapes that have kernels.
    note(op.cacheRead)
  }

  /// Takes the places that `plan-memory` gave to the op's row results.
  mutating func reservePlaces(_ op: Operation) throws {
    var places: [Int] = []
    if case .array(let list)? = op.attributes["at"] {
      places = list.compactMap { if case .int(let offset) = $0 { offset } else { nil } }
    }
    for result in op.results where result.isRows {
      guard !places.isEmpty else { throw unsupported("'%\(result.name)' has no place in the arena", op) }
      let offset = places.removeFirst()
      guard 0..<Arena.largestByteCount ~= offset, offset % Arena.alignment == 0 else {
        throw unsupported("\(offset) is not a place in the arena", op)
      }
      guard result.type.rank > 1 else { throw unsupported("'%\(result.name)' is one number a row", op) }
      guard let rows = result.type.shape.first, rows == .named("T") || rows == .fixed(1) else {
        throw unsupported("'%\(result.name)' must have one row per token (T) or per sequence (1)", op)
      }
      offsets[result] = offset
      arenaEnd = max(arenaEnd, offset + Arena.byteCount(result.type, maxRows: maxRows))
    }
  }

  mutating func call(_ kernel: any Kernel, _ arguments: [KernelPlan.Argument], _ op: Operation) {
    calls.append(KernelPlan.Call(kernel: plan.number(of: kernel), arguments: arguments, operation: op))
  }

  mutating func lowerEmbed(_ op: Operation) throws {
    let (global, packed) = try weight(op[group: "weight"][0])
    let table = try matrix([global], packed, interleaved: false)
    tokenLimit = min(tokenLimit, global.type.shape[0].fixedValue ?? 0)
    let kernel = EmbedKernel(columns: try columns(op.result), table: packed)
    call(kernel, [.arena(try offset(op.operands[0])), .weights(table), .arena(try offset(op.result))], op)
  }

  mutating func emitNorm(_ op: Operation, x: Value, gain: Value, output: FloatElement, out: Int) throws {
    let kernel = NormKernel(
      columns: try columns(x), eps: Float(op.attributes.float("eps") ?? 0), output: output, domain: domain(x))
    call(kernel, [.arena(try offset(x)), .weights(try vector([gain], interleaved: false)), .arena(out)], op)
  }

  mutating func lowerLinear(_ op: Operation) throws {
    var x = try offset(op.operands[0])
    var rows = try element(op.operands[0])
    if let gain = op[group: "norm"].first, let type = Arena.scratchType(of: op) {
      guard let scratch = op.attributes.int("scratch"), 0..<Arena.largestByteCount ~= scratch else {
        throw unsupported("the normed rows have no place", op)
      }
      rows = type.element == .bf16 ? .bf16 : .f32
      arenaEnd = max(arenaEnd, scratch + Arena.byteCount(type, maxRows: maxRows))
      try emitNorm(op, x: op.operands[0], gain: gain, output: rows, out: scratch)
      x = scratch
    }
    let weights = try op[group: "weight"].map { try weight($0) }
    let packed = weights[0].packed
    guard weights.allSatisfy({ $0.packed == packed }) else {
      throw unsupported("the weights have several element types", op)
    }
    guard let dot = Dot(rows: rows, packed: packed, target: plan.target) else {
      throw unsupported("there is no product of \(rows.rawValue) rows and \(packed.rawValue) weights", op)
    }
    let k = try columns(op.operands[0])
    let swiglu = op.attributes.word("activation") == "swiglu"
    let biases = op[group: "bias"]
    let residual = op[group: "residual"].first
    let kernel = MatmulKernel(
      dot: dot, k: k, n: try columns(op.result), hasBias: !biases.isEmpty, hasResidual: residual != nil,
      isSwiGLU: swiglu,
      output: try element(op.result), domain: domain(op.result))
    var arguments: [KernelPlan.Argument] = [
      .arena(x), .weights(try matrix(weights.map(\.global), packed, interleaved: swiglu)),
    ]
    if !biases.isEmpty { arguments.append(.weights(try vector(biases, interleaved: swiglu))) }
    arguments.append(.arena(try offset(op.result)))
    if let residual { arguments.append(.arena(try offset(residual))) }
    call(kernel, arguments, op)
  }

  /// An alias: the rows stay where they are.
  mutating func lowerReshape(_ op: Operation) throws {
    let (from, to) = (op.operands[0].type, op.result.type)
    guard Arena.rowBytes(from) == Arena.rowBytes(to) else {
      throw unsupported("rows of \(from) and \(to) do not lie alike", op)
    }
    offsets[op.result] = try offset(op.operands[0])
  }

  mutating func lowerElementwise(_ op: Operation) throws {
    guard op.name != "last_row" || domain(op.operands[0]) == .tokens else {
      throw unsupported("there is one row a sequence already", op)
    }
    let function: ElementwiseKernel.Function =
      switch op.name {
      case "add": .add
      case "mul": .mul
      case "silu": .silu
      default: .copy
      }
    let kernel = ElementwiseKernel(
      function: function, input: try element(op.operands[0]), output: try element(op.result),
      inputColumns: try columns(op.operands[0]), begin: op.attributes.int("begin") ?? 0,
      columns: try columns(op.result), domain: domain(op.result), takesLastRow: op.name == "last_row")
    let operands = try op.operands.map { KernelPlan.Argument.arena(try offset($0)) }
    call(kernel, operands + [.arena(try offset(op.result))], op)
  }

  mutating func lowerRope(_ op: Operation) throws {
    let shape = op.result.type.shape
    guard let heads = shape[1].fixedValue, let dim = shape[2].fixedValue, dim % 16 == 0 else {
      throw unsupported("compiled rope needs a head dim that 16 divides", op)
    }
    let kernel = RopeKernel(
      heads: heads, dim: dim, scale: Float(op.attributes.float("scale") ?? 1), output: try element(op.result))
    call(
      kernel,
      [
        .arena(try offset(op.operands[0])), .arena(try offset(op[group: "positions"][0])),
        .weights(try vector(op[group: "freqs"], interleaved: false)), .arena(try offset(op.result)),
      ], op)
  }

  mutating func lowerAppend(_ op: Operation) throws {
    let caches = try appendRegions(op, results: op.results)
    let input = try element(op.operands[0])
    guard try element(op.operands[1]) == input else {
      throw unsupported("keys and values must have one element type", op)
    }
    let kernel = AppendKernel(cache: caches.shape, input: input, keepsRows: keepsRows)
    call(kernel, try op.operands.map { .arena(try offset($0)) } + caches.arguments, op)
  }

  mutating func lowerRopeAppend(_ op: Operation) throws {
    let caches = try appendRegions(op, results: Array(op.results.dropFirst()))
    let kernel = RopeAppendKernel(
      cache: caches.shape, queryHeads: op.result.type.shape[1].fixedValue ?? 0,
      scale: Float(op.attributes.float("scale") ?? 1), output: try element(op.result), keepsRows: keepsRows)
    call(
      kernel,
      [
        .arena(try offset(op.operands[0])), .arena(try offset(op[group: "positions"][0])),
        .weights(try vector(op[group: "freqs"], interleaved: false)), .arena(try offset(op.result)),
      ] + caches.arguments, op)
  }

  mutating func lowerAttend(_ op: Operation) throws {
    let set = op[group: "after"].first
    let caches = try cacheArguments(op, group: set == nil ? "cache" : "tail")
    let heads = op.result.type.shape[1].fixedValue ?? 0
    guard let dot = Dot(rows: caches.shape.element, packed: caches.shape.element, target: plan.target) else {
      throw unsupported("the cache's element type has no kernel", op)
    }
    guard (caches.shape.element == .bf16) == (op.attributes.word("probs") == "bf16") else {
      throw unsupported("a bf16 cache needs {probs = bf16}, an f32 cache none", op)
    }
    let output = try element(op.result)
    var attend = AttendKernel(
      cache: caches.shape, queryHeads: heads, scale: Float(op.attributes.float("scale") ?? 1), output: output, dot: dot)
    partialBytes = max(partialBytes, attend.state.bytes * heads)
    partialsOf = op.result
    if let set { return try lowerGatherAttend(op, attend, set, caches.arguments) }
    attend.scores = try scores(beside: op)
    let out = KernelPlan.Argument.arena(try offset(op.result))
    call(attend, [.arena(try offset(op.operands[0]))] + caches.arguments + [out], op)
    call(MergeKernel(cache: caches.shape, queryHeads: heads, output: output), [out], op)
  }

  // MARK: places, shapes and weights

  mutating func appendRegions(_ op: Operation, results: [Value]) throws -> (
    shape: CacheShape, arguments: [KernelPlan.Argument]
  ) {
    let caches = try cacheArguments(op)
    for (old, new) in zip(op[group: "cache"], results) { regions[new] = regions[old] }
    return keepsRows ? (caches.shape, caches.arguments + (try rowArguments(op))) : caches
  }
  func cacheArguments(
    _ op: Operation, group: String = "cache"
  ) throws -> (shape: CacheShape, arguments: [KernelPlan.Argument]) {
    let numbers = try op[group: group].map { cache in
      guard let region = regions[cache] else { throw unsupported("'%\(cache.name)' is not a cache argument", op) }
      return region
    }
    let all = plan.program.cacheRegions
    guard all[numbers[0]].isKeys, !all[numbers[1]].isKeys else {
      throw unsupported("cache arguments must come as keys, values, keys, values, …", op)
    }
    let (region, values) = (all[numbers[0]], all[numbers[1]])
    guard region.heads == values.heads, region.dim == values.dim, region.element == values.element else {
      throw unsupported("the caches of keys and values must have one type", op)
    }
    guard op.operands.allSatisfy({ $0.type.shape.first == .named("T") }) else {
      throw unsupported("a cache takes and serves one row per token (T)", op)
    }
    let shape = CacheShape(heads: region.heads, dim: region.dim, element: region.element == .bf16 ? .bf16 : .f32)
    return (shape, numbers.map(regionArgument))
  }
  func regionArgument(_ number: Int) -> KernelPlan.Argument {
    .region(plan.program.cacheRegions[..<number].reduce(0) { $0 + $1.bytesPerPosition })
  }
  func offset(_ value: Value) throws -> Int {
    guard let offset = offsets[value] else { throw unsupported("'%\(value.name)' has no place in the arena", nil) }
    return offset
  }
  func element(_ value: Value) throws -> FloatElement {
    guard let element = FloatElement(rawValue: value.type.element.rawValue) else {
      throw unsupported("'%\(value.name)' is \(value.type.element.rawValue), kernels take f32 and bf16", nil)
    }
    return element
  }
  func columns(_ value: Value) throws -> Int {
    try value.type.shape.dropFirst().reduce(1) { product, dim in
      guard let extent = dim.fixedValue else {
        throw unsupported("'%\(value.name)': only the first extent may vary", nil)
      }
      return product * extent
    }
  }
  func domain(_ value: Value) -> RowDomain {
    value.type.shape.first == .fixed(1) && value.type.rank > 1 ? .sequences : .tokens
  }
  /// The weight behind an operand and the element type that it is packed in.
  func weight(_ value: Value) throws -> (global: Global, packed: FloatElement) {
    if let (global, element) = weightCasts[value] { return (global, element == .bf16 ? .bf16 : .f32) }
    guard let global = value.global else { throw unsupported("'%\(value.name)' is no weight", nil) }
    return (global, global.type.element == .bf16 ? .bf16 : .f32)
  }
  mutating func matrix(_ globals: [Global], _ packed: FloatElement, interleaved: Bool) throws -> Int {
    let rows = globals.map { $0.type.shape[0].fixedValue ?? 0 }
    let k = globals[0].type.shape[1].fixedValue ?? 0
    return plan.weights.offset(
      of: .panels(sources: globals.map(\.name), rows: rows, k: k, element: packed, interleaved: interleaved))
  }
  mutating func vector(_ values: [Value], interleaved: Bool) throws -> Int {
    let globals = try values.map { try weight($0).global }
    if globals.count == 1, case .constant(let floats) = globals[0].content {
      return plan.weights.offset(of: .constant(name: globals[0].name, values: floats))
    }
    let counts = globals.map { $0.type.shape[0].fixedValue ?? 0 }
    return plan.weights.offset(of: .vector(sources: globals.map(\.name), counts: counts, interleaved: interleaved))
  }
  func unsupported(_ what: String, _ op: Operation?) -> DiagnosticError {
    let op = op ?? current
    return DiagnosticError(
      "no-kernel", "cannot compile '@\(function.name)': \(what)", at: op?.location,
      notes: op.map { [.note("in op '\($0.name)' that makes '%\($0.results.first?.name ?? "")'")] } ?? [])
  }
}
