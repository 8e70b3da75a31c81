import DustinSupport

/// How the rotary embedding's angles follow from positions.
///
/// Members are named as in `config.json`. What they do to the frequencies: `frequencies(headDim:)`.
public struct RopeParameters: Hashable, Sendable {
  public enum Scaling: Hashable, Sendable {
    case none
    /// Position interpolation: every frequency is divided by `factor`.
    case linear(factor: Double)
    /// Llama 3.1: long waves are divided by `factor`, short ones stay, the band between blends.
    case llama3(factor: Double, lowFreqFactor: Double, highFreqFactor: Double, originalMaxPositions: Int)
    /// YaRN ("NTK by parts", arXiv 2309.00071).
    case yarn(YaRN)
  }

  public struct YaRN: Hashable, Sendable {
    public var factor: Double
    public var originalMaxPositions: Int
    /// Rotations over the original context above which a dimension keeps its frequency; default 32.
    public var betaFast: Double
    /// Rotations below which a dimension is fully interpolated; default 1.
    public var betaSlow: Double
    /// Factor on cos and sin; default 0.1 ln(factor) + 1.
    public var attentionFactor: Double
    /// Whether the band's ends are whole dimensions; default true.
    public var truncate: Bool

    public init(
      factor: Double, originalMaxPositions: Int, betaFast: Double = 32, betaSlow: Double = 1,
      attentionFactor: Double? = nil, truncate: Bool = true
    ) {
      self.factor = factor
      self.originalMaxPositions = originalMaxPositions
      self.betaFast = betaFast
      self.betaSlow = betaSlow
      self.attentionFactor = attentionFactor ?? YaRN.magnitude(factor, 1)
      self.truncate = truncate
    }
  }

  public var theta: Double
  public var scaling: Scaling

  public init(theta: Double = 10_000, scaling: Scaling = .none) {
    self.theta = theta
    self.scaling = scaling
  }

  /// Factor on cos and sin: YaRN's attention factor, else 1.
  public var attentionFactor: Double {
    if case .yarn(let yarn) = scaling { yarn.attentionFactor } else { 1 }
  }
}

extension RopeParameters {
  private static let factors = 1.0...1e6
  private static let positions = 1...ModelConfig.maxPositions

  /// From `rope_scaling` (older files) or `rope_parameters` (transformers 5), and `rope_theta` inside or beside it.
  /// - Parameter maxPositions: `max_position_embeddings`, which stands in where no original length is given.
  static func read(_ config: FieldReader, maxPositions: Int) -> RopeParameters {
    let theta = config.double("rope_theta", in: 1.0001...1e15, default: 10_000)
    if let partial = config.value("partial_rotary_factor"), partial.doubleValue != 1 {
      config.report("'partial_rotary_factor' other than 1 is not supported", at: partial)
    }
    let key = ["rope_scaling", "rope_parameters"].first { config.value($0)?.objectEntries?.isEmpty == false }
    guard let key, let object = config.value(key) else {
      for key in ["rope_scaling", "rope_parameters"] {
        guard let value = config.value(key), value.objectEntries == nil else { continue }
        config.report("'\(key)' must be an object, not \(value.kindDescription)", at: value)
      }
      return RopeParameters(theta: theta)
    }
    let fields = FieldReader(object, "'\(key)'")
    defer { config.absorb(fields) }
    return read(fields, theta: theta, originalOutside: config, maxPositions: maxPositions)
  }

  private static func read(
    _ fields: FieldReader, theta outside: Double, originalOutside config: FieldReader, maxPositions: Int
  ) -> RopeParameters {
    if let (layerType, value) = fields.object.objectEntries?.first(where: { $0.value.objectEntries != nil }) {
      fields.report("rope parameters of its own for the layer type '\(layerType)' are not supported", at: value)
      return RopeParameters()
    }
    let theta = fields.double("rope_theta", in: 1.0001...1e15, default: outside)
    if let partial = fields.value("partial_rotary_factor"), partial.doubleValue != 1 {
      fields.report("'partial_rotary_factor' other than 1 is not supported", at: partial)
    }
    let common = ["rope_type", "type", "rope_theta", "partial_rotary_factor", "finetuned"]
    let type = fields.string("rope_type") ?? fields.string("type") ?? "default"

    func originalMaxPositions() -> Int {
      let source = config.value("original_max_position_embeddings") == nil ? fields : config
      return source.int("original_max_position_embeddings", in: positions, default: maxPositions)
    }

    switch type {
    case "default":
      fields.refuseUnknown(besides: common)
      return RopeParameters(theta: theta)
    case "linear":
      fields.refuseUnknown(besides: common + ["factor", "original_max_position_embeddings"])
      return RopeParameters(theta: theta, scaling: .linear(factor: fields.double("factor", in: factors)))
    case "llama3":
      fields.refuseUnknown(
        besides: common + ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"])
      let factor = fields.double("factor", in: factors)
      let low = fields.double("low_freq_factor", in: 1e-6...1e6)
      let high = fields.double("high_freq_factor", in: 1e-6...1e6)
      if high <= low, let value = fields.value("high_freq_factor") {
        fields.report("'high_freq_factor' must be above 'low_freq_factor', \(low)", at: value)
      }
      return RopeParameters(
        theta: theta,
        scaling: .llama3(
          factor: factor, lowFreqFactor: low, highFreqFactor: high, originalMaxPositions: originalMaxPositions()))
    case "yarn":
      let original = originalMaxPositions()
      return RopeParameters(
        theta: theta, scaling: .yarn(yarn(fields, common, original: original, maxPositions: maxPositions)))
    default:
      let supported = ["default", "linear", "llama3", "yarn"]
      var notes = [Diagnostic.note("supported: \(supported.joined(separator: ", "))")]
      if let close = closestName(to: type, in: supported) { notes = [Diagnostic.note("did you mean '\(close)'?")] }
      let place = fields.value("rope_type") ?? fields.value("type") ?? fields.object
      fields.report("the rope type '\(type)' is not supported", at: place, notes: notes)
      return RopeParameters()
    }
  }

  private static func yarn(_ fields: FieldReader, _ common: [String], original: Int, maxPositions: Int) -> YaRN {
    fields.refuseUnknown(
      besides: common + [
        "factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow", "mscale",
        "mscale_all_dim", "truncate",
      ])
    let ratio = Double(maxPositions) / Double(original)
    // A file that states only the two lengths means their ratio.
    let statesOriginal = fields.value("original_max_position_embeddings") != nil
    let factor = fields.double("factor", in: factors, default: statesOriginal && ratio >= 1 ? ratio : nil)
    func orDefault(_ key: String, _ fallback: Double) -> Double {
      let value = fields.double(key, in: 0...1e6, default: fallback)
      return value == 0 ? fallback : value
    }
    let betaFast = orDefault("beta_fast", 32)
    let betaSlow = orDefault("beta_slow", 1)
    if betaFast < betaSlow, let value = fields.value("beta_fast") ?? fields.value("beta_slow") {
      fields.report("'beta_fast' must not be below 'beta_slow' (\(betaFast) and \(betaSlow))", at: value)
    }
    var attention: Double?
    if fields.value("attention_factor") != nil {
      attention = fields.double("attention_factor", in: 1e-6...1e6)
    } else {
      let scale = fields.double("mscale", in: 0...1e6, default: 0)
      let allDims = fields.double("mscale_all_dim", in: 0...1e6, default: 0)
      if scale > 0, allDims > 0 { attention = YaRN.magnitude(factor, scale) / YaRN.magnitude(factor, allDims) }
    }
    return YaRN(
      factor: factor, originalMaxPositions: original, betaFast: betaFast, betaSlow: betaSlow,
      attentionFactor: attention, truncate: fields.bool("truncate", default: true))
  }
}
