import DustinSupport

/// What is used of `generation_config.json`. How to sample is the user's choice, so that members about it, whatever they
/// hold, are no reason to refuse a model.
public struct GenerationConfig: Hashable, Sendable {
  /// Tokens that end a text; empty when neither file names one.
  public var eosTokenIDs: [Int] = []

  public init() {}

  /// Reads a `generation_config.json`. Throws errors of what is used at their places.
  public static func read(_ buffer: SourceBuffer) throws -> GenerationConfig {
    let fields = FieldReader(try JSONValue.parse(buffer), "generation_config.json")
    var config = GenerationConfig()
    config.eosTokenIDs = fields.tokenIDs("eos_token_id")
    try fields.finish()
    return config
  }
}
