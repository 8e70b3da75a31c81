import DustinIR
import DustinInterpreter
import DustinSupport
import XCTest

@testable import DustinModels

/// The mapped weights, as the interpreter wants them.
private struct StoredWeights: WeightSource {
  let store: WeightStore

  func tensor(named name: String) throws -> Tensor {
    let view = try store.tensor(name)
    return try Tensor(view.element, view.shape, view.floats())
  }
}

/// Imported modules, interpreted, against what transformers computed from the same files.
final class ReferenceTests: XCTestCase {
  private func session(_ model: ModelDirectory) throws -> InterpreterSession {
    let module = try model.importModule(maxRows: 64)
    return try InterpreterSession(Interpreter(module: module, weights: StoredWeights(store: try model.weights())))
  }

  /// Prefills, compares the logits, then continues greedily and compares the tokens.
  private func compare(
    _ path: String, _ reference: WeightStore, logits: String, greedy: String, tolerance: Float, tokens: Int
  ) throws {
    let session = try session(ModelDirectory(path: path))
    let prompt = try reference.tensor("prompt_ids").ints()
    var row = try session.prefill(function: "forward", tokens: prompt)
    let expected = try reference.tensor(logits).floats()
    XCTAssertEqual(row.count, expected.count, path)
    // `max()` would not show a NaN: no comparison with it is true.
    XCTAssertTrue(row.allSatisfy(\.isFinite) && !row.isEmpty, "\(path): a logit is not finite")
    let distance = zip(row, expected).reduce(Float(0)) { max($0, abs($1.0 - $1.1)) }
    XCTAssertLessThan(distance, tolerance, "\(path): largest difference of a logit")
    let wanted = Array(try reference.tensor(greedy).ints().prefix(tokens))
    var found: [Int32] = []
    while found.count < wanted.count {
      let best = row.indices.max { (row[$0], -$0) < (row[$1], -$1) } ?? 0
      found.append(Int32(best))
      if found.count < wanted.count { row = try session.prefill(function: "forward", tokens: [Int32(best)]) }
    }
    XCTAssertEqual(found, wanted, path)
  }

  func testTinyModelsEqualTheirReferences() throws {
    for name in tinyModels {
      let reference = try WeightStore(file: fixture(name) + "/reference.safetensors")
      try compare(
        fixture(name), reference, logits: "last_logits", greedy: "greedy", tolerance: 1e-4, tokens: 16)
    }
  }

  func testBundledModelsEqualTheirReferences() throws {
    let reference = try WeightStore(file: referenceFile("short.safetensors"))
    for name in ["target", "draft"] {
      try compare(
        bundledModel(name), reference, logits: "\(name)_fp32_last_logits", greedy: "\(name)_fp32_greedy",
        tolerance: 1e-3, tokens: 16)
    }
  }
}
