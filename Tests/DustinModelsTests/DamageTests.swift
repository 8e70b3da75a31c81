import DustinSupport
import XCTest

@testable import DustinModels

/// Files with random damage: whatever they hold, reading them ends with a value or with diagnostics.
final class DamageTests: XCTestCase {
  /// A small linear congruential generator: the same damage in every run.
  private struct Damage {
    var state: UInt64

    mutating func next(below bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }

    /// Flips, drops, doubles or replaces a few pieces of a text.
    mutating func apply(to bytes: [UInt8]) -> [UInt8] {
      var bytes = bytes
      let digits = Array("0123456789-.eE\"{}[],:ntf \\".utf8)
      for _ in 0...next(below: 3) where !bytes.isEmpty {
        let place = next(below: bytes.count)
        let end = min(bytes.count, place + next(below: 12))
        switch next(below: 5) {
        case 0: bytes[place] ^= UInt8(1 << next(below: 8))
        case 1: bytes.removeSubrange(place..<end)
        case 2: bytes.insert(contentsOf: bytes[place..<end], at: place)
        case 3: bytes[place] = digits[next(below: digits.count)]
        default: bytes.insert(digits[next(below: digits.count)], at: place)
        }
      }
      return bytes
    }
  }

  /// Counts how many of `count` damaged copies still read; anything but a `DiagnosticError` fails.
  private func survivors(_ bytes: [UInt8], _ count: Int, _ read: ([UInt8]) throws -> Void) -> Int {
    var damage = Damage(state: 7)
    var survived = 0
    for round in 0..<count {
      do {
        try read(damage.apply(to: bytes))
        survived += 1
      } catch let error as DiagnosticError {
        XCTAssertFalse(error.diagnostics.isEmpty, "round \(round)")
        // The message must be printable, whatever the bytes.
        XCTAssertTrue(error.description.contains("error: "), "round \(round)")
      } catch {
        XCTFail("round \(round): \(error)")
      }
    }
    return survived
  }

  func testDamagedConfigs() throws {
    for name in ["qwen2-yarn", "llama3-scaling", "llama-yarn-mscale"] {
      let bytes = try readFile(fixture(name) + "/config.json")
      let survived = survivors(bytes, 1500) { bytes in
        let config = try ModelConfig.read(SourceBuffer(name: "config.json", utf8: bytes))
        // What was accepted must be usable.
        XCTAssertEqual(config.heads % config.kvHeads, 0)
        XCTAssertEqual(config.headDim % 2, 0)
        XCTAssertEqual(config.rope.frequencies(headDim: config.headDim).count, config.headDim / 2)
      }
      XCTAssertTrue((1..<1500).contains(survived), "\(name): \(survived)")
    }
  }

  func testDamagedSafetensors() throws {
    let file = fixture("llama-sharded") + "/reference.safetensors"
    let bytes = try readFile(file)
    let header = Array(bytes.prefix(600))
    let folder = try TemporaryFolder()
    let survived = survivors(header, 250) { damaged in
      try folder.write("t.safetensors", damaged + bytes.dropFirst(600))
      let store = try WeightStore(file: folder.path + "/t.safetensors")
      for name in store.names {
        guard let view = try? store.tensor(name) else { continue }
        XCTAssertEqual(view.count, view.shape.reduce(1, *), name)
      }
    }
    XCTAssertTrue((1..<250).contains(survived), "\(survived)")
  }

  func testDamagedIndexes() throws {
    let folder = try TemporaryFolder()
    try folder.copy(fixture: "llama-sharded")
    let bytes = try readFile(fixture("llama-sharded") + "/model.safetensors.index.json")
    let survived = survivors(bytes, 200) { damaged in
      try folder.write("model.safetensors.index.json", damaged)
      _ = try WeightStore(directory: folder.path)
    }
    XCTAssertTrue((1..<200).contains(survived), "\(survived)")
  }
}
