import XCTest

@testable import DustinModels

/// What a newcomer can point `-m` at.
final class DirectoryTests: XCTestCase {
  private func open(_ fill: (TemporaryFolder) throws -> Void) throws -> ModelDirectory {
    let folder = try TemporaryFolder()
    try fill(folder)
    return try ModelDirectory(path: folder.path)
  }

  func testPathsThatAreNoModelDirectory() throws {
    assertError(try ModelDirectory(path: ""), "model-directory", "empty")
    assertError(
      try ModelDirectory(path: "/nowhere/to/be/found"), "model-directory", "'/nowhere/to/be/found' does not exist")
    assertError(
      try ModelDirectory(path: fixture("llama/config.json")), "model-directory", "is a file, not a model directory")
    assertError(try open { _ in }, "model-directory", "has no config.json")
    assertError(
      try open {
        $0.makeFolder("inner")
        try $0.write("inner/config.json", "{}")
      }, "model-directory", "has no config.json", note: "/inner'?")
    assertError(try open { try $0.write("adapter_config.json", "{}") }, "model-directory", "an adapter, not a model")
    assertError(
      try open { try $0.write("params.json", "{}") }, "model-directory", "no config.json", note: "'hf' version")
    assertError(try open { $0.makeFolder("snapshots") }, "model-directory", "no config.json", note: "'snapshots'")
    let folder = try TemporaryFolder()
    try folder.write("m.gguf", "GGUF")
    assertError(try ModelDirectory(path: folder.path + "/m.gguf"), "model-directory", "is a GGUF file")
  }

  func testErrorsStandInTheFileThatTheyConcern() throws {
    let config = diagnostics(of: try open { try $0.write("config.json", "{\n \"model_type\": \"bert\"\n}") })
    XCTAssertTrue(config.first?.rendered().contains("/config.json:2:16: error: the architecture 'bert'") == true)
    let generation = diagnostics(
      of: try open {
        try $0.copy(fixture: "llama") { name, bytes in
          name == "generation_config.json" ? Array("{\n \"eos_token_id\": true}".utf8) : bytes
        }
      })
    XCTAssertTrue(generation.first?.rendered().contains("/generation_config.json:2:18: error: ") == true)
  }

  func testGenerationConfigIsOptional() throws {
    let model = try open { try $0.copy(fixture: "llama") { $0 == "generation_config.json" ? nil : $1 } }
    XCTAssertEqual(model.generation.eosTokenIDs, [127], "config.json names it, too")
  }
}
