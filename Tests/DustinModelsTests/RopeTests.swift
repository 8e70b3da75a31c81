import DustinSupport
import XCTest

@testable import DustinModels

/// Frequencies against those of transformers, which Tests/Fixtures/make_tiny_models.py wrote down.
final class RopeTests: XCTestCase {
  /// The power may differ in its last place (RopeFrequencies.swift), and nothing else may.
  func testFrequenciesOfKnownModels() throws {
    var pairs = 0
    var different = 0
    let path = fixture("rope_frequencies.json")
    let all = try JSONValue.parse(SourceBuffer(name: path, utf8: try readFile(path))).objectEntries ?? []
    XCTAssertEqual(all.count, 10)
    for (name, entry) in all {
      let settings = try XCTUnwrap(entry["config"])
      let fields = FieldReader(settings, name)
      let rope = RopeParameters.read(fields, maxPositions: try XCTUnwrap(settings["max_position_embeddings"]?.intValue))
      try fields.finish()
      let bits = (entry["bits"]?.arrayValue ?? []).compactMap(\.intValue)
      let found = rope.frequencies(headDim: try XCTUnwrap(settings["head_dim"]?.intValue))
      XCTAssertEqual(found.count, bits.count, name)
      for (pair, (frequency, bits)) in zip(found, bits).enumerated() {
        let distance = abs(Int(Int32(bitPattern: frequency.bitPattern)) - bits)
        XCTAssertLessThanOrEqual(distance, 1, "\(name), pair \(pair)")
        pairs += 1
        different += distance
      }
      XCTAssertEqual(rope.attentionFactor, try XCTUnwrap(entry["scale"]?.doubleValue), accuracy: 1e-15, name)
    }
    XCTAssertLessThan(different * 40, pairs, "\(different) of \(pairs) frequencies differ")
  }

  func testFrequenciesOfTheTinyModelsAreEqualToTheBit() throws {
    for name in tinyModels {
      let config = try ModelDirectory(path: fixture(name)).config
      let reference = try WeightStore(file: fixture(name) + "/reference.safetensors")
      XCTAssertEqual(
        config.rope.frequencies(headDim: config.headDim), try reference.tensor("rope_freqs").floats(), name)
      XCTAssertEqual(Float(config.rope.attentionFactor), try reference.tensor("rope_scale").floats()[0], name)
    }
  }
}
