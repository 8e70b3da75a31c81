import DustinCodegen
import DustinIR
import DustinPasses
import DustinRuntime
import DustinSupport
import XCTest

@testable import DustinModels

/// Imported models, compiled, against what `transformers` computed in f32 from the same files: one tiny model per family
/// and rope variant.
final class ImportedModelTests: XCTestCase {
  private static let fixtures: String = {
    var parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
    parts.removeLast(2)
    return parts.joined(separator: "/") + "/Fixtures"
  }()

  /// Every folder with a reference.
  private var models: [String] {
    directoryEntries(Self.fixtures).filter {
      directoryEntries("\(Self.fixtures)/\($0)").contains("reference.safetensors")
    }.sorted()
  }

  private struct Reference {
    let prompt, greedy: [Int32]
    let logits: [Float]

    init(_ path: String) throws {
      let store = try WeightStore(file: path + "/reference.safetensors")
      prompt = try store.tensor("prompt_ids").ints()
      greedy = try store.tensor("greedy").ints()
      logits = try store.tensor("last_logits").floats()
    }
    var largest: Float { logits.reduce(0) { max($0, abs($1)) } }
  }

  private func compiled(_ path: String, _ pipeline: String, _ target: CPUTarget) throws -> CompiledModel {
    let directory = try ModelDirectory(path: path)
    let module = try directory.importModule(maxRows: 16)
    var manager = PassManager()
    manager.verifyEach = true
    _ = try manager.run(try PassPipeline.parse(pipeline, registry: .standard), on: module)
    let output = try Compiler.compile(module, for: target)
    let memory = try Memory(count: output.program.weightBytes, for: "weights")
    let store = try directory.weights()
    try output.plan.packWeights(into: memory.base) { name in
      let tensor = try store.tensor(name)
      return (tensor.element, tensor.bytes)
    }
    return try CompiledModel(
      program: output.program, code: output.code, weights: UnsafeRawPointer(memory.base),
      owners: [memory])
  }

  /// The largest difference of a logit behind the prompt; infinite when a number is not finite or one is missing.
  private func difference(_ logits: [Float], _ reference: Reference) -> Float {
    guard logits.count == reference.logits.count, logits.allSatisfy(\.isFinite) else { return .infinity }
    return zip(logits, reference.logits).reduce(0) { max($0, abs($1.0 - $1.1)) }
  }

  private func prefill(_ engine: Engine, _ tokens: [Int32], positions: Int) throws -> (cache: KVCache, logits: [Float])
  {
    let cache = try KVCache(engine.model, positions: positions)
    let logits = try XCTUnwrap(engine.prefill([StepRows(cache, tokens)]).logits.first)
    return (cache, logits)
  }

  func testEveryFamilyIsThere() {
    XCTAssertGreaterThanOrEqual(models.count, 14, "\(models)")
  }

  func testF32GivesTheReferencesLogitsAndTokens() throws {
    for (number, name) in models.enumerated() {
      for target in try runnableTargets(round: number) {
        let path = "\(Self.fixtures)/\(name)"
        let reference = try Reference(path)
        XCTAssertEqual(reference.greedy.count, 16, name)
        let engine = try Engine(model: compiled(path, "target-f32", target), team: ThreadTeam(threads: 2))
        let positions = reference.prompt.count + reference.greedy.count
        let (cache, first) = try prefill(engine, reference.prompt, positions: positions)
        let found = difference(first, reference)
        print("\(name), f32, \(target): largest difference of a logit \(found) of \(reference.largest)")
        XCTAssertLessThanOrEqual(found, 2e-5, "\(name), \(target): largest difference of a logit")
        var logits = first
        var tokens: [Int32] = []
        for _ in reference.greedy {
          let token = try logits.withUnsafeBufferPointer { try argMax($0) }
          tokens.append(token)
          let step = try engine.step("verify", [StepRows(cache, [token])])
          logits = Array(try step.logits(sequence: 0, row: 0))
          try cache.commit(1)
        }
        XCTAssertEqual(tokens, reference.greedy, "\(name), \(target)")
      }
    }
  }

  /// bf16 weights, caches and dot inputs: near the reference, and never a number that is none.
  func testBF16StaysNearTheReference() throws {
    var worst: [CPUTarget: Float] = [:]
    for (number, name) in models.enumerated() {
      for target in try runnableTargets(round: number) {
        let path = "\(Self.fixtures)/\(name)"
        let reference = try Reference(path)
        let engine = try Engine(model: compiled(path, "target-fast", target), team: ThreadTeam(threads: 2))
        let (_, logits) = try prefill(engine, reference.prompt, positions: reference.prompt.count)
        let found = difference(logits, reference) / reference.largest
        print("\(name), fast, \(target): largest difference of a logit \(found) of the largest logit")
        XCTAssertLessThanOrEqual(found, 0.06, "\(name), \(target): largest difference, of the largest logit")
        worst[target] = max(worst[target] ?? 0, found)
      }
    }
    for target in try runnableTargets() {
      XCTAssertGreaterThan(worst[target] ?? 0, 1e-5, "\(target): nothing was rounded")
    }
  }
}
