import DustinIR
import DustinPasses
import DustinSupport
import XCTest

final class PlanMemoryTests: XCTestCase {
  private func conflicts(_ module: Module) throws -> [String] {
    let maxRows = try XCTUnwrap(module.bound(of: .named("T")))
    return module.functions.flatMap { PlanCheck.conflicts(in: $0, maxRows: maxRows).map(\.description) }
  }

  func testPlansOfThePipelines() throws {
    for pipeline in ["target-fast", "target-f32", "draft-fast", "draft-f32"] {
      for model in [
        TestModel(), TestModel(layers: 1, hasBias: false, weights: "f32"), TestModel(heads: 3, kvHeads: 1, maxRows: 1),
      ] {
        let module = try model.module()
        try runPasses(pipeline, on: module)
        XCTAssertEqual(try conflicts(module), [], pipeline)
      }
    }
  }

  /// Unfused functions have more values alive at once.
  func testPlansWithoutFusion() throws {
    for mode in ["f32", "fast"] {
      let module = try TestModel(layers: 3).module()
      try runPasses("numerics{mode=\(mode)},lower-to-kernel,plan-memory", on: module)
      XCTAssertEqual(try conflicts(module), [], mode)
    }
  }

  func testPlansOfRandomFunctions() throws {
    var random = SplitMix(seed: 7)
    for _ in 0..<100 {
      let module = try readModule(randomFunction(&random))
      try runPasses("plan-memory", on: module)
      XCTAssertEqual(try conflicts(module), [], module.text())
    }
  }

  func testTheCheckFindsDamage() throws {
    var damaged = 0
    let module = try TestModel().module()
    try runPasses("target-fast", on: module)
    let function = try XCTUnwrap(module.function("verify"))
    for operation in function.body where operation.attributes["at"] != nil && operation.name != "reshape" {
      let before = operation.attributes
      // On top of the argument %ids, which lives for ever.
      operation.attributes["at"] = .array([.int(0)])
      XCTAssertFalse(try conflicts(module).isEmpty, operation.name)
      operation.attributes = before
      damaged += 1
    }
    XCTAssertGreaterThan(damaged, 8)
    XCTAssertEqual(try conflicts(module), [])
  }

  func testReuseIsCounted() throws {
    var manager = PassManager()
    let statistics = PassStatistics()
    manager.instrumentations = [statistics]
    let module = try TestModel(layers: 8).module()
    try manager.run(try PassPipeline.parse("target-fast", registry: .standard), on: module)
    let counters = Dictionary(
      uniqueKeysWithValues: statistics.entries.filter { $0.pass == "plan-memory" }.map { ($0.name, $0.value) })
    for function in module.functions {
      let used = try XCTUnwrap(counters["arena-bytes.\(function.name)"])
      XCTAssertEqual(used, PlanCheck.arenaBytes(of: function, maxRows: 16))
      XCTAssertGreaterThan(try XCTUnwrap(counters["arena-bytes-without-reuse.\(function.name)"]), 4 * used)
    }
    // Depth costs nothing: every layer uses the bytes of the one before.
    let shallow = try TestModel(layers: 2).module()
    try runPasses("target-fast", on: shallow)
    XCTAssertEqual(
      PlanCheck.arenaBytes(of: try XCTUnwrap(shallow.function("verify")), maxRows: 16),
      PlanCheck.arenaBytes(of: try XCTUnwrap(module.function("verify")), maxRows: 16))
  }

  // MARK: Random functions

  /// Row ops over values picked at random: long and short lives, views, sums in place, unused results, several returns.
  private func randomFunction(_ random: inout SplitMix) -> String {
    var values = ["%x", "%y"]
    var body: [String] = []
    for index in 0..<Int.random(in: 1...25, using: &random) {
      let name = "%v\(index)"
      let a = values.randomElement(using: &random) ?? "%x"
      let b = values.randomElement(using: &random) ?? "%x"
      switch Int.random(in: 0..<7, using: &random) {
      case 0: body.append("\(name) = silu \(a) : f32[T, 64]")
      case 1: body.append("\(name) = mul \(a), \(b) : f32[T, 64]")
      case 2:
        body.append("\(name)h = reshape \(a) : f32[T, 4, 16]")
        body.append("\(name) = reshape \(name)h : f32[T, 64]")
      case 3: body.append("\(name) = linear \(a), norm(@g), weight(@w) {eps = 1e-06, round = bf16} : f32[T, 64]")
      case 4: body.append("\(name) = linear \(a), norm(@g), weight(@w), residual(\(b)) {eps = 1e-06} : f32[T, 64]")
      case 5:
        body.append("\(name)c = cast \(a) : bf16[T, 64]")
        body.append("\(name) = linear \(name)c, weight(@w), residual(\(b)) : f32[T, 64]")
      default: body.append("\(name) = linear \(a), weight(@w), residual(\(b)) : f32[T, 64]")
      }
      values.append(name)
    }
    let returned = (0..<Int.random(in: 1...3, using: &random)).map { _ in values.randomElement(using: &random) ?? "%x" }
    return """
      dustin 1
      stage kernel

      dim T <= \(Int.random(in: 1...9, using: &random))

      weight @g : bf16[64]
      weight @w : bf16[64, 64]

      func @f(%x: f32[T, 64], %y: f32[T, 64]) -> (\(returned.map { _ in "f32[T, 64]" }.joined(separator: ", "))) {numerics = f32} {
      \(body.map { "  " + $0 }.joined(separator: "\n"))
        return \(returned.joined(separator: ", "))
      }

      """
  }
}
