import DustinCodegen
import DustinIR
import DustinInterpreter
import DustinRuntime
import DustinSupport
import XCTest

/// Compiled code against the interpreter, op by op, on random extents, ragged contexts and both CPU paths.
final class DifferentialTests: XCTestCase {
  /// Every op of the language has a case; this fails by name for one that has none.
  func testEveryOpHasACase() {
    var random = SeededGenerator(seed: 1)
    let covered = Set(OpCase.all(&random).map(\.op))
    for op in OpRegistry.standard.definitions {
      XCTAssertTrue(covered.contains(op.name), "op '\(op.name)' has no case in OpCases.swift")
    }
  }

  func testCompiledOpsAgreeWithTheInterpreter() throws {
    let targets = try runnableTargets()
    for seed in UInt64(1)...6 {
      var random = SeededGenerator(seed: seed)
      for one in OpCase.all(&random) {
        let module = try ModuleParser.parse(SourceBuffer(name: "\(one.op), seed \(seed)", text: one.text))
        let weights = try Self.weights(of: module, &random)
        for target in targets {
          let compiled = try CompiledModule(module, weights: weights, pipeline: "plan-memory", target: target)
          for threads in [1, 2] { try compare(one, module, weights, compiled, target, threads, seed) }
        }
      }
    }
  }

  /// Three ragged sequences share steps of 1 … 17 rows; each is compared with its own interpreter session.
  private func compare(
    _ one: OpCase, _ module: Module, _ weights: DictionaryWeights, _ compiled: CompiledModule, _ target: CPUTarget,
    _ threads: Int, _ seed: UInt64
  ) throws {
    var random = SeededGenerator(seed: seed &* 31)
    let engine = try Engine(model: compiled.model, team: ThreadTeam(threads: threads))
    // enough keys for several groups of 64, not always for a second chunk
    let starts = [0, Int.random(in: 1...90, using: &random), Int.random(in: 1...130, using: &random)]
    let caches = try starts.map { _ in try KVCache(compiled.model, positions: 400) }
    let interpreters = try starts.map { _ in try Interpreter(module: module, weights: weights) }
    let sessions = try starts.indices.map { try Sequence(module, interpreters[$0]) }
    func words(_ count: Int) -> [Int32] {
      (0..<count).map { _ in Int32.random(in: 0..<Int32(OpCase.vocabulary), using: &random) }
    }
    for (index, start) in starts.enumerated() where start > 0 {
      let prompt = words(start)
      for tile in stride(from: 0, to: start, by: 100) {
        let piece = prompt[tile..<min(tile + 100, start)]
        _ = try engine.step("f", [StepRows(caches[index], piece)])
        try caches[index].commit(piece.count)
        _ = try sessions[index].step(Array(piece))
      }
    }
    for _ in 0..<3 {
      let tokens = starts.map { _ in words(Int.random(in: 1...17, using: &random)) }
      let result = try engine.step("f", zip(caches, tokens).map { StepRows($0, $1) })
      for (index, session) in sessions.enumerated() {
        let expected = try session.step(tokens[index])
        let (rows, width) = (expected.rows, expected.width)
        for row in 0..<rows {
          let place = one.op == "last_row" ? tokens[index].count - 1 : row
          let bytes = try result.bytes("y", sequence: index, row: place)
          let actual = expected.element == .bf16 ? Self.widened(bytes) : Array(bytes.bindMemory(to: Float.self))
          let wanted = expected.floats[row * width..<(row + 1) * width]
          let scale = max(1, wanted.reduce(0) { max($0, abs($1)) })
          let worst = zip(actual, wanted).reduce(Float(0)) { max($0, abs($1.0 - $1.1)) }
          XCTAssertEqual(actual.count, width)
          XCTAssertLessThanOrEqual(
            worst, one.bound * scale,
            "op '\(one.op)', \(target), \(threads) threads, seed \(seed), sequence \(index) row \(row)\n\(one.text)")
        }
      }
      for (cache, words) in zip(caches, tokens) { try cache.commit(words.count) }
    }
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

  /// One sequence of `@f` in the interpreter.
  private final class Sequence {
    private let interpreter: Interpreter
    private var caches: [KVCacheTensor] = []
    private var length: Int32 = 0

    init(_ module: Module, _ interpreter: Interpreter) throws {
      self.interpreter = interpreter
      for argument in module.functions[0].arguments.dropFirst(2) {
        let shape = argument.type.shape
        caches.append(
          try KVCacheTensor(
            heads: shape[1].fixedValue ?? 0, dim: shape[2].fixedValue ?? 0, element: argument.type.element,
            capacity: 400))
      }
    }

    /// The rows of `%y`; the step is committed.
    func step(_ tokens: [Int32]) throws -> Tensor {
      let positions = tokens.indices.map { length + Int32($0) }
      let results = try interpreter.call(
        "f",
        [.tensor(try Tensor([tokens.count], ints: tokens)), .tensor(try Tensor([tokens.count], ints: positions))]
          + caches.map { .cache($0.current) })
      for cache in caches { try cache.commit(tokens.count) }
      length += Int32(tokens.count)
      guard case .tensor(let tensor) = results[0] else { throw DiagnosticError("test", "%y is not a tensor") }
      return tensor
    }
  }
}
