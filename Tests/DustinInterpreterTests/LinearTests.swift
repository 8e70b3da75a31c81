import DustinIR
import DustinInterpreter
import XCTest

final class LinearTests: XCTestCase {
  func testByHand() throws {
    let x = try Tensor([2, 3], [1, 2, 3, -1, 0, 2])
    let w = try Tensor(.bf16, [2, 3], [1, 0, -1, 2, 2, 0.5])
    let y = try OpHarness.run(.linear, [x], [("weight", [w]), ("bias", [try Tensor([2], [10, 20])])])
    XCTAssertEqual(y, try Tensor([2, 2], [8, 27.5, 7, 19]))
  }

  /// All combinations of norm, weights, bias, SwiGLU, residual and roundings, on small and on split sizes.
  func testAgainstTheFormula() throws {
    var random = SeededGenerator(seed: 2)
    for trial in 0..<44 {
      let rows = trial < 40 ? Int.random(in: 1...17, using: &random) : 30 + trial
      let k = Int.random(in: 1...40, using: &random)
      let usesNorm = Bool.random(using: &random)
      let isSwiGLU = Int.random(in: 0..<3, using: &random) == 0
      let count = isSwiGLU ? 2 : Int.random(in: 1...3, using: &random)
      let limit = trial % 4 == 0 ? 300 : 40
      let first = Int.random(in: 1...limit, using: &random)
      let widths = (0..<count).map { _ in isSwiGLU ? first : Int.random(in: 1...limit, using: &random) }
      let roundsNorm = usesNorm && Bool.random(using: &random)
      let hasBias = Bool.random(using: &random)
      let hasResidual = Bool.random(using: &random)
      let isRounded = !hasResidual && Bool.random(using: &random)
      let x = try randomTensor(
        usesNorm ? .f32 : [.f32, .bf16].randomElement(using: &random) ?? .f32, [rows, k], &random)
      let gain = try randomTensor([k], &random)
      let weights = try widths.map { try randomTensor(.bf16, [$0, k], &random) }
      let biases = try widths.map { try randomTensor([$0], &random) }
      let total = isSwiGLU ? first : widths.reduce(0, +)
      let residual = try randomTensor([rows, total], &random)

      var groups = [("weight", weights)]
      var attributes: [(String, Attribute)] = []
      if usesNorm {
        groups.insert(("norm", [gain]), at: 0)
        attributes.append(("eps", .float(1e-5)))
      }
      if roundsNorm { attributes.append(("round", .word("bf16"))) }
      if hasBias { groups.append(("bias", biases)) }
      if hasResidual { groups.append(("residual", [residual])) }
      if isSwiGLU { attributes.append(("activation", .word("swiglu"))) }
      let type = TensorType(isRounded ? .bf16 : .f32, [.fixed(rows), .fixed(total)])
      let y = try OpHarness.run(.linear, [x], groups, attributes, written: [type])
      XCTAssertEqual(y.element, type.element)

      var u = usesNorm ? Naive.rmsnorm(x.doubles, gain.doubles, eps: 1e-5) : x.doubles
      if roundsNorm {
        // A tie that f32 and double see differently would move a bf16; take the interpreter's own norm for these bits.
        let normed = try OpHarness.run(.rmsnorm, [x], [("weight", [gain])], [("eps", .float(1e-5))])
        u = normed.floats.map { Double(roundedToBF16($0)) }
      }
      var z = [Double](repeating: 0, count: rows * widths.reduce(0, +))
      var column = 0
      for (weight, bias) in zip(weights, biases) {
        let part = Naive.matmul(u, weight.doubles, k: k)
        for index in part.indices {
          let (t, n) = (index / weight.rows, index % weight.rows)
          z[t * widths.reduce(0, +) + column + n] = part[index] + (hasBias ? bias.doubles[n] : 0)
        }
        column += weight.rows
      }
      if isSwiGLU {
        z = (0..<rows * first).map { index in
          let row = index / first * 2 * first
          return Naive.silu(z[row + index % first]) * z[row + first + index % first]
        }
      }
      if hasResidual { z = zip(z, residual.doubles).map { $0 + $1 } }
      // f32 sums of 40 terms of size 1; SwiGLU multiplies two of them. bf16: half a unit of 2^-8.
      assertClose(y.floats, z, within: isRounded ? 1 / 256 + 1e-4 : isSwiGLU ? 5e-5 : 1e-5, "trial \(trial)")
    }
  }

  func testRowsDoNotMix() throws {
    var random = SeededGenerator(seed: 3)
    let x = try randomTensor([9, 33], &random)
    let w = try randomTensor([65, 33], &random)
    let all = try OpHarness.run(.linear, [x], [("weight", [w])])
    for row in 0..<9 {
      let one = try Tensor([1, 33], Array(x.floats[row * 33..<(row + 1) * 33]))
      let y = try OpHarness.run(.linear, [one], [("weight", [w])])
      assertClose(y.floats, all.floats[row * 65..<(row + 1) * 65].map(Double.init), within: 1e-5)
    }
  }
}
