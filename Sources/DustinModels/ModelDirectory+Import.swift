import DustinIR
import DustinSupport

extension ModelDirectory {
  /// The model as a module of stage `tensor` with one function:
  ///
  ///     func @forward(%ids: i32[T], %pos: i32[T], %k0: f32[L, KV, D] {role = cache}, %v0: …, …) -> (f32[T, vocab], caches)
  ///
  /// One op per mathematical step, nothing fused. The globals are the files' tensors under their names (with `model.` in
  /// front where a file leaves it out) and in their types, and `@rope.freqs`.
  /// - Parameters:
  ///   - context: bound of `L`, in positions; at most `config.contextLength`, which is the default.
  ///   - maxRows: bound of `T`, the rows of one step.
  ///   - mayBeLonger: take a context that the model was not made for, to measure times behind it.
  /// - Throws: every weight that is missing or has another shape, or a context that is too long.
  public func importModule(context: Int? = nil, maxRows: Int = 512, mayBeLonger: Bool = false) throws -> Module {
    let context = context ?? config.contextLength
    guard context >= 1, context <= (mayBeLonger ? 1 << 24 : config.contextLength) else {
      throw DiagnosticError(
        "context",
        "a context of \(context) positions is outside 1 … \(config.contextLength), which '\(path)' was made for")
    }
    guard maxRows >= 1, maxRows <= 1 << 20 else {
      throw DiagnosticError("max-rows", "a step of \(maxRows) rows is outside 1 … \(1 << 20)")
    }
    let globals = WeightGlobals(try weights())
    let module = try ModuleImporter(config, globals).run(context: context, maxRows: maxRows)
    try globals.finish()
    return module
  }

  /// Tensors of the files that `module` does not read, sorted. Tables that follow from the configuration are left out:
  /// some files hold rope frequencies.
  public func unusedWeights(of module: Module) throws -> [String] {
    let store = try weights()
    let used = Set(module.globals.compactMap { $0.content == .weight ? store.describe($0.name)?.name : nil })
    return store.names.filter { !used.contains($0) && !$0.hasSuffix("rotary_emb.inv_freq") }
  }
}

/// Makes globals of the files' tensors and collects what does not fit.
private final class WeightGlobals {
  private let store: WeightStore
  private(set) var globals: [Global] = []
  private var byName: [String: Global] = [:]
  private var errors: [Diagnostic] = []

  init(_ store: WeightStore) { self.store = store }

  /// The weight of that name as a value of the module, in the type of its file.
  func weight(_ name: String, _ shape: [Int]) -> Value {
    if let known = byName[name] { return known.value }
    let global = Global(name, TensorType(element(name, shape), shape.map { .fixed($0) }), .weight)
    byName[name] = global
    globals.append(global)
    return global.value
  }

  func constant(_ name: String, _ values: [Float]) -> Value {
    let global = Global(name, TensorType(.f32, [.fixed(values.count)]), .constant(values))
    globals.append(global)
    return global.value
  }

  /// Throws the first twenty complaints: a file of another model would yield one per tensor.
  func finish() throws {
    guard !errors.isEmpty else { return }
    var shown = Array(errors.prefix(20))
    if errors.count > shown.count {
      shown.append(Diagnostic("missing-weight", "\(errors.count - shown.count) more weights do not fit"))
    }
    throw DiagnosticError(shown)
  }

  private func element(_ name: String, _ shape: [Int]) -> ElementType {
    guard let found = store.describe(name) else {
      let notes = errors.count < 20 ? store.suggestion(for: name) : []
      errors.append(
        Diagnostic("missing-weight", "'\(store.directory)' has no tensor '\(name)' of shape \(shape)", notes: notes))
      return .f32
    }
    if found.shape != shape {
      errors.append(
        Diagnostic(
          "weight-shape", "the tensor '\(found.name)' in '\(found.path)' has the shape \(found.shape), not \(shape)"))
    }
    guard case .element(let element) = found.type, element.isFloat else {
      errors.append(
        Diagnostic(
          "weight-type",
          "the tensor '\(found.name)' in '\(found.path)' has the element type \(found.type); f32, f16 and bf16 are read"
        ))
      return .f32
    }
    return element
  }
}

/// Writes `@forward`, op by op.
private struct ModuleImporter {
  private let config: ModelConfig
  private let globals: WeightGlobals
  private let function = Function("forward")
  private let rows = Dim.named("T")

  init(_ config: ModelConfig, _ globals: WeightGlobals) {
    self.config = config
    self.globals = globals
  }

  func run(context: Int, maxRows: Int) throws -> Module {
    let module = Module()
    module.attributes = AttributeList([
      ("architecture", .string(config.architecture.rawValue)), ("hidden", .int(config.hiddenSize)),
      ("layers", .int(config.layers)), ("heads", .int(config.heads)), ("kv_heads", .int(config.kvHeads)),
      ("head_dim", .int(config.headDim)), ("vocab", .int(config.vocabSize)), ("context", .int(context)),
    ])
    module.dims = [DimDeclaration("T", .bounded(maxRows)), DimDeclaration("L", .bounded(context))]

    let ids = function.addArgument("ids", TensorType(.i32, [rows]))
    let positions = function.addArgument("pos", TensorType(.i32, [rows]))
    let cacheType = TensorType(.f32, [.named("L"), .fixed(config.kvHeads), .fixed(config.headDim)])
    let caches = (0..<config.layers).map { layer in
      (
        k: function.addArgument("k\(layer)", cacheType, role: .cache),
        v: function.addArgument("v\(layer)", cacheType, role: .cache)
      )
    }
    let rope = Rope(
      positions: positions,
      freqs: globals.constant("rope.freqs", config.rope.frequencies(headDim: config.headDim)),
      scale: config.rope.attentionFactor)
    let table = globals.weight("model.embed_tokens.weight", [config.vocabSize, config.hiddenSize])

    var x = emit(.embed, [("", [ids]), ("weight", [table])], "x", width: config.hiddenSize)
    var grown: [Value] = []
    for layer in 0..<config.layers {
      x = attention(layer, x, rope, caches[layer].k, caches[layer].v, &grown)
      x = mlp(layer, x)
    }
    let last = norm(x, "model.norm.weight", "norm")
    let head =
      config.tiesEmbeddings ? table : globals.weight("lm_head.weight", [config.vocabSize, config.hiddenSize])
    function.addReturn(emit(.linear, [("", [last]), ("weight", [head])], "logits", width: config.vocabSize))
    for cache in grown { function.addReturn(cache, role: .cache) }
    module.globals = globals.globals
    module.functions = [function]
    return module
  }

  private struct Rope {
    let positions: Value
    let freqs: Value
    let scale: Double
  }

  /// x + o_proj(attend(rope(q), append(rope(k), v))) over the normed rows; adds the caches' next versions to `grown`.
  private func attention(
    _ layer: Int, _ x: Value, _ rope: Rope, _ keys: Value, _ values: Value, _ grown: inout [Value]
  ) -> Value {
    let prefix = "model.layers.\(layer)"
    let u = norm(x, "\(prefix).input_layernorm.weight", "l\(layer).norm1")
    func heads(_ name: String, _ count: Int) -> Value {
      let flat = linear(
        u, "\(prefix).self_attn.\(name)_proj", "l\(layer).\(name)", count * config.headDim, bias: config.hasQKVBias)
      return emit(
        .reshape, [("", [flat])], "l\(layer).\(name)h",
        TensorType(.f32, [rows, .fixed(count), .fixed(config.headDim)]))
    }
    func rotated(_ value: Value, _ name: String) -> Value {
      let attributes: [(String, Attribute)] = rope.scale == 1 ? [] : [("scale", .float(rope.scale))]
      return emit(
        .rope, [("", [value]), ("positions", [rope.positions]), ("freqs", [rope.freqs])], "l\(layer).\(name)",
        value.type,
        attributes)
    }
    let q = heads("q", config.heads)
    let k = heads("k", config.kvHeads)
    let v = heads("v", config.kvHeads)
    let qr = rotated(q, "qr")
    let kr = rotated(k, "kr")
    let append = Operation(
      .append, [OperandGroup("", [kr, v]), OperandGroup("cache", [keys, values])],
      results: [("l\(layer).kc", keys.type), ("l\(layer).vc", values.type)])
    function.append(append)
    grown += append.results
    let attended = emit(
      .attend, [("", [qr]), ("cache", append.results)], "l\(layer).a", qr.type,
      [("scale", .float(1 / Double(config.headDim).squareRoot()))])
    let width = config.heads * config.headDim
    let flat = emit(.reshape, [("", [attended])], "l\(layer).af", width: width)
    let o = linear(
      flat, "\(prefix).self_attn.o_proj", "l\(layer).o", config.hiddenSize, bias: config.hasOutputBias)
    return emit(.add, [("", [x, o])], "l\(layer).x1", width: config.hiddenSize)
  }

  /// x + down(silu(gate(u)) * up(u)), u the normed rows.
  private func mlp(_ layer: Int, _ x: Value) -> Value {
    let prefix = "model.layers.\(layer)"
    let u = norm(x, "\(prefix).post_attention_layernorm.weight", "l\(layer).norm2")
    let inner = config.intermediateSize
    let gate = linear(u, "\(prefix).mlp.gate_proj", "l\(layer).gate", inner, bias: config.hasMLPBias)
    let up = linear(u, "\(prefix).mlp.up_proj", "l\(layer).up", inner, bias: config.hasMLPBias)
    let active = emit(.silu, [("", [gate])], "l\(layer).act", width: inner)
    let product = emit(.mul, [("", [active, up])], "l\(layer).mid", width: inner)
    let down = linear(
      product, "\(prefix).mlp.down_proj", "l\(layer).down", config.hiddenSize, bias: config.hasMLPBias)
    return emit(.add, [("", [x, down])], "l\(layer).x2", width: config.hiddenSize)
  }

  private func norm(_ x: Value, _ weight: String, _ name: String) -> Value {
    let gain = globals.weight(weight, [config.hiddenSize])
    return emit(.rmsnorm, [("", [x]), ("weight", [gain])], name, x.type, [("eps", .float(config.rmsNormEps))])
  }

  /// `prefix.weight` is [width, columns of x], `prefix.bias` [width].
  private func linear(_ x: Value, _ prefix: String, _ name: String, _ width: Int, bias: Bool) -> Value {
    let columns = x.type.shape[1].fixedValue ?? 0
    var groups = [("", [x]), ("weight", [globals.weight("\(prefix).weight", [width, columns])])]
    if bias { groups.append(("bias", [globals.weight("\(prefix).bias", [width])])) }
    return emit(.linear, groups, name, width: width)
  }

  private func emit(
    _ definition: OpDefinition, _ groups: [(String, [Value])], _ name: String, width: Int
  ) -> Value {
    emit(definition, groups, name, TensorType(.f32, [rows, .fixed(width)]))
  }

  private func emit(
    _ definition: OpDefinition, _ groups: [(String, [Value])], _ name: String, _ type: TensorType,
    _ attributes: [(String, Attribute)] = []
  ) -> Value {
    let operation = Operation(
      definition, groups.map { OperandGroup($0.0, $0.1) }, AttributeList(attributes), results: [(name, type)])
    return function.append(operation).result
  }
}
