import DustinSupport

/// What `config.json` says about a decoder of the Llama family, checked and complete.
public struct ModelConfig: Hashable, Sendable {
  /// `model_type` of the families that differ only in what the other members say.
  public enum Architecture: String, Sendable, CaseIterable {
    case qwen2, llama, mistral

    /// The class that a file of this family names under `architectures`.
    var className: String {
      switch self {
      case .qwen2: "Qwen2ForCausalLM"
      case .llama: "LlamaForCausalLM"
      case .mistral: "MistralForCausalLM"
      }
    }
  }

  public var architecture: Architecture
  /// Width of the residual stream.
  public var hiddenSize: Int
  /// Width between the two matrices of the MLP.
  public var intermediateSize: Int
  public var layers: Int
  /// Query heads; a multiple of `kvHeads`.
  public var heads: Int
  public var kvHeads: Int
  /// Even; `heads * headDim` may differ from `hiddenSize`.
  public var headDim: Int
  public var vocabSize: Int
  /// Longest sequence that the model was made for, in positions.
  public var contextLength: Int
  public var rmsNormEps: Double
  public var rope: RopeParameters
  /// The table of embeddings is the last matrix, too.
  public var tiesEmbeddings: Bool
  /// Biases on the q, k and v projections, on the o projection, and on the three matrices of the MLP.
  public var hasQKVBias: Bool
  public var hasOutputBias: Bool
  public var hasMLPBias: Bool
  /// `eos_token_id`; `generation_config.json` overrides it.
  public var eosTokenIDs: [Int]

  static let maxPositions = 1 << 27
  private static let maxWidth = 1 << 24
  private static let maxLayers = 1024
}

extension ModelConfig {
  /// Reads a `config.json`. Throws every error of the file at its place; a member that would change the computation and
  /// is not supported is an error that names it.
  public static func read(_ buffer: SourceBuffer) throws -> ModelConfig {
    let fields = FieldReader(try JSONValue.parse(buffer), "config.json")
    try fields.finish()
    let architecture = try readArchitecture(fields)
    refuseUnsupported(fields)

    let hidden = fields.int("hidden_size", in: 1...maxWidth)
    let layers = fields.int("num_hidden_layers", in: 1...maxLayers)
    let heads = fields.int("num_attention_heads", in: 1...65_536)
    let kvHeads = fields.int("num_key_value_heads", in: 1...65_536, default: architecture == .mistral ? 8 : heads)
    let context = fields.int("max_position_embeddings", in: 1...maxPositions)
    let headDim = readHeadDim(fields, hidden: hidden, heads: heads)
    if fields.areSound("num_attention_heads", "num_key_value_heads"), heads % kvHeads != 0,
      let value = fields.value("num_key_value_heads") ?? fields.value("num_attention_heads")
    {
      fields.report("\(heads) query heads cannot share \(kvHeads) key/value heads evenly", at: value)
    }
    refuseSlidingWindow(fields, architecture, layers: layers, context: context)

    let hasAttentionBias = fields.bool("attention_bias", default: false)
    if architecture != .llama, hasAttentionBias, let value = fields.value("attention_bias") {
      fields.report("'attention_bias' is not supported for '\(architecture.rawValue)'", at: value)
    }
    let hasMLPBias = fields.bool("mlp_bias", default: false)
    if architecture != .llama, hasMLPBias, let value = fields.value("mlp_bias") {
      fields.report("'mlp_bias' is not supported for '\(architecture.rawValue)'", at: value)
    }
    var config = ModelConfig(
      architecture: architecture, hiddenSize: hidden,
      intermediateSize: fields.int("intermediate_size", in: 1...maxWidth), layers: layers, heads: heads,
      kvHeads: kvHeads, headDim: headDim, vocabSize: fields.int("vocab_size", in: 1...Int(Int32.max)),
      contextLength: context, rmsNormEps: fields.double("rms_norm_eps", in: 0...1, default: 1e-6),
      rope: RopeParameters.read(fields, maxPositions: context),
      tiesEmbeddings: fields.bool("tie_word_embeddings", default: false),
      hasQKVBias: architecture == .qwen2 || hasAttentionBias, hasOutputBias: hasAttentionBias, hasMLPBias: hasMLPBias,
      eosTokenIDs: fields.tokenIDs("eos_token_id"))
    // Files that switch YaRN on often leave the unstretched length in `max_position_embeddings`.
    if case .yarn(let yarn) = config.rope.scaling {
      let stretched = Double(yarn.originalMaxPositions) * yarn.factor
      config.contextLength = max(context, Int(min(stretched, Double(maxPositions))))
    }
    try fields.finish()
    return config
  }

  private static func readArchitecture(_ fields: FieldReader) throws -> Architecture {
    let types = Architecture.allCases.map(\.rawValue)
    guard let type = fields.value("model_type") else {
      throw DiagnosticError(
        "model-config", "config.json lacks 'model_type'", at: fields.object.range.first,
        notes: [.note("supported: \(types.joined(separator: ", "))")])
    }
    guard let name = type.stringValue, let architecture = Architecture(rawValue: name) else {
      let shown = type.stringValue.map { "'\($0)'" } ?? type.kindDescription
      throw DiagnosticError(
        "unsupported-architecture", "the architecture \(shown) is not supported", at: type.range,
        notes: [.note("supported: \(types.joined(separator: ", "))")])
    }
    if let list = fields.value("architectures") {
      let names = (list.arrayValue ?? []).map(\.stringValue)
      guard names.contains(architecture.className) else {
        throw DiagnosticError(
          "unsupported-architecture",
          "a '\(name)' model must be a \(architecture.className), not \(names.first.flatMap(\.self) ?? "something else")",
          at: (list.arrayValue?.first ?? list).range)
      }
    }
    return architecture
  }

  /// Members that change the computation of these families' derivatives and are not built.
  private static func refuseUnsupported(_ fields: FieldReader) {
    if let activation = fields.value("hidden_act"), activation.stringValue != "silu" {
      let shown = activation.stringValue.map { "'\($0)'" } ?? activation.kindDescription
      fields.report("the activation \(shown) is not supported; it must be 'silu'", at: activation)
    }
    if let value = fields.value("quantization_config") {
      let method = value["quant_method"]?.stringValue.map { " ('\($0)')" } ?? ""
      fields.report(
        "quantized weights\(method) are not supported: 'quantization_config'", at: value["quant_method"] ?? value,
        notes: [.note("use the directory with the original f32, f16 or bf16 weights")])
    }
    for key in [
      "num_local_experts", "num_experts", "n_routed_experts", "attn_logit_softcapping", "final_logit_softcapping",
      "embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling", "qk_layernorm",
      "use_qk_norm", "no_rope_layers", "attention_chunk_size", "rope_interleaved", "is_encoder_decoder",
    ] {
      guard let value = fields.value(key), value.boolValue != false, value.intValue != 0 else { continue }
      fields.report("'\(key)' is not supported", at: value)
    }
  }

  private static func readHeadDim(_ fields: FieldReader, hidden: Int, heads: Int) -> Int {
    let place = fields.value("head_dim") ?? fields.value("num_attention_heads")
    var headDim = hidden / heads
    if fields.value("head_dim") != nil { headDim = fields.int("head_dim", in: 1...65_536) }
    guard fields.areSound("hidden_size", "num_attention_heads", "head_dim") else { return headDim }
    if fields.value("head_dim") == nil, hidden % heads != 0, let place {
      fields.report(
        "'hidden_size' \(hidden) does not divide into \(heads) heads, and 'head_dim' is not given", at: place)
    }
    if headDim % 2 != 0, let place {
      fields.report("the rotary embedding needs an even head dim, not \(headDim)", at: place)
    }
    if heads * headDim > maxWidth, let place {
      fields.report("\(heads) heads of \(headDim) are wider than \(maxWidth)", at: place)
    }
    return headDim
  }

  /// A window that reaches over the whole context changes nothing and is accepted.
  private static func refuseSlidingWindow(
    _ fields: FieldReader, _ architecture: Architecture, layers: Int, context: Int
  ) {
    if let types = fields.value("layer_types") {
      let entries = types.arrayValue ?? []
      if fields.areSound("num_hidden_layers"), entries.count != layers {
        fields.report("'layer_types' must be an array of \(layers) entries, one per layer", at: types)
      }
      if let other = entries.first(where: { $0.stringValue != "full_attention" }) {
        let shown = other.stringValue.map { "'\($0)'" } ?? other.kindDescription
        fields.report("the layer type \(shown) is not supported; it must be 'full_attention'", at: other)
      }
    }
    switch architecture {
    case .llama: return
    case .qwen2:
      guard fields.bool("use_sliding_window", default: false), fields.value("layer_types") == nil else { return }
      let first = fields.int("max_window_layers", in: 0...Int(Int32.max), default: 28)
      let window = fields.int("sliding_window", in: 1...Int(Int32.max), default: 4096)
      guard first < layers, window < context, let place = fields.value("use_sliding_window") else { return }
      fields.report("sliding-window attention is not supported: 'use_sliding_window'", at: place)
    case .mistral:
      // An absent member means the family's default of 4096, null means none.
      guard let value = fields.object["sliding_window"] else {
        if context > 4096 {
          fields.report(
            "sliding-window attention is not supported; without a 'sliding_window' of null a 'mistral' model has one of 4096",
            at: fields.value("model_type") ?? fields.object)
        }
        return
      }
      guard !value.isNull, fields.int("sliding_window", in: 1...Int(Int32.max)) < context else { return }
      fields.report("sliding-window attention is not supported: 'sliding_window'", at: value)
    }
  }
}

extension SourceRange {
  /// The first byte: for complaints about a whole object.
  var first: SourceRange { SourceRange(buffer, start, start + 1) }
}
