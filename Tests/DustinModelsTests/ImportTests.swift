import DustinIR
import DustinSupport
import XCTest

@testable import DustinModels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

final class ImportTests: XCTestCase {
  /// The whole text of one tiny model: what a reader of IR/models sees. `DUSTIN_BLESS=1` writes it anew.
  func testTextOfATinyModel() throws {
    let path = fixture("llama-heads-3-1.dust")
    let text = try ModelDirectory(path: fixture("llama-heads-3-1")).importModule().text()
    if getenv("DUSTIN_BLESS") != nil { try writeFileAtomically(path, bytes: Array(text.utf8)) }
    XCTAssertEqual(text, String(decoding: try readFile(path), as: UTF8.self), "run with DUSTIN_BLESS=1 to accept")
  }

  func testEveryModuleRoundTripsAndVerifies() throws {
    for path in tinyModels.map(fixture) + ["target", "draft"].map(bundledModel) {
      let module = try ModelDirectory(path: path).importModule()
      let text = module.text()
      let parsed = try ModuleParser.parse(SourceBuffer(name: path, text: text))
      XCTAssertEqual(parsed.text(), text, path)
      XCTAssertEqual(Verifier.diagnostics(for: module).map(\.message), [], path)
      XCTAssertEqual(Verifier.diagnostics(for: parsed).map(\.message), [], path)
    }
  }

  func testAttributesDimsAndSignature() throws {
    let module = try ModelDirectory(path: bundledModel("target")).importModule(context: 4096, maxRows: 64)
    XCTAssertEqual(module.stage, .tensor)
    XCTAssertEqual(
      module.attributes.keys,
      ["architecture", "hidden", "layers", "heads", "kv_heads", "head_dim", "vocab", "context"])
    XCTAssertEqual(module.attributes.int("context"), 4096)
    XCTAssertEqual(module.dims, [DimDeclaration("T", .bounded(64)), DimDeclaration("L", .bounded(4096))])
    let forward = try XCTUnwrap(module.function("forward"))
    XCTAssertEqual(forward.arguments.count, 2 + 2 * 10)
    XCTAssertEqual(forward.arguments[2].type.description, "f32[L, 4, 64]")
    XCTAssertEqual(forward.argumentRoles, [.plain, .plain] + Array(repeating: .cache, count: 20))
    XCTAssertEqual(forward.returns[0].type.description, "f32[T, 4096]")
    XCTAssertEqual(forward.returnRoles, [.plain] + Array(repeating: .cache, count: 20))
    let attend = try XCTUnwrap(forward.body.first { $0.name == "attend" })
    XCTAssertEqual(attend.attributes.float("scale"), 0.125)
    XCTAssertNil(module.global("lm_head.weight"), "tied to the table")
    XCTAssertEqual(module.global("model.embed_tokens.weight")?.type.description, "bf16[4096, 512]")
  }

  func testBiasesScalesAndTypesFollowTheFiles() throws {
    func forward(_ name: String) throws -> (Module, [DustinIR.Operation]) {
      let module = try ModelDirectory(path: fixture(name)).importModule()
      return (module, module.functions[0].body)
    }
    func biases(_ name: String) throws -> Int { try forward(name).1.filter { !$0[group: "bias"].isEmpty }.count }
    XCTAssertEqual(try biases("qwen2-tied"), 2 * 3)
    XCTAssertEqual(try biases("llama-biases"), 2 * 7)
    XCTAssertEqual(try biases("llama"), 0)
    let yarn = try forward("qwen2-yarn").1.filter { $0.name == "rope" }.map { $0.attributes.float("scale") }
    XCTAssertEqual(yarn.count, 4)
    XCTAssertEqual(Set(yarn), [0.1 * 1.3862943611198906 + 1])
    XCTAssertTrue(try forward("llama").1.allSatisfy { $0.name != "rope" || $0.attributes.isEmpty })
    XCTAssertEqual(try forward("qwen2-untied-f16").0.global("lm_head.weight")?.type.description, "f16[200, 64]")
  }

  func testContextAndRowsAreChecked() throws {
    let model = try ModelDirectory(path: fixture("llama"))
    assertError(try model.importModule(context: 513), "context", "513 positions is outside 1 … 512")
    assertError(try model.importModule(context: 0), "context", "0 positions")
    assertError(try model.importModule(maxRows: 0), "max-rows", "0 rows")
    XCTAssertEqual(try ModelDirectory(path: fixture("qwen2-yarn")).importModule().attributes.int("context"), 512)
  }

  // MARK: Weights that do not fit

  /// The model `llama` with a piece of its config.json replaced.
  private func edited(_ old: String, _ new: String) throws -> ModelDirectory {
    let folder = try TemporaryFolder()
    try folder.copy(fixture: "llama") { name, bytes in
      guard name == "config.json" else { return bytes }
      let text = String(decoding: bytes, as: UTF8.self)
      XCTAssertTrue(text.contains(old))
      return Array(text.split(separator: old, omittingEmptySubsequences: false).joined(separator: new).utf8)
    }
    let model = try ModelDirectory(path: folder.path)
    // Mapped before the folder goes away.
    _ = try model.weights()
    return model
  }

  func testShapesAreComparedWithTheFiles() throws {
    assertError(
      try edited("\"vocab_size\": 128", "\"vocab_size\": 130").importModule(), "weight-shape",
      "'model.embed_tokens.weight' in '")
    let found = diagnostics(of: try edited("\"intermediate_size\": 80", "\"intermediate_size\": 96").importModule())
    XCTAssertEqual(found.count, 6, "gate, up and down of two layers")
    XCTAssertTrue(
      found[0].message.hasSuffix("/model.safetensors' has the shape [80, 48], not [96, 48]"), found[0].message)
  }

  func testMissingWeightsAreNamed() throws {
    let found = diagnostics(of: try edited("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 40").importModule())
    XCTAssertEqual(found.first?.id, "missing-weight")
    XCTAssertEqual(found.count, 21, "twenty, and how many more")
    XCTAssertTrue(found[0].message.contains("no tensor 'model.layers.2."), found[0].message)
    XCTAssertEqual(found.last?.message, "322 more weights do not fit")
    assertError(
      try edited("\"model_type\": \"llama\"", "\"model_type\": \"llama\", \"unused\": 1").importModule(context: 600),
      "context", "600")
  }

  func testWeightsThatNobodyReadsAreOnlyListed() throws {
    let model = try edited("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1")
    let unused = try model.unusedWeights(of: try model.importModule())
    XCTAssertEqual(unused.count, 9)
    XCTAssertEqual(unused.first, "model.layers.1.input_layernorm.weight")
    for name in tinyModels {
      let model = try ModelDirectory(path: fixture(name))
      XCTAssertEqual(try model.unusedWeights(of: try model.importModule()), [], name)
    }
  }
}
