import DustinIR
import DustinInterpreter
import DustinModels
import DustinPasses
import DustinSupport
import XCTest

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The imported target, nothing fused, against what `transformers` computed in f32.
final class ReferenceTests: XCTestCase {
  func testShortPrompt() throws { try check("short", greedy: 64) }
  func testProsePrompt() throws { try check("prose-512", greedy: 64) }

  /// Through the pipelines, fused: f32 as near as unfused; bf16 moves logits, but the prompt's margins are wide.
  func testShortPromptThroughThePipelines() throws {
    let reference = try referenceTensors(checkout + "/Tests/Reference/short.safetensors")
    let last = try XCTUnwrap(reference["target_fp32_last_logits"]).floats
    for (pipeline, bound) in [("target-f32", Float(1e-3)), ("target-fast", 0.1)] {
      let session = try target(pipeline)
      var logits = try session.prefill(function: "prefill", tokens: try XCTUnwrap(reference["prompt_ids"]).ints)
      let difference = largestDifference(logits, last)
      print("short, \(pipeline): largest difference of the logits \(difference)")
      XCTAssertLessThanOrEqual(difference, bound)
      for (index, token) in try XCTUnwrap(reference["target_fp32_greedy"]).ints.prefix(16).enumerated() {
        XCTAssertEqual(argMax(logits), token, "token \(index) of \(pipeline)")
        logits = try session.prefill(function: "verify", tokens: [token])
      }
    }
  }

  /// The long prompts take minutes in debug builds: run with DUSTIN_LONG_TESTS=1, better in release.
  func testPasswordPromptOf4k() throws { try checkLong("password-4k") }
  func testNeedlePromptOf8k() throws { try checkLong("needle-8k") }
  func testCopyPromptOf8k() throws { try checkLong("copy-8k") }
  func testNeedlePromptOf32k() throws { try checkLong("needle-32k") }

  func testHiddenStatesLayerByLayer() throws {
    let reference = try referenceTensors(checkout + "/Tests/Reference/short.safetensors")
    let expected = try XCTUnwrap(reference["target_fp32_hidden_all"])
    let session = try target()
    var adds: [Tensor] = []
    var states: [Tensor] = []
    var norm: Tensor?
    session.interpreter.onOperation = { operation, results in
      switch operation.name {
      case "embed": states.append(results[0])
      case "add": adds.append(results[0])
      case "rmsnorm": norm = results[0]
      default: break
      }
    }
    _ = try session.prefill(function: "forward", tokens: try XCTUnwrap(reference["prompt_ids"]).ints)
    // Every layer adds twice; after the last one the reference shows the final norm instead.
    states += stride(from: 1, to: adds.count - 1, by: 2).map { adds[$0] }
    states.append(try XCTUnwrap(norm))
    XCTAssertEqual(states.count, expected.rows)
    for (layer, state) in states.enumerated() {
      let wanted = expected.doubles[layer * state.count..<(layer + 1) * state.count]
      // The largest numbers of a row are in the hundreds; f32 sums in another order differ by some units of them.
      assertClose(state.floats, Array(wanted), within: 1e-4, "layer \(layer)")
    }
  }

  // MARK: - Helpers

  /// Widening 25 million numbers takes seconds in debug builds: once for all tests.
  private static let weights = Result<DictionaryWeights, any Error> {
    let store = try ModelDirectory(path: checkout + "/examples/models/target").weights()
    return DictionaryWeights(
      Dictionary(uniqueKeysWithValues: try store.names.map { ($0, try StoreWeights(store: store).tensor(named: $0)) }))
  }

  private func target(_ pipeline: String = "") throws -> InterpreterSession {
    let module = try ModelDirectory(path: checkout + "/examples/models/target").importModule()
    try PassManager().run(try PassPipeline.parse(pipeline, registry: .standard), on: module)
    return try InterpreterSession(try Interpreter(module: module, weights: try Self.weights.get()))
  }

  private func checkLong(_ name: String) throws {
    guard getenv("DUSTIN_LONG_TESTS") != nil else {
      throw XCTSkip("takes minutes: set DUSTIN_LONG_TESTS=1 to run it")
    }
    try check(name, greedy: 16)
  }

  /// Logits at the prompt's last position within 1e-3, keys and values of the last layer there, and the first `greedy`
  /// tokens of the continuation.
  private func check(_ name: String, greedy: Int) throws {
    let reference = try referenceTensors(checkout + "/Tests/Reference/\(name).safetensors")
    func expected(_ key: String) throws -> Tensor { try XCTUnwrap(reference[key], key) }
    let session = try target()
    var logits = try session.prefill(function: "forward", tokens: try expected("prompt_ids").ints)

    let last = try expected("target_fp32_last_logits").floats
    let difference = largestDifference(logits, last)
    print("\(name): largest difference of the logits \(difference)")
    XCTAssertEqual(logits.count, last.count)
    XCTAssertLessThanOrEqual(difference, 1e-3)
    let caches = try session.cacheContents()
    for (cache, key) in zip(caches.suffix(2), ["key", "value"]) {
      let row = Array(cache.floats.suffix(cache.width))
      assertClose(row, try expected("target_fp32_last_layer_\(key)_last_position").doubles, within: 1e-3, key)
    }

    let tokens = try expected("target_fp32_greedy").ints.prefix(greedy)
    for (index, token) in tokens.enumerated() {
      XCTAssertEqual(argMax(logits), token, "token \(index)")
      if index + 1 < tokens.count { logits = try session.prefill(function: "forward", tokens: [token]) }
    }
  }

  /// The lowest id with the highest logit.
  private func argMax(_ logits: [Float]) -> Int32? {
    logits.indices.max { (logits[$0], $1) < (logits[$1], $0) }.map { Int32($0) }
  }
}
