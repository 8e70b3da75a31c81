import DustinIR
import DustinSupport
import XCTest

final class BuilderTests: XCTestCase {
  /// The text of `Texts.tensor`'s attention, built by hand.
  func testBuildsWhatTheTextSays() throws {
    let module = Module()
    module.dims = [DimDeclaration("T", .bounded(8)), DimDeclaration("L", .bounded(64))]
    let table = Global("table", TensorType(.bf16, [.fixed(256), .fixed(64)]), .weight)
    let gain = Global("gain", TensorType(.bf16, [.fixed(64)]), .weight)
    let weight = Global("w", TensorType(.bf16, [.fixed(64), .fixed(64)]), .weight)
    let freqs = Global("freqs", TensorType(.f32, [.fixed(8)]), .constant([1, 0.5, 0.25, 0.125, 1, 1, 1, 1]))
    module.globals = [table, gain, weight, freqs]
    let function = Function("step")
    module.functions = [function]
    let cacheType = TensorType(.bf16, [.named("L"), .fixed(2), .fixed(16)])
    let ids = function.addArgument("ids", TensorType(.i32, [.named("T")]))
    let kc = function.addArgument("kc", cacheType, role: .cache)
    let vc = function.addArgument("vc", cacheType, role: .cache)
    let builder = FunctionBuilder(function)
    let x = try builder.embed(ids, table: table.value, name: "x")
    let n = try builder.rmsnorm(x, gain: gain.value, eps: 1e-6, name: "x", element: .bf16)
    let q = try builder.reshape(builder.linear(n, weight: weight.value), inner: [4, 16], name: "q")
    let q1 = try builder.rope(q, positions: ids, freqs: freqs.value, scale: 1.5, name: "q", element: .bf16)
    let k = try builder.reshape(builder.slice(x, begin: 32, count: 32), inner: [2, 16], name: "k")
    let cache = try builder.append(keys: k, values: k, cache: (kc, vc))
    let a = try builder.attend(q1, cache: cache, role: "verify", scale: 0.25)
    let y = try builder.add(x, builder.reshape(a, inner: [64]))
    let z = try builder.lastRow(builder.mul(builder.silu(y), y), name: "z")
    function.addReturn(try builder.cast(z, to: .bf16), role: .row)
    function.addReturn(cache.keys, role: .cache)
    function.addReturn(cache.values, role: .cache)
    try Verifier.check(module)
    XCTAssertEqual(
      function.text(),
      """
      func @step(%ids: i32[T], %kc: bf16[L, 2, 16] {role = cache}, %vc: bf16[L, 2, 16] {role = cache}) -> \
      (bf16[1, 64] {role = row}, bf16[L, 2, 16] {role = cache}, bf16[L, 2, 16] {role = cache}) {fidelity = exact} {
        %x = embed %ids, weight(@table) : f32[T, 64]
        %x_1 = rmsnorm %x, weight(@gain) {eps = 1e-06} : bf16[T, 64]
        %linear = linear %x_1, weight(@w) : f32[T, 64]
        %q = reshape %linear : f32[T, 4, 16]
        %q_1 = rope %q, positions(%ids), freqs(@freqs) {scale = 1.5} : bf16[T, 4, 16]
        %slice = slice %x {begin = 32, count = 32} : f32[T, 32]
        %k = reshape %slice : f32[T, 2, 16]
        %kc_1, %vc_1 = append %k, %k, cache(%kc, %vc) : bf16[L, 2, 16], bf16[L, 2, 16]
        %attend = attend %q_1, cache(%kc_1, %vc_1) {role = verify, scale = 0.25} : f32[T, 4, 16]
        %reshape = reshape %attend : f32[T, 64]
        %add = add %x, %reshape : f32[T, 64]
        %silu = silu %add : f32[T, 64]
        %mul = mul %silu, %add : f32[T, 64]
        %z = last_row %mul : f32[1, 64]
        %z_1 = cast %z : bf16[1, 64]
        return %z_1, %kc_1, %vc_1
      }
      """)
    let again = try ModuleParser.parseVerified(SourceBuffer(name: "built", text: module.text()))
    XCTAssertEqual(again.text(), module.text())
  }

  func testRefusesWhatBreaksTheDeclaration() throws {
    let (module, function, x) = BuiltModules.base()
    let builder = FunctionBuilder(function)
    func id(_ body: () throws -> Void) -> String? {
      do { try body() } catch { return (error as? DiagnosticError)?.diagnostics.first?.id }
      return nil
    }
    XCTAssertEqual(id { try builder.emit(.add, [("", [x])]) }, "operand-count")
    XCTAssertEqual(id { try builder.emit(.silu, []) }, "operand-count")
    XCTAssertEqual(id { try builder.emit(.silu, [("", [x]), ("bias", [x])]) }, "unknown-group")
    XCTAssertEqual(id { try builder.emit(.slice, [("", [x])]) }, "missing-attribute")
    XCTAssertEqual(id { try builder.emit(.silu, [("", [x])], AttributeList([("a", .int(1))])) }, "unknown-attribute")
    XCTAssertEqual(id { _ = try builder.slice(x, begin: 60, count: 5) }, "type-rule")
    XCTAssertEqual(id { try builder.emit(.reshape, [("", [x])]) }, "type-rule")
    XCTAssertEqual(
      id { try builder.emit(.silu, [("", [x])], types: [TensorType(.f32, [.fixed(1)])]) }, "result-type")
    let huge = function.addArgument("h", TensorType(.f32, [.fixed(1), .fixed(1 << 40), .fixed(1 << 40)]))
    XCTAssertEqual(id { _ = try builder.reshape(huge, inner: [1]) }, "type-size")
    XCTAssertTrue(function.body.isEmpty, "nothing is appended after an error")
    XCTAssertEqual(module.functions.count, 1)
  }

  func testCopyIsDeep() throws {
    let module = try ModuleParser.parse(SourceBuffer(name: "m", text: Texts.tensor))
    let copy = module.copy()
    XCTAssertEqual(copy.text(), Texts.tensor)
    XCTAssertEqual(Verifier.diagnostics(for: copy).map(\.message), [])
    copy.globals.removeAll()
    copy.functions[0].setBody([])
    copy.dims = []
    XCTAssertEqual(module.text(), Texts.tensor)
  }

  func testCloneIntoAnotherModule() throws {
    let source = try ModuleParser.parse(SourceBuffer(name: "m", text: Texts.tensor))
    let target = Module()
    let step = try XCTUnwrap(source.function("step"))
    try step.clone(into: target, from: source, as: "copy")
    try Verifier.check(target)
    XCTAssertEqual(target.dims.map(\.name), ["T", "L"])
    XCTAssertEqual(target.globals.map(\.name), ["embed", "model.layers.0/norm-1", "a name, with \"quotes\"", "freqs"])
    XCTAssertEqual(
      target.functions[0].text().replacing("@copy", with: "@step"), step.text())
    // A second clone finds everything there.
    try step.clone(into: target, from: source)
    try Verifier.check(target)
    XCTAssertEqual(target.globals.count, 4)
    let before = target.text()
    XCTAssertThrowsError(try step.clone(into: target, from: source))
    source.dims[0] = DimDeclaration("T", .bounded(3))
    XCTAssertThrowsError(try step.clone(into: target, from: source, as: "third"))
    XCTAssertEqual(target.text(), before)
  }

  func testNamesOfTheText() {
    let (_, function, x) = BuiltModules.base()
    for name in ["x", "x_1", "x", "", "model/layer 0", "x_1", "_1"] {
      function.append(Operation(.silu, [OperandGroup("", [x])], results: [(name, BuiltModules.rows)]))
    }
    let lines = function.text().split(separator: "\n").dropFirst().dropLast(2)
    XCTAssertEqual(
      lines.map { String($0.split(separator: " ").first ?? "") },
      ["%x_2", "%x_1", "%x_3", "%v", "%model_layer_0", "%x_4", "%_1"])
  }
}

private typealias Operation = DustinIR.Operation
