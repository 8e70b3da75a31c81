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
