import DustinSupport
import XCTest

@testable import DustinModels

final class ConfigTests: XCTestCase {
  private static let base = [
    ("model_type", "\"llama\""), ("hidden_size", "64"), ("intermediate_size", "80"), ("num_hidden_layers", "2"),
    ("num_attention_heads", "4"), ("num_key_value_heads", "2"), ("vocab_size", "200"),
    ("max_position_embeddings", "512"),
  ]

  /// A config.json of the base members, some changed or added (nil: left out), one a line.
  private func buffer(_ changes: KeyValuePairs<String, String?>) -> SourceBuffer {
    var members = Self.base.map { ($0.0, Optional($0.1)) }
    for (key, value) in changes {
      if let index = members.firstIndex(where: { $0.0 == key }) {
        members[index].1 = value
      } else {
        members.append((key, value))
      }
    }
    let lines = members.compactMap { key, value in value.map { "  \"\(key)\": \($0)" } }
    return SourceBuffer(name: "config.json", text: "{\n" + lines.joined(separator: ",\n") + "\n}\n")
  }

  private func read(_ changes: KeyValuePairs<String, String?> = [:]) throws -> ModelConfig {
    try ModelConfig.read(buffer(changes))
  }

  func testDefaults() throws {
    let config = try read()
    XCTAssertEqual(config.architecture, .llama)
    XCTAssertEqual(config.headDim, 16)
    XCTAssertEqual(config.rmsNormEps, 1e-6)
    XCTAssertEqual(config.rope, RopeParameters(theta: 10_000))
    XCTAssertFalse(config.tiesEmbeddings)
    XCTAssertFalse(config.hasQKVBias)
    XCTAssertEqual(try read(["num_key_value_heads": nil]).kvHeads, 4)
    XCTAssertEqual(try read(["num_key_value_heads": "null"]).kvHeads, 4)
  }

  func testBiases() throws {
    let llama = try read(["attention_bias": "true", "mlp_bias": "true"])
    XCTAssertTrue(llama.hasQKVBias && llama.hasOutputBias && llama.hasMLPBias)
    let qwen = try read(["model_type": "\"qwen2\""])
    XCTAssertTrue(qwen.hasQKVBias)
    XCTAssertFalse(qwen.hasOutputBias || qwen.hasMLPBias)
    assertError(
      try read(["model_type": "\"qwen2\"", "attention_bias": "true"]), "model-config", "'attention_bias'", under: "true"
    )
  }

  func testEndTokens() throws {
    XCTAssertEqual(try read(["eos_token_id": "7"]).eosTokenIDs, [7])
    XCTAssertEqual(try read(["eos_token_id": "[7, 9, 7]"]).eosTokenIDs, [7, 9])
    assertError(try read(["eos_token_id": "\"</s>\""]), "model-config", "'eos_token_id'", under: "\"</s>\"")
    assertError(try read(["eos_token_id": "[1, -2]"]), "model-config", "'eos_token_id'", under: "-2")
  }

  func testBundledModelsAndTheirEndTokens() throws {
    let target = try ModelDirectory(path: bundledModel("target/"))
    XCTAssertEqual(target.config.layers, 10)
    XCTAssertEqual(target.config.rope, RopeParameters(theta: 1e6))
    XCTAssertTrue(target.config.tiesEmbeddings)
    XCTAssertEqual(target.generation.eosTokenIDs, [4088])
    XCTAssertNotNil(target.tokenizerPath)
    let tiny = try ModelDirectory(path: fixture("qwen2-bf16"))
    XCTAssertEqual(tiny.generation.eosTokenIDs, [199, 198])
    XCTAssertNil(tiny.tokenizerPath)
  }

  func testGenerationConfig() throws {
    func read(_ text: String) throws -> GenerationConfig {
      try GenerationConfig.read(SourceBuffer(name: "generation_config.json", text: text))
    }
    XCTAssertEqual(try read(#"{"eos_token_id": [1, 2, 1], "bos_token_id": null}"#).eosTokenIDs, [1, 2])
    XCTAssertEqual(try read(#"{"eos_token_id": 3}"#).eosTokenIDs, [3])
    // Nobody reads these: files in use hold -1 for "none", and worse.
    let others = #""pad_token_id": -1, "bos_token_id": "x", "top_k": -1, "top_p": 1.5, "temperature": "hot""#
    XCTAssertEqual(try read(#"{\#(others), "eos_token_id": 7, "do_sample": 1}"#).eosTokenIDs, [7])
    assertError(try read(#"{"eos_token_id": [1, -1]}"#), "model-config", "'eos_token_id'", under: "-1")
    assertError(try read(#"{"eos_token_id": "end"}"#), "model-config", "'eos_token_id'", under: #""end""#)
    assertError(try read("[]"), "model-config", "must be an object", under: "[]")
  }

  // MARK: Errors

  func testBrokenJSON() {
    let text = "{\n  \"model_type\": \"llama\",\n  \"hidden_size\" 64\n}"
    let found = diagnostics(of: try ModelConfig.read(SourceBuffer(name: "m/config.json", text: text)))
    XCTAssertEqual(found.first?.id, "json")
    XCTAssertTrue(found.first?.rendered().hasPrefix("m/config.json:3:17: error: ") == true, "\(found)")
    assertError(try ModelConfig.read(SourceBuffer(name: "c", text: "[1]")), "model-config", "an array", under: "[1]")
    assertError(try ModelConfig.read(SourceBuffer(name: "c", text: "")), "json", "ends")
  }

  func testUnsupportedArchitectures() {
    assertError(
      try read(["model_type": "\"gpt2\""]), "unsupported-architecture", "'gpt2'", under: "\"gpt2\"",
      note: "qwen2, llama, mistral")
    assertError(try read(["model_type": "3"]), "unsupported-architecture", "an integer", under: "3")
    assertError(try read(["model_type": nil]), "model-config", "lacks 'model_type'", under: "{")
    assertError(
      try read(["architectures": "[\"LlamaForSequenceClassification\"]"]), "unsupported-architecture",
      "LlamaForSequenceClassification", under: "\"LlamaForSequenceClassification\"")
  }

  func testUnsupportedMembersAreNamed() {
    let cases: [(String, String, String)] = [
      ("hidden_act", "\"gelu\"", "'gelu'"),
      ("attn_logit_softcapping", "50.0", "'attn_logit_softcapping'"),
      ("num_local_experts", "8", "'num_local_experts'"),
      ("partial_rotary_factor", "0.5", "'partial_rotary_factor'"),
    ]
    for (key, value, part) in cases {
      assertError(try read([key: value]), "model-config", part, under: value)
    }
    assertError(
      try read(["quantization_config": "{\"quant_method\": \"gptq\", \"bits\": 4}"]), "model-config", "'gptq'",
      under: "\"gptq\"")
    XCTAssertNoThrow(try read(["quantization_config": "null", "num_local_experts": "0", "unheard_of": "1"]))
  }

  func testSlidingWindows() throws {
    let qwen = [("model_type", "\"qwen2\""), ("use_sliding_window", "true"), ("max_window_layers", "1")]
    func read(_ members: [(String, String?)]) throws -> ModelConfig {
      var text = Self.base.filter { base in !members.contains { $0.0 == base.0 } }.map { "\"\($0.0)\": \($0.1)" }
      text += members.compactMap { key, value in value.map { "\"\(key)\": \($0)" } }
      return try ModelConfig.read(SourceBuffer(name: "config.json", text: "{" + text.joined(separator: ",") + "}"))
    }
    assertError(
      try read(qwen + [("sliding_window", "128")]), "model-config", "'use_sliding_window'", under: "true")
    XCTAssertNoThrow(try read(qwen + [("sliding_window", "512")]), "the window holds the whole context")
    XCTAssertNoThrow(
      try read([("model_type", "\"qwen2\""), ("use_sliding_window", "false"), ("sliding_window", "128")]))
    let mistral: [(String, String?)] = [("model_type", "\"mistral\""), ("max_position_embeddings", "8192")]
    assertError(try read(mistral + [("sliding_window", "4096")]), "model-config", "'sliding_window'", under: "4096")
    assertError(try read(mistral), "model-config", "4096", under: "\"mistral\"")
    XCTAssertNoThrow(try read(mistral + [("sliding_window", "null")]))
    assertError(
      try read([("layer_types", "[\"full_attention\", \"sliding_attention\"]")]), "model-config",
      "'sliding_attention'", under: "\"sliding_attention\"")
    assertError(try read([("layer_types", "[\"full_attention\"]")]), "model-config", "2 entries")
  }

  func testSizesAreChecked() {
    assertError(try read(["hidden_size": "-64"]), "model-config", "'hidden_size' is -64", under: "-64")
    assertError(try read(["hidden_size": "6.5"]), "model-config", "must be an integer, not 6.5", under: "6.5")
    assertError(try read(["vocab_size": "0"]), "model-config", "'vocab_size' is 0", under: "0")
    assertError(try read(["num_hidden_layers": "1025"]), "model-config", "from 1 to 1024", under: "1025")
    assertError(try read(["num_key_value_heads": "3"]), "model-config", "4 query heads cannot share 3", under: "3")
    assertError(try read(["head_dim": "15"]), "model-config", "even head dim, not 15", under: "15")
    assertError(try read(["hidden_size": "66"]), "model-config", "does not divide into 4 heads", under: "4")
    assertError(try read(["rms_norm_eps": "\"small\""]), "model-config", "must be a number", under: "\"small\"")
    assertError(try read(["hidden_size": "99999999999999999999"]), "model-config", "'hidden_size'")
    assertError(
      try read(["num_attention_heads": "65536", "num_key_value_heads": "1", "head_dim": "65536"]), "model-config",
      "wider than", under: "65536")
    assertError(try read(["tie_word_embeddings": "1"]), "model-config", "must be true or false, not 1", under: "1")
  }

  func testMissingMembersAndAllErrorsAtOnce() {
    assertError(
      try read(["hidden_size": nil, "hiden_size": "64"]), "model-config", "lacks 'hidden_size'", under: "{",
      note: "'hiden_size'")
    let found = diagnostics(of: try read(["hidden_size": "0", "vocab_size": "\"x\"", "hidden_act": "\"relu\""]))
    XCTAssertEqual(found.count, 3, "\(found.map(\.message))")
  }

  // MARK: Rope

  private func rope(_ parameters: String, key: String = "rope_scaling", theta: String? = nil) throws -> RopeParameters {
    try read([key: parameters, "rope_theta": theta]).rope
  }

  func testRopeSpellings() throws {
    XCTAssertEqual(try rope("null", theta: "1000000.0").theta, 1e6)
    XCTAssertEqual(try rope(#"{"rope_type": "default", "rope_theta": 5e5}"#, key: "rope_parameters").theta, 5e5)
    // Inside beats beside.
    XCTAssertEqual(try rope(#"{"rope_theta": 5e5}"#, key: "rope_parameters", theta: "1e6").theta, 5e5)
    XCTAssertEqual(try rope(#"{"type": "linear", "factor": 2}"#).scaling, .linear(factor: 2))
    XCTAssertEqual(
      try rope(
        #"{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}"#
      ).scaling,
      .llama3(factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 64))
  }

  func testYaRNStretchesTheContext() throws {
    let config = try read(
      ["rope_scaling": #"{"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}"#])
    XCTAssertEqual(config.contextLength, 2048)
    XCTAssertEqual(config.rope.attentionFactor, 0.1 * 1.3862943611198906 + 1, accuracy: 1e-15)
    let byRatio = try rope(#"{"type": "yarn", "original_max_position_embeddings": 128}"#)
    XCTAssertEqual(byRatio.scaling, .yarn(.init(factor: 4, originalMaxPositions: 128)))
  }

  func testRopeErrors() {
    assertError(
      try rope(#"{"type": "longrope", "short_factor": [1], "long_factor": [1]}"#), "model-config", "'longrope'",
      under: "\"longrope\"", note: "default, linear, llama3, yarn")
    assertError(try rope(#"{"type": "dynamic", "factor": 2.0}"#), "model-config", "'dynamic'", under: "\"dynamic\"")
    assertError(try rope(#"{"type": "yarm", "factor": 2.0}"#), "model-config", "'yarm'", note: "'yarn'")
    assertError(try rope(#"{"type": "linear"}"#), "model-config", "lacks 'factor'")
    assertError(try rope(#"{"type": "linear", "factor": 0.5}"#), "model-config", "'factor' is 0.5", under: "0.5")
    assertError(
      try rope(#"{"type": "default", "mrope_section": [16, 24, 24]}"#), "model-config", "'mrope_section'",
      under: "[16, 24, 24]")
    assertError(
      try rope(#"{"full_attention": {"rope_type": "default"}}"#, key: "rope_parameters"), "model-config",
      "'full_attention'")
    assertError(
      try rope(#"{"type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}"#), "model-config",
      "'high_freq_factor' must be above")
    assertError(
      try rope(#"{"type": "yarn", "factor": 2, "beta_fast": 1, "beta_slow": 8}"#), "model-config", "'beta_fast'",
      under: "1")
    assertError(try rope("7"), "model-config", "'rope_scaling' must be an object", under: "7")
    assertError(try rope("null", theta: "0"), "model-config", "'rope_theta' is 0.0", under: "0")
  }
}
