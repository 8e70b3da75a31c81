import DustinIR
import DustinSupport

#if canImport(Glibc)
  import Glibc
#endif

/// A small transformer with random extents and weights, as the front end would import it: stage tensor, one op per
/// mathematical step. Tests of passes and of emitted code run it beside the interpreter.
///
/// One function `@forward`: `%ids`, `%pos` and the caches, keys and values layer by layer, go in, the logits of every row
/// and the caches come out.
public struct RandomModule {
  /// The extents; every combination of a `Shape` is a valid module.
  public struct Shape: Sendable, Equatable, CustomStringConvertible {
    public var layers = 1
    /// Query heads; a multiple of `kvHeads`.
    public var heads = 2
    public var kvHeads = 1
    public var headDim = 16
    public var hidden = 32
    public var ffn = 48
    public var vocab = 64
    public var hasBiases = false
    /// The output matrix is the embedding table.
    public var isTied = false
    /// Element type of all weights.
    public var weights = ElementType.bf16
    /// Bound of the rows of a step.
    public var maxRows = 32
    /// Bound of the context.
    public var maxLength = 256
    /// Factor on the rotary cos and sin.
    public var ropeScale = 1.0

    public init() {}

    public init(seed: UInt64) {
      var random = SeededGenerator(seed: seed)
      layers = Int.random(in: 1...3, using: &random)
      kvHeads = Int.random(in: 1...3, using: &random)
      heads = kvHeads * Int.random(in: 1...4, using: &random)
      headDim = 16 * Int.random(in: 1...4, using: &random)
      hidden = 2 * Int.random(in: 8...60, using: &random)
      ffn = Int.random(in: 9...150, using: &random)
      vocab = Int.random(in: 17...200, using: &random)
      hasBiases = Bool.random(using: &random)
      isTied = Bool.random(using: &random)
      weights = [.bf16, .bf16, .f32].randomElement(using: &random) ?? .bf16
      ropeScale = Int.random(in: 0..<4, using: &random) == 0 ? 1.25 : 1
    }

    public var description: String {
      "\(layers) layers, \(heads)/\(kvHeads) heads of \(headDim), hidden \(hidden), ffn \(ffn), vocab \(vocab), "
        + "\(hasBiases ? "biases" : "no biases"), \(isTied ? "tied" : "untied"), \(weights.rawValue)"
    }
  }

  public let shape: Shape
  public let module = Module()
  public private(set) var weights = DictionaryWeights()
  private var random: SeededGenerator

  /// A random shape with random weights.
  public init(seed: UInt64) throws { try self.init(Shape(seed: seed), seed: seed) }

  /// The given shape with random weights, scaled so that activations stay near 1.
  public init(_ shape: Shape, seed: UInt64) throws {
    self.shape = shape
    random = SeededGenerator(seed: seed ^ 0x5eed)
    module.attributes["model"] = .string(shape.hasBiases ? "qwen2" : "llama")
    module.dims = [
      DimDeclaration("T", .bounded(shape.maxRows)), DimDeclaration("L", .bounded(shape.maxLength)),
    ]
    try addGlobals()
    try addForward()
  }

  public func interpreter() throws -> Interpreter { try Interpreter(module: module, weights: weights) }

  /// Random token ids.
  public func tokens(_ count: Int, seed: UInt64) -> [Int32] {
    var random = SeededGenerator(seed: seed)
    return (0..<count).map { _ in Int32.random(in: 0..<Int32(shape.vocab), using: &random) }
  }

  // MARK: - Weights

  private mutating func addGlobals() throws {
    let (queries, keys) = (shape.heads * shape.headDim, shape.kvHeads * shape.headDim)
    let half = shape.headDim / 2
    let freqs = (0..<half).map { Float(pow(10000, -Double($0) / Double(half))) }
    module.globals.append(Global("rope.freqs", TensorType(.f32, [.fixed(half)]), .constant(freqs)))
    try addWeight("model.embed_tokens.weight", [shape.vocab, shape.hidden], deviation: 1)
    for layer in 0..<shape.layers {
      let prefix = "model.layers.\(layer)."
      try addGain(prefix + "input_layernorm.weight")
      for (name, width) in [("q", queries), ("k", keys), ("v", keys)] {
        try addMatrix(prefix + "self_attn.\(name)_proj.weight", width, shape.hidden)
        if shape.hasBiases { try addWeight(prefix + "self_attn.\(name)_proj.bias", [width], deviation: 0.3) }
      }
      try addMatrix(prefix + "self_attn.o_proj.weight", shape.hidden, queries)
      try addGain(prefix + "post_attention_layernorm.weight")
      try addMatrix(prefix + "mlp.gate_proj.weight", shape.ffn, shape.hidden)
      try addMatrix(prefix + "mlp.up_proj.weight", shape.ffn, shape.hidden)
      try addMatrix(prefix + "mlp.down_proj.weight", shape.hidden, shape.ffn)
    }
    try addGain("model.norm.weight")
    if !shape.isTied { try addMatrix("lm_head.weight", shape.vocab, shape.hidden) }
  }

  private mutating func addMatrix(_ name: String, _ rows: Int, _ columns: Int) throws {
    try addWeight(name, [rows, columns], deviation: 1 / Float(columns).squareRoot())
  }

  private mutating func addGain(_ name: String) throws { try addWeight(name, [shape.hidden], mean: 1, deviation: 0.2) }

  private mutating func addWeight(_ name: String, _ extents: [Int], mean: Float = 0, deviation: Float) throws {
    module.globals.append(Global(name, TensorType(shape.weights, extents.map { .fixed($0) }), .weight))
    let floats = random.normals(extents.reduce(1, *), mean: mean, deviation: deviation)
    weights.tensors[name] = try Tensor(shape.weights, extents, floats)
  }

  // MARK: - Functions

  private func addForward() throws {
    let function = Function("forward")
    let rows = Dim.named("T")
    let ids = function.addArgument("ids", TensorType(.i32, [rows]))
    let positions = function.addArgument("pos", TensorType(.i32, [rows]))
    let cacheType = TensorType(.f32, [.named("L"), .fixed(shape.kvHeads), .fixed(shape.headDim)])
    let caches = (0..<shape.layers).map { layer in
      ["k", "v"].map { function.addArgument("\($0)\(layer)", cacheType, role: .cache) }
    }
    let body = Body(function, module)
    var x = try body.add(.embed, [("", [ids]), ("weight", [try body.weight("model.embed_tokens.weight")])])
    var newCaches: [Value] = []
    for layer in 0..<shape.layers {
      let prefix = "model.layers.\(layer)."
      let normed = try body.norm(x, prefix + "input_layernorm.weight")
      let (attended, appended) = try attention(body, normed, positions, caches[layer], prefix)
      newCaches += appended
      x = try body.add(.add, [("", [x, try body.linear(attended, prefix + "self_attn.o_proj")])])
      let ffnInput = try body.norm(x, prefix + "post_attention_layernorm.weight")
      let gate = try body.add(.silu, [("", [try body.linear(ffnInput, prefix + "mlp.gate_proj")])])
      let up = try body.linear(ffnInput, prefix + "mlp.up_proj")
      let down = try body.linear(try body.add(.mul, [("", [gate, up])]), prefix + "mlp.down_proj")
      x = try body.add(.add, [("", [x, down])])
    }
    x = try body.norm(x, "model.norm.weight")
    let logits = try body.linear(x, shape.isTied ? "model.embed_tokens" : "lm_head")
    logits.name = "logits"
    function.addReturn(logits)
    for cache in newCaches { function.addReturn(cache, role: .cache) }
    module.functions.append(function)
  }

  /// The attention rows before the output matrix, and the layer's new caches.
  private func attention(
    _ body: Body, _ x: Value, _ positions: Value, _ caches: [Value], _ prefix: String
  ) throws -> (Value, [Value]) {
    let freqs = try body.weight("rope.freqs")
    func heads(_ name: String, _ count: Int) throws -> Value {
      let rows = try body.linear(x, prefix + "self_attn.\(name)_proj")
      return try body.reshape(rows, [count, shape.headDim])
    }
    func rotated(_ value: Value) throws -> Value {
      let attributes: [(String, Attribute)] = shape.ropeScale == 1 ? [] : [("scale", .float(shape.ropeScale))]
      return try body.add(.rope, [("", [value]), ("positions", [positions]), ("freqs", [freqs])], attributes)
    }
    let q = try rotated(try heads("q", shape.heads))
    let k = try rotated(try heads("k", shape.kvHeads))
    let v = try heads("v", shape.kvHeads)
    let appended = try body.addAll(.append, [("", [k, v]), ("cache", caches)])
    let scale = 1 / Double(shape.headDim).squareRoot()
    let y = try body.add(.attend, [("", [q]), ("cache", appended)], [("scale", .float(scale))])
    return (try body.reshape(y, [shape.heads * shape.headDim]), appended)
  }
}

/// Appends ops to a function; result types follow from the op's rule.
private struct Body {
  let function: Function
  let module: Module

  init(_ function: Function, _ module: Module) {
    self.function = function
    self.module = module
  }

  func weight(_ name: String) throws -> Value {
    guard let global = module.global(name) else {
      throw DiagnosticError("unknown-weight", "there is no weight '\(name)'")
    }
    return global.value
  }

  func addAll(
    _ definition: OpDefinition, _ groups: [(String, [Value])], _ attributes: [(String, Attribute)] = [],
    written: [TensorType] = []
  ) throws -> [Value] {
    let groups = groups.map { OperandGroup($0.0, $0.1) }
    let list = AttributeList(attributes)
    let types = try definition.inferTypes(Operation(definition, groups, list, results: []), written)
    let results = types.map { (name: definition.name, type: $0) }
    return function.append(Operation(definition, groups, list, results: results)).results
  }

  func add(
    _ definition: OpDefinition, _ groups: [(String, [Value])], _ attributes: [(String, Attribute)] = []
  ) throws -> Value {
    try addAll(definition, groups, attributes)[0]
  }

  func norm(_ x: Value, _ gain: String) throws -> Value {
    try add(.rmsnorm, [("", [x]), ("weight", [try weight(gain)])], [("eps", .float(1e-5))])
  }

  func linear(_ x: Value, _ name: String) throws -> Value {
    var groups = [("", [x]), ("weight", [try weight(name + ".weight")])]
    if let bias = module.global(name + ".bias") { groups.append(("bias", [bias.value])) }
    return try add(.linear, groups)
  }

  func reshape(_ x: Value, _ inner: [Int]) throws -> Value {
    let type = TensorType(x.type.element, [x.type.shape[0]] + inner.map { .fixed($0) })
    return try addAll(.reshape, [("", [x])], written: [type])[0]
  }
}
