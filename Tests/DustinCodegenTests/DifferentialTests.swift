import DustinCodegen
import DustinIR
import DustinInterpreter
import DustinRuntime
import DustinSupport
import XCTest

/// Compiled code against the interpreter, op by op, on random extents, ragged contexts and all CPU paths.
final class DifferentialTests: XCTestCase {
  /// Every op of the language has a case; this fails by name for one that has none.
  func testEveryOpHasACase() {
    var random = SeededGenerator(seed: 1)
    // What lives with a sequence has tests of its own: ScoreTests, FusedScoreTests, SelectTests, GatherTests.
    let covered = Set(OpCase.all(&random).map(\.op)).union(["score", "pool", "select"])
    for op in OpRegistry.standard.definitions {
      XCTAssertTrue(covered.contains(op.name), "op '\(op.name)' has no case in OpCases.swift")
    }
  }

  func testCompiledOpsAgreeWithTheInterpreter() throws {
    var worst: [String: Float] = [:]
    for seed in UInt64(1)...6 {
      var random = SeededGenerator(seed: seed)
      for one in OpCase.all(&random) {
        let module = try ModuleParser.parseVerified(SourceBuffer(name: "\(one.form), seed \(seed)", text: one.text))
        let weights = try Self.weights(of: module, &random)
        let script = try Script(one, module, weights, seed: seed)
        for target in try runnableTargets(round: Int(seed) - 1) {
          let compiled = try CompiledModule(module, weights: weights, pipeline: "plan-memory", target: target)
          for threads in [1, 2] {
            let label = "'\(one.form)', \(target), \(threads) threads, seed \(seed)"
            let found = try compare(one, script, compiled, threads, label)
            worst[one.form] = max(worst[one.form] ?? 0, found / max(one.bound, .leastNormalMagnitude))
          }
        }
      }
    }
    for (form, part) in worst.sorted(by: { $0.key < $1.key }) { print("\(form): \(part) of its bound") }
  }

  /// Three ragged sequences that share steps of 1 … 17 rows, and what the interpreter makes of each.
  private struct Script {
    var prompts: [[Int32]] = []
    /// Tokens and results, [step][sequence].
    var steps: [[[Int32]]] = []
    var expected: [[Tensor]] = []
    /// Positions that any sequence reaches.
    var positions = 1

    init(_ one: OpCase, _ module: Module, _ weights: DictionaryWeights, seed: UInt64) throws {
      var random = SeededGenerator(seed: seed &* 31)
      func words(_ count: Int) -> [Int32] {
        (0..<count).map { _ in Int32.random(in: 0..<Int32(OpCase.vocabulary), using: &random) }
      }
      // An empty one, one with some groups of 64 keys, and where keys count one whose third chunk of 1,024 has begun.
      let long = one.hasCache ? Int.random(in: 2049...2140, using: &random) : Int.random(in: 1...130, using: &random)
      prompts = [[], words(Int.random(in: 1...90, using: &random)), words(long)]
      steps = (0..<3).map { _ in (0..<3).map { _ in words(Int.random(in: 1...17, using: &random)) } }
      positions = (prompts.map(\.count).max() ?? 0) + 3 * 17
      let interpreter = try Interpreter(module: module, weights: weights)
      let sessions = try prompts.map { try Sequence(module, interpreter, $0, positions: positions) }
      expected = try steps.map { tokens in try zip(sessions, tokens).map { try $0.step($1) } }
    }
  }

  /// - Returns: The largest difference, as a part of the row's largest magnitude.
  private func compare(
    _ one: OpCase, _ script: Script, _ compiled: CompiledModule, _ threads: Int, _ label: String
  ) throws -> Float {
    let engine = try Engine(model: compiled.model, team: ThreadTeam(threads: threads))
    let caches = try script.prompts.map { _ in try KVCache(compiled.model, positions: script.positions) }
    for (cache, prompt) in zip(caches, script.prompts) {
      for tile in stride(from: 0, to: prompt.count, by: 100) {
        let piece = prompt[tile..<min(tile + 100, prompt.count)]
        _ = try engine.step("f", [StepRows(cache, piece)])
        try cache.commit(piece.count)
      }
    }
    var worst: Float = 0
    for (tokens, expected) in zip(script.steps, script.expected) {
      let result = try engine.step("f", zip(caches, tokens).map { StepRows($0, $1) })
      for (index, tensor) in expected.enumerated() {
        let width = tensor.width
        for row in 0..<tensor.rows {
          let place = one.op == "last_row" ? tokens[index].count - 1 : row
          let bytes = try result.bytes("y", sequence: index, row: place)
          let actual = tensor.element == .bf16 ? Self.widened(bytes) : Array(bytes.bindMemory(to: Float.self))
          let wanted = Array(tensor.floats[row * width..<(row + 1) * width])
          let scale = wanted.reduce(0) { max($0, abs($1)) }
          guard actual.count == width else { return fail("\(actual.count) values, not \(width)", one, label) }
          for column in 0..<width {
            let difference = abs(actual[column] - wanted[column])
            // Not "greater than": a NaN is no difference that could be greater.
            if !(difference <= one.bound * scale) {
              return fail(
                "sequence \(index), row \(row), column \(column): \(actual[column]), not \(wanted[column]),"
                  + " off by \(difference / scale) of the row's largest magnitude", one, label)
            }
            if scale > 0 { worst = max(worst, difference / scale) }
          }
        }
      }
      for (cache, words) in zip(caches, tokens) { try cache.commit(words.count) }
    }
    return worst
  }

  private func fail(_ what: String, _ one: OpCase, _ label: String) -> Float {
    XCTFail("\(label): \(what)\n\(one.text)")
    return .infinity
  }

  private static func widened(_ bytes: UnsafeRawBufferPointer) -> [Float] {
    bytes.bindMemory(to: UInt16.self).map { Float(bitPattern: UInt32($0) << 16) }
  }

  /// Random weights that their element types hold exactly; matrices are scaled so that products stay near 1.
  private static func weights(of module: Module, _ random: inout SeededGenerator) throws -> DictionaryWeights {
    var weights = DictionaryWeights()
    for global in module.globals {
      let shape = global.type.shape.compactMap(\.fixedValue)
      let scale = global.name == "w" || global.name == "v" || global.name == "u" ? 1 / Float(shape[1]).squareRoot() : 1
      let floats = (0..<shape.reduce(1, *)).map { _ -> Float in
        let value = Float.random(in: -1...1, using: &random) * scale
        return global.type.element == .bf16 ? roundedToBF16(value) : value
      }
      weights.tensors[global.name] = try Tensor(global.type.element, shape, floats)
    }
    return weights
  }

  /// One sequence in the interpreter.
  private final class Sequence {
    private let interpreter: Interpreter
    private var caches: [KVCacheTensor] = []
    private var length: Int32 = 0

    /// A prompt only fills the caches: `@fill` does that without attention, which is slow here.
    init(_ module: Module, _ interpreter: Interpreter, _ prompt: [Int32], positions: Int) throws {
      self.interpreter = interpreter
      for argument in module.functions[0].arguments.dropFirst(2) {
        let shape = argument.type.shape
        caches.append(
          try KVCacheTensor(
            heads: shape[1].fixedValue ?? 0, dim: shape[2].fixedValue ?? 0, element: argument.type.element,
            capacity: positions))
      }
      for tile in stride(from: 0, to: prompt.count, by: 128) where !caches.isEmpty {
        _ = try call("fill", Array(prompt[tile..<min(tile + 128, prompt.count)]))
      }
      length = Int32(prompt.count)
    }

    /// The rows of `%y`; the step is committed.
    func step(_ tokens: [Int32]) throws -> Tensor {
      guard case .tensor(let tensor)? = try call("f", tokens).first else {
        throw DiagnosticError("test", "%y is not a tensor")
      }
      return tensor
    }

    private func call(_ function: String, _ tokens: [Int32]) throws -> [Interpreter.Argument] {
      let positions = tokens.indices.map { length + Int32($0) }
      let results = try interpreter.call(
        function,
        [.tensor(try Tensor([tokens.count], ints: tokens)), .tensor(try Tensor([tokens.count], ints: positions))]
          + caches.map { .cache($0.current) })
      for cache in caches { try cache.commit(tokens.count) }
      length += Int32(tokens.count)
      return results
    }
  }
}
