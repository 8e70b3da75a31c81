import DustinIR
import DustinSupport
import XCTest

/// `parse(print(m))` prints identically, to the letter.
final class RoundTripTests: XCTestCase {
  func check(_ text: String, file: StaticString = #filePath, line: UInt = #line) throws {
    let module = try ModuleParser.parse(SourceBuffer(name: "test.dust", text: text))
    XCTAssertEqual(module.text(), text, file: file, line: line)
  }

  func testTensorStage() throws { try check(Texts.tensor) }
  func testKernelStage() throws { try check(Texts.kernel) }
  func testPlannedStage() throws { try check(Texts.planned) }
  func testSignalsSetsAndReaders() throws {
    try check(Texts.sparse)
    let module = try ModuleParser.parseVerified(SourceBuffer(name: "sparse.dust", text: Texts.sparse))
    XCTAssertEqual(module.copy().text(), Texts.sparse)
    XCTAssertEqual(module.function("select")?.argumentRoles.prefix(3), [.rows, .row, .round])
  }

  /// The module on the page that describes the language.
  func testLanguagePage() throws {
    let page = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
      "../../IR/LANGUAGE.md")
    let text = try String(contentsOf: page, encoding: .utf8)
    let blocks = text.matches(of: #/```dust\n((?:[^`]|`[^`])*)```/#)
    XCTAssertEqual(blocks.count, 1)
    for block in blocks {
      try check(String(block.1))
      _ = try ModuleParser.parseVerified(SourceBuffer(name: "LANGUAGE.md", text: String(block.1)))
    }
  }

  /// Spaces, comments, broken lists, CRLF and a byte order mark change nothing.
  func testFreeForm() throws {
    let free = """
      \u{FEFF}// RUN: nothing

        dustin   1 // version
      stage tensor{a=-1,b=[1,[]],c="\\u{1}\\n",d=-inf,e=word-with.parts,f=1E5}
      dim T<=8//eight
      constant @c:f32[4]=[ // four
        0.10000000149011612,
        -0,1e-46, 3
      ]
      weight@w : f32[8,8]//comment
      func@f(
        %x:f32[T,8],
        %y:f32[T,8]
      )->(f32[T,8]
      ){
      %z=linear %x,weight(@w):f32[T,8]

        %u=add %z,%y:f32[T,8] // last
      return %u
      }
      """.replacing("\n", with: "\r\n")
    let module = try ModuleParser.parseVerified(SourceBuffer(name: "free", text: free))
    XCTAssertEqual(
      module.text(),
      """
      dustin 1
      stage tensor {a = -1, b = [1, []], c = "\\u{1}\\n", d = -inf, e = word-with.parts, f = 100000.0}

      dim T <= 8

      constant @c : f32[4] = [0.1, -0.0, 0.0, 3.0]
      weight @w : f32[8, 8]

      func @f(%x: f32[T, 8], %y: f32[T, 8]) -> (f32[T, 8]) {fidelity = exact} {
        %z = linear %x, weight(@w) : f32[T, 8]
        %u = add %z, %y : f32[T, 8]
        return %u
      }

      """)
  }

  /// Every float that a constant can hold survives the text bit for bit.
  func testFloats() throws {
    var random = SplitMix(seed: 7)
    var values: [Float] = [0, -0.0, .leastNonzeroMagnitude, .greatestFiniteMagnitude, .infinity, -.infinity, 1 / 3]
    while values.count < 2000 {
      let value = Float(bitPattern: UInt32(truncatingIfNeeded: random.next()))
      if !value.isNaN { values.append(value) }
    }
    let module = Module()
    module.globals = [Global("c", TensorType(.f32, [.fixed(values.count)]), .constant(values))]
    module.attributes["x"] = .array(values.map { .float(Double($0) * 1.1) })
    let again = try ModuleParser.parse(SourceBuffer(name: "floats", text: module.text()))
    guard case .constant(let found) = again.globals[0].content else { return XCTFail("no constant") }
    XCTAssertEqual(found.map(\.bitPattern), values.map(\.bitPattern))
    XCTAssertEqual(again.attributes, module.attributes)
  }
}

enum Texts {
  static let tensor = """
    dustin 1
    stage tensor {model = "qwen2", layers = 1}

    dim T <= 512
    dim L <= 131072
    dim S = min(512, L)

    weight @embed : bf16[256, 64]
    weight @model.layers.0/norm-1 : f32[64]
    weight @"a name, with \\"quotes\\"" : bf16[64, 64]
    constant @freqs : f32[8] = [1.0, 0.5, 1e-06, -0.0, 16777216.0, 1e+10, inf, nan]

    func @step(%ids: i32[T], %pos: i32[T], %kc: f32[L, 2, 16] {role = cache}, %vc: f32[L, 2, 16] {role = cache}) -> \
    (f32[T, 64] {role = row}, f32[L, 2, 16] {role = cache}, f32[L, 2, 16] {role = cache}) {fidelity = exact} {
      %x = embed %ids, weight(@embed) : f32[T, 64]
      %n = rmsnorm %x, weight(@model.layers.0/norm-1) {eps = 1e-06} : f32[T, 64]
      %q2 = linear %n, weight(@"a name, with \\"quotes\\"") : f32[T, 64]
      %q3 = reshape %q2 : f32[T, 4, 16]
      %q = rope %q3, positions(%pos), freqs(@freqs) : f32[T, 4, 16]
      %k2 = slice %n {begin = 0, count = 32} : f32[T, 32]
      %k = reshape %k2 : f32[T, 2, 16]
      %kc1, %vc1 = append %k, %k, cache(%kc, %vc) : f32[L, 2, 16], f32[L, 2, 16]
      %a = attend %q, cache(%kc1, %vc1) {role = verify, scale = 0.25} : f32[T, 4, 16]
      %a2 = reshape %a : f32[T, 64]
      %y = add %x, %a2 : f32[T, 64]
      return %y, %kc1, %vc1
    }

    func @empty() -> () {fidelity = approximate("sparsify-verify"), numerics = f32} {
      return
    }

    """

  /// One round's functions: signals from kept rows, sets from signals, attention through sets.
  static let sparse = """
    dustin 1
    stage tensor {kv_layout = both, refresh = 2, dense_every = 20, observe = 32, preset = "dustin{budget=64}"}

    dim T <= 512
    dim L <= 4096
    dim S = min(64, L)
    dim B <= 128

    func @verify(%q: f32[T, 4, 16], %k: f32[T, 2, 16], %set: i32[S] {role = round}, %blocks: i32[2, B] \
    {role = static}, %kc: f32[L, 2, 16] {role = cache}, %vc: f32[L, 2, 16] {role = cache}) -> (f32[T, 4, 16], \
    f32[T, 4, 16] {role = rows}, f32[T, 4, 16] {role = row}, f32[L, 2, 16] {role = cache}, f32[L, 2, 16] \
    {role = cache}) {fidelity = approximate("sparsify-verify")} {
      %kc1, %vc1 = append %k, %k, cache(%kc, %vc) : f32[L, 2, 16], f32[L, 2, 16]
      %ks, %vs = gather %set, cache(%kc1, %vc1) : f32[S, 2, 16], f32[S, 2, 16]
      %a = attend %q, cache(%ks, %vs), tail(%kc1, %vc1), after(%set) {role = verify, scale = 0.25} : f32[T, 4, 16]
      %kb, %vb = gather %blocks, cache(%kc1, %vc1) : f32[B, 2, 16], f32[B, 2, 16]
      %history.1 = attend %a, cache(%kb, %vb), tail(%kc1, %vc1), after(%blocks) {scale = 0.25} : f32[T, 4, 16]
      %history.2 = add %a, %history.1 : f32[T, 4, 16]
      return %a, %history.1, %history.2, %kc1, %vc1
    }

    func @select(%history.1: f32[T, 4, 16] {role = rows}, %history.2: f32[T, 4, 16] {role = row}, %look: f32[L] \
    {role = round}, %kc: f32[L, 2, 16] {role = cache}, %vc: f32[L, 2, 16] {role = cache}) -> (i32[S] \
    {role = round}, i32[2, B] {role = static}) {fidelity = exact} {
      %s = score %history.1, cache(%kc) {heads = [0, 3], scale = 0.25, take = ends, reduce = max} : f32[L]
      %s1 = score %history.2, cache(%kc), onto(%s) {scale = 0.25, pool = 5} : f32[L]
      %set = select %look, %s1, cache(%kc) {budget = 64, quotas = [20]} : i32[S]
      %p = score %history.2, cache(%kc) {scale = 0.25, bound = 16} : f32[2, L]
      %blocks = select %p {budget = 128, sink = 0, recent = 1, cover = 0.9, granularity = 16} : i32[2, B]
      return %set, %blocks
    }

    """

  static let kernel = """
    dustin 1
    stage kernel

    dim T <= 512
    dim L <= 4096

    weight @g : bf16[64]
    weight @q : bf16[64, 64]
    weight @k : bf16[32, 64]
    weight @v : bf16[32, 64]
    weight @up : bf16[128, 64]
    constant @freqs : f32[8] = [1.0, 0.5, 0.25, 0.125, 0.1, 0.01, 0.001, 0.0001]

    func @verify(%x: f32[T, 64], %pos: i32[T], %kc: bf16[L, 2, 16] {role = cache}, %vc: bf16[L, 2, 16] {role = cache}) \
    -> (f32[T, 128], bf16[L, 2, 16] {role = cache}, bf16[L, 2, 16] {role = cache}) \
    {fidelity = exact, numerics = fast} {
      %qkv = linear %x, norm(@g), weight(@q, @k, @v) {eps = 1e-06, round = bf16} : f32[T, 128]
      %q, %kc1, %vc1 = rope_append %qkv, cache(%kc, %vc), positions(%pos), freqs(@freqs) : \
    bf16[T, 4, 16], bf16[L, 2, 16], bf16[L, 2, 16]
      %a = attend %q, cache(%kc1, %vc1) {scale = 0.25, probs = bf16} : bf16[T, 4, 16]
      %a2 = reshape %a : bf16[T, 64]
      %o = linear %a2, weight(@q), residual(%x) : f32[T, 64]
      %y = linear %o, norm(@g), weight(@up, @up) {eps = 1e-06, activation = swiglu} : f32[T, 128]
      return %y, %kc1, %vc1
    }

    """

  static let planned = """
    dustin 1
    stage planned

    dim T <= 4

    weight @g : bf16[64]
    weight @w : f32[64, 64]

    func @f(%x: f32[T, 64]) -> (f32[1, 64]) {fidelity = exact, numerics = fast} {
      %w1 = cast @w : bf16[64, 64]
      %y = linear %x, norm(@g), weight(%w1) {eps = 1e-05, at = [1024], scratch = 2048} : f32[T, 64]
      %z = last_row %y {at = [4096]} : f32[1, 64]
      return %z
    }

    """
}
