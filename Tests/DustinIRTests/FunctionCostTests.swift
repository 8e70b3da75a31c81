import DustinIR
import DustinSupport
import XCTest

/// Figures counted by hand.
final class FunctionCostTests: XCTestCase {
  private func module(_ body: String, arguments: String = "", dims: String = "") throws -> Module {
    try ModuleParser.parse(
      SourceBuffer(
        name: "cost.dust",
        text: """
          dustin 1
          stage kernel
          dim T <= 8
          dim L <= 4096
          \(dims)
          weight @w : bf16[64, 32]
          weight @u : bf16[16, 32]
          func @f(%x: f32[T, 32], %q: bf16[T, 4, 16], %kc: bf16[L, 2, 16] {role = cache}, %vc: bf16[L, 2, 16] {role = cache}\(arguments)) -> () {
            \(body)
            return
          }
          """))
  }
  private func cost(_ module: Module, _ length: Int) throws -> FunctionCost {
    FunctionCost(of: try XCTUnwrap(module.function("f")), in: module, length: length)
  }

  func testLinear() throws {
    let found = try cost(try module("%y = linear %x, weight(@w, @u) : f32[T, 80]"), 1000)
    XCTAssertEqual(found.operations, 2 * 32 * 80)
    XCTAssertEqual(found.cacheBytes, 0)
  }

  func testDenseAttention() throws {
    let found = try cost(try module("%y = attend %q, cache(%kc, %vc) {scale = 0.25} : f32[T, 4, 16]"), 1000)
    // Keys and values of 2 heads of 16 numbers of 2 bytes, of 1000 positions and the row's own.
    XCTAssertEqual(found.cacheBytes, 2 * 2 * 16 * 2 * 1001)
    XCTAssertEqual(found.denseCacheBytes, found.cacheBytes)
    // Two dot products of 16 for each of 4 heads.
    XCTAssertEqual(found.operations, 2 * 2 * 4 * 16 * 1001)
  }

  func testLengthsEndAtTheBound() throws {
    let dense = try module("%y = attend %q, cache(%kc, %vc) {scale = 0.25} : f32[T, 4, 16]")
    XCTAssertEqual(dense.usualLength, 4096)
    XCTAssertEqual(dense.positionDim, .named("L"))
  }

  func testAttentionThroughASet() throws {
    let body = """
      %ks, %vs = gather %i, cache(%kc, %vc) : bf16[S, 2, 16], bf16[S, 2, 16]
        %y = attend %q, cache(%ks, %vs), tail(%kc, %vc), after(%i) {scale = 0.25} : f32[T, 4, 16]
      """
    let sparse = try module(body, arguments: ", %i: i32[S] {role = round}", dims: "dim S = min(256, L)")
    let found = try cost(sparse, 1000)
    XCTAssertEqual(found.cacheBytes, 2 * 2 * 16 * 2 * 257)
    XCTAssertEqual(found.denseCacheBytes, 2 * 2 * 16 * 2 * 1001)
    XCTAssertEqual(found.operations, 2 * 2 * 4 * 16 * 257)
    // A context that is shorter than the set is read whole.
    XCTAssertEqual(try cost(sparse, 100).cacheBytes, 2 * 2 * 16 * 2 * 101)
    // One set for each KV head: each head's keys and values of its own positions.
    let planes = try module(body, arguments: ", %i: i32[2, S] {role = round}", dims: "dim S <= 256")
    XCTAssertEqual(try cost(planes, 1000).cacheBytes, found.cacheBytes)
  }

  func testScoring() throws {
    func score(_ attributes: String, _ length: Int) throws -> FunctionCost {
      try cost(try module("%s = score %q, cache(%kc) {\(attributes)scale = 0.25} : f32[L]"), length)
    }
    // Heads 2 and 3 share the second KV head: keys of one head, committed positions only.
    let found = try score("heads = [2, 3], ", 1000)
    XCTAssertEqual(found.cacheBytes, 16 * 2 * 1000)
    XCTAssertEqual(found.denseCacheBytes, 0)
    XCTAssertEqual(found.operations, 2 * 2 * 16 * 1000)
    XCTAssertEqual(try score("", 1000).cacheBytes, 2 * 16 * 2 * 1000)
    XCTAssertEqual(try score("", 1000).operations, 2 * 4 * 16 * 1000)
  }

  /// Beside attention a score costs nothing more.
  func testScoringBesideAttention() throws {
    let attend = "%y = attend %q, cache(%kc, %vc) {scale = 0.25} : f32[T, 4, 16]"
    let score = "%s = score %q, cache(%kc), onto(%c), beside(%y) {scale = 0.25, take = last} : f32[C]"
    func found(_ body: String) throws -> FunctionCost {
      try cost(try module(body, arguments: ", %c: f32[C] {role = running}", dims: "dim C <= 4096"), 1000)
    }
    let (dense, fused) = (try found(attend), try found("\(attend)\n  \(score)"))
    XCTAssertEqual(fused.cacheBytes, dense.cacheBytes)
    XCTAssertEqual(fused.operations, dense.operations)
  }

  /// Extents that no text may have, from a pass that went wrong, are figures like others.
  func testHugeExtents() {
    let huge = Dim.fixed(.max)
    let (module, function) = (Module(), Function("f"))
    let cache = TensorType(.f32, [.named("L"), huge, huge])
    let q = function.addArgument("q", TensorType(.f32, [huge, huge, huge]))
    let keys = function.addArgument("kc", cache, role: .cache)
    let values = function.addArgument("vc", cache, role: .cache)
    for _ in 0..<3 {
      let groups = [OperandGroup("", [q]), OperandGroup("cache", [keys, values])]
      function.append(Operation(.attend, groups, results: [("y", q.type)]))
      function.append(Operation(.score, [groups[0], OperandGroup("cache", [keys])], results: [("s", cache)]))
      function.append(Operation(.linear, [groups[0], OperandGroup("weight", [q])], results: [("z", q.type)]))
    }
    function.append(Operation(.attend, [], results: []))
    module.functions = [function]
    let cost = FunctionCost(of: function, in: module, length: .max)
    XCTAssertTrue(cost.cacheBytes.isFinite && cost.operations.isFinite)
    XCTAssertGreaterThan(cost.cacheBytes, 0)
  }
}
