import DustinIR
import DustinInterpreter
import DustinSupport
import XCTest

import class DustinIR.Operation

final class InterpreterTests: XCTestCase {
  private func tiny() throws -> RandomModule {
    var shape = RandomModule.Shape()
    shape.layers = 2
    shape.hasBiases = true
    return try RandomModule(shape, seed: 1)
  }

  private func arguments(_ random: RandomModule, tokens: [Int32]) throws -> [Interpreter.Argument] {
    var arguments: [Interpreter.Argument] = [
      .tensor(try Tensor([tokens.count], ints: tokens)),
      .tensor(try Tensor([tokens.count], ints: tokens.indices.map { Int32($0) })),
    ]
    for _ in 0..<random.shape.layers * 2 {
      let cache = try KVCacheTensor(
        heads: random.shape.kvHeads, dim: random.shape.headDim, element: .f32, capacity: 64)
      arguments.append(.cache(cache.current))
    }
    return arguments
  }

  func testHookSeesEveryOpAndItsResults() throws {
    let random = try tiny()
    let interpreter = try random.interpreter()
    let function = try XCTUnwrap(random.module.function("forward"))
    var seen: [Operation] = []
    interpreter.onOperation = { operation, results in
      seen.append(operation)
      XCTAssertEqual(results.count, operation.results.count)
      for (result, value) in zip(results, operation.results) {
        XCTAssertEqual(result.element, value.type.element)
        // All row results have T rows, and an append's are the rows that it wrote.
        XCTAssertEqual(result.rows, 3, operation.name)
        XCTAssertEqual(result.shape.count, value.type.rank)
      }
    }
    let results = try interpreter.call("forward", try arguments(random, tokens: [1, 2, 3]))
    XCTAssertEqual(seen, function.body)
    XCTAssertEqual(results.count, 5)
    struct Stop: Error {}
    interpreter.onOperation = { operation, _ in if operation.name == "attend" { throw Stop() } }
    XCTAssertThrowsError(try interpreter.call("forward", try arguments(random, tokens: [1]))) {
      XCTAssertTrue($0 is Stop)
    }
  }

  func testArgumentsMustFit() throws {
    let random = try tiny()
    let interpreter = try random.interpreter()
    let good = try arguments(random, tokens: [1, 2])
    func call(_ change: (inout [Interpreter.Argument]) throws -> Void) throws -> [Interpreter.Argument] {
      var arguments = good
      try change(&arguments)
      return try interpreter.call("forward", arguments)
    }
    assertDiagnostic("'@forward' takes 6 arguments, not 5") { try call { $0.removeLast() } }
    assertDiagnostic("'%ids' of '@forward' must be i32[T], not f32[2]") {
      try call { $0[0] = .tensor(try Tensor([2], [1, 2])) }
    }
    assertDiagnostic("'%ids' of '@forward' must be i32[T], not i32[1, 2]") {
      try call { $0[0] = .tensor(try Tensor([1, 2], ints: [1, 2])) }
    }
    assertDiagnostic("'%pos' of '@forward' has T = 3, but an argument before it has 2") {
      try call { $0[1] = .tensor(try Tensor([3], ints: [1, 2, 3])) }
    }
    assertDiagnostic("'%k0' of '@forward' must be a cache") { try call { $0[2] = .tensor(try Tensor([2], [1, 2])) } }
    assertDiagnostic("'%v0' of '@forward' must be f32[L, 1, 16], but an extent is 2") {
      try call { $0[3] = .cache(try KVCacheTensor(heads: 2, dim: 16, element: .f32, capacity: 8).current) }
    }
    assertDiagnostic("'%v0' of '@forward' must be f32[L, 1, 16], not bf16[0, 1, 16]") {
      try call { $0[3] = .cache(try KVCacheTensor(heads: 1, dim: 16, element: .bf16, capacity: 8).current) }
    }
    assertDiagnostic("keys and values need a cache each") { try call { $0[3] = $0[2] } }
    assertDiagnostic("did you mean '@forward'?") { try interpreter.call("forwrd", good) }
    // Caches are used linearly: the call replaced the versions that it was given.
    _ = try interpreter.call("forward", good)
    assertDiagnostic("'%k0' of '@forward' got a version of a cache that an append has replaced") {
      try interpreter.call("forward", good)
    }
  }

  func testLengthsOfCachesMustAgree() throws {
    let random = try tiny()
    let interpreter = try random.interpreter()
    let results = try interpreter.call("forward", try arguments(random, tokens: [1, 2]))
    for result in results[1...2] {
      guard case .cache(let cache) = result else { return XCTFail("a cache") }
      try cache.storage.commit(2)
    }
    var next = try arguments(random, tokens: [3])
    next.replaceSubrange(2..., with: results[1...])
    assertDiagnostic("'%k1' of '@forward' has L = 0, but an argument before it has 2") {
      try interpreter.call("forward", next)
    }
  }

  func testWeightsMustFit() throws {
    let random = try tiny()
    let arguments = { try self.arguments(random, tokens: [1]) }
    let name = "model.layers.1.self_attn.q_proj.weight"
    var weights = random.weights
    weights.tensors[name] = nil
    weights.tensors["model.layers.1.self_attn.q_prok.weight"] = try Tensor([1], [1])
    assertDiagnostic("there is no weight '\(name)'") {
      try Interpreter(module: random.module, weights: weights).call("forward", try arguments())
    }
    weights.tensors[name] = try Tensor(.bf16, [1, 2], [1, 2])
    assertDiagnostic("the weight '\(name)' is bf16[1, 2], not bf16[32, 32]") {
      try Interpreter(module: random.module, weights: weights).call("forward", try arguments())
    }
    weights.tensors[name] = try Tensor([32, 32], [Float](repeating: 0, count: 1024))
    assertDiagnostic("the weight '\(name)' is f32[32, 32], not bf16[32, 32]") {
      try Interpreter(module: random.module, weights: weights).call("forward", try arguments())
    }
  }

  func testCastsOfWeightsRound() throws {
    let module = Module()
    let global = Global("w", TensorType(.f32, [.fixed(2)]), .weight)
    module.globals = [global]
    let function = Function("f")
    let type = TensorType(.bf16, [.fixed(2)])
    let cast = function.append(Operation(.cast, [OperandGroup("", [global.value])], results: [(name: "y", type: type)]))
    function.addReturn(cast.result)
    function.addReturn(global.value)
    module.functions = [function]
    let weights = DictionaryWeights(["w": try Tensor([2], [1 + 3 / 256, 2])])
    let interpreter = try Interpreter(module: module, weights: weights)
    for _ in 0..<2 {
      let results = try interpreter.call("f", [])
      guard case .tensor(let rounded) = results[0], case .tensor(let plain) = results[1] else {
        return XCTFail("tensors")
      }
      XCTAssertEqual(rounded, try Tensor(.bf16, [2], [1 + 4 / 256, 2]))
      XCTAssertEqual(plain, weights.tensors["w"])
    }
  }

  func testIllFormedModulesAreRefused() throws {
    let f32 = TensorType(.f32, [.fixed(2), .fixed(4)])
    func module(_ build: (Function) -> Void) -> Module {
      let module = Module()
      let function = Function("f")
      build(function)
      module.functions = [function]
      return module
    }
    let missing = module { $0.append(Operation(.add, [], results: [(name: "y", type: f32)])) }
    assertDiagnostic("'add' cannot have 0 operands") { try Interpreter(module: missing, weights: DictionaryWeights()) }
    let mistyped = module {
      let x = $0.addArgument("x", f32)
      $0.append(Operation(.silu, [OperandGroup("", [x])], results: [(name: "y", type: f32.with(element: .bf16))]))
    }
    assertDiagnostic("the result of 'silu' must be f32[2, 4]") {
      try Interpreter(module: mistyped, weights: DictionaryWeights())
    }
    let own = OpDefinition(
      name: "my_op", summary: "", meaning: "", operandGroups: [], stages: [.tensor], example: ""
    ) { _, _ in [f32] }
    let unknown = module { $0.append(Operation(own, [], results: [(name: "y", type: f32)])) }
    assertDiagnostic("the interpreter does not know the op 'my_op'") {
      try Interpreter(module: unknown, weights: DictionaryWeights())
    }
    let undefined = module {
      let detached = Operation(own, [], results: [(name: "z", type: f32)]).result
      $0.addReturn(
        $0.append(Operation(.silu, [OperandGroup("", [detached])], results: [(name: "y", type: f32)])).result)
    }
    assertDiagnostic("'silu' uses '%z', which nothing above defines") {
      try Interpreter(module: undefined, weights: DictionaryWeights()).call("f", [])
    }
  }

  func testPluginsBringTheirOwnImplementations() throws {
    let type = TensorType(.f32, [.fixed(1), .fixed(2)])
    let own = OpDefinition(
      name: "double", summary: "", meaning: "", operandGroups: [OperandGroupSpec("", 1...1, "x")], stages: [.tensor],
      example: ""
    ) { operation, _ in [operation.operands[0].type] }
    let module = Module()
    let function = Function("f")
    let x = function.addArgument("x", type)
    function.addReturn(
      function.append(Operation(own, [OperandGroup("", [x])], results: [(name: "y", type: type)])).result)
    module.functions = [function]
    var implementations = Interpreter.standard
    implementations["double"] = { [.tensor(try Tensor($0.resultShapes[0], try $0.tensor().floats.map { $0 * 2 }))] }
    let interpreter = try Interpreter(module: module, weights: DictionaryWeights(), implementations: implementations)
    guard case .tensor(let y) = try interpreter.call("f", [.tensor(try Tensor([1, 2], [1, 3]))])[0] else {
      return XCTFail("a tensor")
    }
    XCTAssertEqual(y.floats, [2, 6])
    implementations["double"] = { _ in [.tensor(try Tensor([2], [1, 3]))] }
    assertDiagnostic("'double' gave f32[2] for '%y', which is f32[1, 2]") {
      try Interpreter(module: module, weights: DictionaryWeights(), implementations: implementations)
        .call("f", [.tensor(try Tensor([1, 2], [1, 3]))])
    }
  }
}
