import DustinIR
import DustinSupport
import XCTest

@testable import DustinModels

final class SafetensorsTests: XCTestCase {
  private func open(_ bytes: [UInt8]) throws -> WeightStore {
    let folder = try TemporaryFolder()
    try folder.write("model.safetensors", bytes)
    return try WeightStore(directory: folder.path)
  }
  private func open(_ header: String, _ count: Int) throws -> WeightStore {
    try open(safetensors(header, [UInt8](repeating: 0, count: count)))
  }

  func testReadsTensorsAndTheirTypes() throws {
    let store = try open(
      safetensors(
        #"{"__metadata__": {"format": "pt"}, "b": {"dtype": "BF16", "shape": [2, 1], "data_offsets": [4, 8]},"#
          + #" "a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},"#
          + #" "none": {"dtype": "F16", "shape": [0, 3], "data_offsets": [8, 8]},"#
          + #" "odd": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [8, 9]}}    "#,
        [0, 0, 0x80, 0x3F, 0x80, 0x3F, 0x00, 0xC0, 1]))
    XCTAssertEqual(store.names, ["a", "b", "none", "odd"])
    XCTAssertEqual(try store.tensor("a").floats(), [1])
    XCTAssertEqual(try store.tensor("b").shape, [2, 1])
    XCTAssertEqual(try store.tensor("b").floats(), [1, -2])
    XCTAssertEqual(try store.tensor("none").count, 0)
    assertError(try store.tensor("odd"), "weight-type", "F8_E4M3")
    assertError(try store.tensor("c"), "missing-weight", "'c'")
  }

  func testNamesWithAndWithoutThePrefix() throws {
    let store = try open(#"{"norm.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}"#, 4)
    XCTAssertEqual(try store.tensor("model.norm.weight").name, "norm.weight")
    XCTAssertTrue(store.contains("norm.weight"))
    assertError(try store.tensor("model.norm.wieght"), "missing-weight", "'model.norm.wieght'", note: "'norm.weight'")
  }

  func testNothingIsReadAfterRelease() throws {
    let store = try open(#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}"#, 4)
    XCTAssertNoThrow(try store.tensor("a"))
    store.release()
    assertError(try store.tensor("a"), "weights-released", "'a'")
  }

  func testTruncationAtEveryLengthIsAnError() throws {
    let whole = safetensors(
      #"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#, [1, 2, 3, 4, 5, 6, 7, 8])
    XCTAssertNoThrow(try open(whole))
    for count in 0..<whole.count {
      XCTAssertEqual(diagnostics(of: try open(Array(whole.prefix(count)))).first?.id, "safetensors", "\(count) bytes")
    }
  }

  func testHeaders() {
    assertError(
      try open([255, 255, 255, 255, 255, 255, 255, 255, 0]), "safetensors", "18446744073709551615 bytes long")
    assertError(
      try open([0, 225, 245, 5, 0, 0, 0, 0]), "safetensors", "ends inside its header: 8 bytes of at least 100000008")
    assertError(try open([1, 225, 245, 5, 0, 0, 0, 0]), "safetensors", "would be 100000001 bytes long")
    assertError(try open("{\"a\": }", 0), "safetensors", "not valid JSON at byte 14")
    assertError(try open("[]", 0), "safetensors", "must be an object, not an array")
    assertError(try open(#"{"a": {}, "a": {}}"#, 0), "safetensors", "duplicate key 'a'")
    XCTAssertNoThrow(try open("{}", 0))
  }

  func testTensorsAreChecked() {
    func entry(_ text: String) -> String { #"{"a": {\#(text)}}"# }
    assertError(try open(entry(#""shape": [1], "data_offsets": [0, 4]"#), 4), "safetensors", "'a' has no 'dtype'")
    assertError(try open(entry(#""dtype": "F32", "data_offsets": [0, 4]"#), 4), "safetensors", "no 'shape'")
    assertError(
      try open(entry(#""dtype": "F32", "shape": [-1], "data_offsets": [0, 4]"#), 4), "safetensors", "'shape' with")
    assertError(
      try open(entry(#""dtype": "F32", "shape": [1.5], "data_offsets": [0, 4]"#), 4), "safetensors", "'shape' with")
    assertError(try open(entry(#""dtype": "F32", "shape": [1]"#), 4), "safetensors", "no 'data_offsets'")
    assertError(
      try open(entry(#""dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]"#), 4), "safetensors", "'data_offsets'")
    assertError(
      try open(entry(#""dtype": "F32", "shape": [1], "data_offsets": [4, 0]"#), 4), "safetensors", "offsets 4 and 0")
    assertError(
      try open(entry(#""dtype": "F32", "shape": [1], "data_offsets": [-4, 0]"#), 4), "safetensors", "offsets -4 and 0")
    assertError(
      try open(entry(#""dtype": "F32", "shape": [2], "data_offsets": [0, 8]"#), 4), "safetensors", "truncated")
    assertError(
      try open(entry(#""dtype": "F32", "shape": [2], "data_offsets": [0, 4]"#), 4), "safetensors",
      "'a' has 4 bytes; f32[2] needs 8")
    assertError(
      try open(
        entry(#""dtype": "F32", "shape": [4294967296, 4294967296, 4], "data_offsets": [0, 4]"#), 4), "safetensors",
      "more than fits")
    assertError(
      try open(entry(#""dtype": "F32", "shape": [1], "data_offsets": [9223372036854775807, 9223372036854775807]"#), 4),
      "safetensors", "truncated")
  }

  func testDataIsCoveredWithoutGapOrOverlap() {
    func two(_ a: (Int, Int), _ b: (Int, Int)) -> String {
      #"{"a": {"dtype": "U8", "shape": [\#(a.1 - a.0)], "data_offsets": [\#(a.0), \#(a.1)]},"#
        + #" "b": {"dtype": "U8", "shape": [\#(b.1 - b.0)], "data_offsets": [\#(b.0), \#(b.1)]}}"#
    }
    XCTAssertNoThrow(try open(two((4, 8), (0, 4)), 8))
    assertError(try open(two((0, 5), (4, 8)), 8), "safetensors", "'a' and 'b' overlap")
    assertError(try open(two((0, 8), (0, 8)), 8), "safetensors", "overlap")
    assertError(try open(two((0, 3), (4, 8)), 8), "safetensors", "1 bytes before the tensor 'b'")
    assertError(try open(two((0, 4), (4, 7)), 8), "safetensors", "1 bytes at its end")
  }

  // MARK: Shards

  private func shards(_ map: String, more: (TemporaryFolder) throws -> Void = { _ in }) throws -> WeightStore {
    let folder = try TemporaryFolder()
    func one(_ name: String) -> [UInt8] {
      safetensors(#"{"\#(name)": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}"#, [0, 0, 128, 63])
    }
    try folder.write("1.safetensors", one("a"))
    try folder.write("2.safetensors", one("b"))
    try folder.write("copy.safetensors", one("a"))
    try folder.write("model.safetensors.index.json", map)
    try more(folder)
    return try WeightStore(directory: folder.path)
  }

  func testShards() throws {
    let store = try shards(#"{"metadata": {}, "weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#)
    XCTAssertEqual(try store.tensor("b").floats(), [1])
    XCTAssertEqual(store.describe("b")?.path.hasSuffix("/2.safetensors"), true)
  }

  func testIndexErrors() {
    assertError(
      try shards(#"{"weight_map": {"a": "3.safetensors"}}"#), "weight-index", "'3.safetensors' does not exist",
      under: "\"3.safetensors\"")
    assertError(
      try shards(#"{"weight_map": {"a": "../1.safetensors"}}"#), "weight-index", "leaves the model's directory",
      under: "\"../1.safetensors\"")
    assertError(try shards(#"{"weight_map": {"a": "/etc/passwd"}}"#), "weight-index", "leaves the model's directory")
    assertError(try shards(#"{"weight_map": {"a": "x/.."}}"#), "weight-index", "leaves the model's directory")
    assertError(try shards(#"{"weight_map": {"a": ""}}"#), "weight-index", "leaves the model's directory")
    assertError(try shards(#"{"weight_map": {"a": "\u0000"}}"#), "weight-index", "leaves the model's directory")
    assertError(
      try shards(#"{"weight_map": {"c": "1.safetensors"}}"#), "weight-index", "'1.safetensors' has no tensor 'c'")
    assertError(
      try shards(#"{"weight_map": {"a": "2.safetensors", "b": "2.safetensors"}}"#), "weight-index",
      "'2.safetensors' has no tensor 'a'")
    assertError(
      try shards(#"{"weight_map": {"a": "1.safetensors", "b": "copy.safetensors"}}"#), "safetensors", "stands in both")
    assertError(try shards(#"{"weight_map": {"a": 1}}"#), "weight-index", "must name a file", under: "1")
    assertError(try shards(#"{"weight_map": {}}"#), "weight-index", "empty")
    assertError(try shards("{}"), "weight-index", "no 'weight_map'")
    assertError(try shards("{"), "json", "ends")
  }

  func testADirectoryWithoutWeights() throws {
    let folder = try TemporaryFolder()
    assertError(try WeightStore(directory: folder.path), "model-directory", "neither model.safetensors nor")
    try folder.write("pytorch_model.bin", "")
    assertError(
      try WeightStore(directory: folder.path), "model-directory", "neither", note: "convert it to safetensors")
    folder.makeFolder("model.safetensors")
    assertError(try WeightStore(directory: folder.path), "file", "not a regular file")
  }
}
