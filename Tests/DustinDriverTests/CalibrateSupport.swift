import DustinSupport
import Foundation

@testable import DustinDriver

/// A random pair of models with the bundled tokenizer, and a short book, in a folder that goes away with the object.
final class TinyPair {
  let folder: TemporaryFolder
  var target: String { "\(folder.path)/target" }
  var draft: String { "\(folder.path)/draft" }
  var books: String { "\(folder.path)/books" }

  init() throws {
    folder = try TemporaryFolder()
    try Self.write("\(folder.path)/target", layers: 2, seed: 1)
    try Self.write("\(folder.path)/draft", layers: 1, seed: 2)
    try FileManager.default.createDirectory(atPath: books, withIntermediateDirectories: true)
    let text = String(decoding: try readFile("\(root)/examples/books/emma.txt"), as: UTF8.self)
    _ = try folder.write("books/part.txt", String(decoding: Array(text.utf8).prefix(16_000), as: UTF8.self))
  }

  /// The arguments of a calibration of a few short texts.
  func arguments(_ more: [String] = []) -> [String] {
    [
      "calibrate", "-m", target, "-md", draft, "--books", books, "--budget", "64", "--lengths", "320", "--windows", "1",
      "--tokens", "9", "--prompt-lengths", "384", "--prompts", "2", "-t", "1",
    ] + more
  }

  /// One shape for all: two heads of 16 on one KV head.
  private static func write(_ path: String, layers: Int, seed: UInt64) throws {
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    let (hidden, heads, dim, inner, vocabulary) = (32, 2, 16, 32, 4096)
    func write(_ name: String, _ text: String) throws {
      try writeFileAtomically("\(path)/\(name)", bytes: Array(text.utf8))
    }
    try write(
      "config.json",
      """
      {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": \(hidden), "head_dim": \(dim),
       "intermediate_size": \(inner), "num_hidden_layers": \(layers), "num_attention_heads": \(heads),
       "num_key_value_heads": 1, "max_position_embeddings": 512, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
       "hidden_act": "silu", "tie_word_embeddings": true, "vocab_size": \(vocabulary), "eos_token_id": 4088}
      """)
    try FileManager.default.copyItem(
      atPath: "\(root)/examples/models/target/tokenizer.json", toPath: "\(path)/tokenizer.json")
    var shapes: [(name: String, shape: [Int])] = [("model.embed_tokens.weight", [vocabulary, hidden])]
    for layer in 0..<layers {
      let prefix = "model.layers.\(layer)."
      shapes += [
        ("input_layernorm.weight", [hidden]), ("post_attention_layernorm.weight", [hidden]),
        ("self_attn.q_proj.weight", [heads * dim, hidden]), ("self_attn.k_proj.weight", [dim, hidden]),
        ("self_attn.v_proj.weight", [dim, hidden]), ("self_attn.o_proj.weight", [hidden, heads * dim]),
        ("mlp.gate_proj.weight", [inner, hidden]), ("mlp.up_proj.weight", [inner, hidden]),
        ("mlp.down_proj.weight", [hidden, inner]),
      ].map { (prefix + $0.0, $0.1) }
    }
    shapes.append(("model.norm.weight", [hidden]))
    var random = SplitMix(seed: seed)
    var data = Data()
    var members: [String] = []
    for (name, shape) in shapes {
      let start = data.count
      for _ in 0..<shape.reduce(1, *) {
        let value = name.hasSuffix("norm.weight") ? 1 : Float(random.below(2001) - 1000) / 4000
        withUnsafeBytes(of: value) { data.append(contentsOf: $0) }
      }
      members.append("\"\(name)\":{\"dtype\":\"F32\",\"shape\":\(shape),\"data_offsets\":[\(start),\(data.count)]}")
    }
    var header = Array(("{" + members.joined(separator: ",") + "}").utf8)
    while header.count % 8 != 0 { header.append(UInt8(ascii: " ")) }
    var bytes = withUnsafeBytes(of: UInt64(header.count)) { Array($0) }
    bytes += header
    bytes += data
    try writeFileAtomically("\(path)/model.safetensors", bytes: bytes)
  }
}
