import DustinSupport

/// What `generation_config.json` recommends; nil where it says nothing.
public struct GenerationConfig: Hashable, Sendable {
  /// Tokens that end a text; empty when neither file names one.
  public var eosTokenIDs: [Int] = []
  public var bosTokenID: Int?
  public var padTokenID: Int?
  /// Whether the model's makers sample by default; temperature and the rest apply only then.
  public var samples: Bool?
  public var temperature: Double?
  public var topK: Int?
  public var topP: Double?
  public var minP: Double?
  public var repetitionPenalty: Double?

  public init() {}

  /// Reads a `generation_config.json`. Throws every error of the file at its place.
  public static func read(_ buffer: SourceBuffer) throws -> GenerationConfig {
    let fields = FieldReader(try JSONValue.parse(buffer), "generation_config.json")
    try fields.finish()
    var config = GenerationConfig()
    config.eosTokenIDs = fields.tokenIDs("eos_token_id")
    config.bosTokenID = fields.tokenIDs("bos_token_id").first
    config.padTokenID = fields.tokenIDs("pad_token_id").first
    if fields.value("do_sample") != nil { config.samples = fields.bool("do_sample", default: false) }
    func double(_ key: String, _ range: ClosedRange<Double>) -> Double? {
      fields.value(key) == nil ? nil : fields.double(key, in: range)
    }
    config.temperature = double("temperature", 0...1e6)
    config.topP = double("top_p", 0...1)
    config.minP = double("min_p", 0...1)
    config.repetitionPenalty = double("repetition_penalty", 1e-6...1e6)
    if fields.value("top_k") != nil { config.topK = fields.int("top_k", in: 0...Int(Int32.max)) }
    try fields.finish()
    return config
  }
}
