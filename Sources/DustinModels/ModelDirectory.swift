import DustinIR
import DustinSupport

/// A Hugging Face model directory: `config.json`, the safetensors files, and beside them `generation_config.json` and
/// `tokenizer.json` if the model has them.
///
/// Opening reads the two small JSON files; the weights are mapped when `weights()` is first called.
public final class ModelDirectory {
  /// As given, without a slash at its end.
  public let path: String
  public let config: ModelConfig
  public let generation: GenerationConfig
  private var store: WeightStore?

  /// Throws what a user can get wrong: a path that is no model directory, an unsupported model, a damaged file.
  public init(path given: String) throws {
    var path = given
    while path.count > 1, path.hasSuffix("/") { path.removeLast() }
    self.path = path
    try ModelDirectory.check(path)
    let configPath = path + "/config.json"
    config = try ModelConfig.read(SourceBuffer(name: configPath, utf8: try readFile(configPath, limit: 1 << 26)))
    let generationPath = path + "/generation_config.json"
    var generation = GenerationConfig()
    if fileExists(generationPath) {
      generation = try GenerationConfig.read(
        SourceBuffer(name: generationPath, utf8: try readFile(generationPath, limit: 1 << 26)))
    }
    if generation.eosTokenIDs.isEmpty { generation.eosTokenIDs = config.eosTokenIDs }
    self.generation = generation
  }

  /// The tokenizer's file; nil when the directory has none.
  public var tokenizerPath: String? {
    let candidate = path + "/tokenizer.json"
    return fileExists(candidate) ? candidate : nil
  }

  /// The weights, mapped once.
  public func weights() throws -> WeightStore {
    if let store { return store }
    let opened = try WeightStore(directory: path)
    store = opened
    return opened
  }

  private static func check(_ path: String) throws {
    func fail(_ message: String, _ notes: String...) -> DiagnosticError {
      DiagnosticError("model-directory", message, notes: notes.map { .note($0) })
    }
    guard !path.isEmpty, !path.utf8.contains(0) else {
      throw fail("the name of the model directory is empty or not a path")
    }
    guard fileExists(path) else { throw fail("the model directory '\(path)' does not exist") }
    guard isDirectory(path) else {
      let wanted = "a model is a directory with config.json and safetensors files"
      throw path.hasSuffix(".gguf")
        ? fail("'\(path)' is a GGUF file", wanted) : fail("'\(path)' is a file, not a model directory", wanted)
    }
    guard !fileExists(path + "/config.json") else { return }
    let names = directoryEntries(path)
    if names.contains("adapter_config.json") {
      throw fail("'\(path)' holds an adapter, not a model: it has adapter_config.json but no config.json")
    }
    if names.contains("params.json") {
      throw fail(
        "'\(path)' has no config.json", "it looks like a model in Meta's or Mistral's own format: use its 'hf' version")
    }
    if let inner = names.first(where: { fileExists("\(path)/\($0)/config.json") }) {
      throw fail("'\(path)' has no config.json, so it is no model directory", "did you mean '\(path)/\(inner)'?")
    }
    if names.contains("snapshots") {
      throw fail("'\(path)' has no config.json, so it is no model directory", "look into its folder 'snapshots'")
    }
    throw fail("'\(path)' has no config.json, so it is no model directory")
  }
}
