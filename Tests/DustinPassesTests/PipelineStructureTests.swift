import DustinIR
import DustinPasses
import XCTest

/// What the named pipelines make of a decoder: which kernels, in which order.
final class PipelineStructureTests: XCTestCase {
  private let layer = ["linear", "rope_append", "attend", "reshape", "linear", "linear", "linear"]

  private func kernels(_ function: Function) -> [String] { function.body.map(\.name) }

  func testEveryLayerIsSixKernelsAndAView() throws {
    for pipeline in ["target-fast", "target-f32", "draft-fast", "draft-f32"] {
      for hasBias in [true, false] {
        let module = try TestModel(layers: 3, hasBias: hasBias).module()
        try runPasses(pipeline, on: module)
        XCTAssertEqual(module.stage, .planned)
        let isTarget = pipeline.hasPrefix("target")
        XCTAssertEqual(module.functions.map(\.name), ["prefill", isTarget ? "verify" : "draft"])
        let lastLayer = Array(layer[..<4]) + ["last_row", "last_row"] + layer[4...]
        let oneRow = ["embed"] + layer + layer + lastLayer + ["linear"]
        let allRows = ["embed"] + layer + layer + layer + ["linear"]
        XCTAssertEqual(kernels(module.functions[0]), oneRow, pipeline)
        XCTAssertEqual(kernels(module.functions[1]), isTarget ? allRows : oneRow, pipeline)
        XCTAssertEqual(module.functions[0].returns[0].type.shape[0], .fixed(1))
        XCTAssertEqual(module.functions[1].returns[0].type.shape[0], isTarget ? .named("T") : .fixed(1))
      }
    }
  }

  /// Reading through a set costs no fusion: a layer has the kernels of before, and the view of what it reads.
  func testSparseLayersHaveTheKernelsOfDenseOnes() throws {
    let sparse = ["linear", "rope_append", "gather", "attend"] + layer[3...]
    for numerics in ["fast", "f32"] {
      for (role, preset) in [("target", "dustin{history=1:0.2}"), ("draft", "dustin"), ("target", "snapkv")] {
        let module = try TestModel(layers: 3).module()
        try runPasses("\(role),numerics{mode=\(numerics)},\(preset),choose-kv-layout,kernels", on: module)
        let reader = try XCTUnwrap(module.function(role == "target" ? "verify" : "draft"))
        let last = role == "target" ? sparse : Array(sparse[..<5]) + ["last_row", "last_row"] + sparse[5...]
        XCTAssertEqual(kernels(reader), ["embed"] + sparse + sparse + last + ["linear"], "\(preset), \(numerics)")
        guard role == "target" else { continue }
        XCTAssertEqual(
          kernels(try XCTUnwrap(module.function("dense"))), ["embed"] + layer + layer + layer + ["linear"])
      }
    }
    let module = try TestModel(layers: 3).module()
    try runPasses("target,numerics{mode=fast},snapkv,choose-kv-layout,kernels", on: module)
    let observe = kernels(try XCTUnwrap(module.function("observe")))
    XCTAssertEqual(observe.filter { $0 == "score" }.count, 3)
    XCTAssertEqual(observe.filter { $0 == "select" }.count, 3)
    // Nothing but keys, values and scores: the last layer's attention and the logits are not computed.
    XCTAssertEqual(observe.filter { $0 == "attend" }.count, 2)
  }

  func testRolesAndNumericsAreDeclared() throws {
    let module = try TestModel().module()
    try runPasses("target-fast", on: module)
    for function in module.functions {
      XCTAssertEqual(function.numerics, .fast)
      XCTAssertEqual(function.fidelity, .exact)
      let roles = function.body.filter { $0.name == "attend" }.map { $0.attributes.word("role") }
      XCTAssertEqual(roles, [function.name, function.name])
      XCTAssertTrue(function.arguments.dropFirst(2).allSatisfy { $0.type.element == .bf16 })
    }
  }

  func testFusedFormsOfTheFastPath() throws {
    let module = try TestModel(layers: 1).module()
    try runPasses("target-fast", on: module)
    let linears = try XCTUnwrap(module.function("verify")).body.filter { $0.name == "linear" }
    XCTAssertEqual(
      linears.map { $0.groups.map(\.label) },
      [
        ["", "norm", "weight", "bias"], ["", "weight", "residual"], ["", "norm", "weight"], ["", "weight", "residual"],
        ["", "norm", "weight"],
      ])
    XCTAssertEqual(linears.map { $0.attributes.word("round") }, ["bf16", nil, "bf16", nil, "bf16"])
    XCTAssertEqual(linears.map { $0.attributes.word("activation") }, [nil, nil, "swiglu", nil, nil])
    XCTAssertEqual(linears.map { $0.result.type.element }, [.f32, .f32, .bf16, .f32, .f32])
  }

  func testWideWeightsArePackedOnce() throws {
    let module = try TestModel(layers: 1, weights: "f32").module()
    try runPasses("draft-fast", on: module)
    for function in module.functions {
      let casts = function.body.prefix { $0.name == "cast" }
      // The table of embed and head is one; q, k, v, o, gate, up, down.
      XCTAssertEqual(casts.count, 8)
      XCTAssertFalse(function.body.dropFirst(8).contains { $0.name == "cast" })
      XCTAssertTrue(casts.allSatisfy { $0.result.isWeight && $0.attributes.isEmpty })
    }
  }

  /// As deep as the largest models: nothing in the passes may grow with the square of the depth.
  func testEightyLayers() throws {
    let module = try TestModel(layers: 80).module()
    try PassManager().run(try PassPipeline.parse("target-fast", registry: .standard), on: module)
    XCTAssertEqual(kernels(try XCTUnwrap(module.function("verify"))).count, 2 + 80 * layer.count)
  }
}
