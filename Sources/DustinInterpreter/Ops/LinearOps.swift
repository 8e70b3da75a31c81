import DustinIR
import DustinSupport

extension OpEvaluation {
  func linear() throws -> [Interpreter.Argument] {
    let x = try normed(try tensor())
    let weights = try tensors("weight")
    let biases = try tensors("bias")
    let rows = x.rows
    let width = weights.reduce(0) { $0 + $1.rows }
    var z = [Float](repeating: 0, count: rows * width)
    z.withUnsafeMutableBufferPointer { z in
      guard let z = z.baseAddress else { return }
      x.withFloats { x in
        var column = 0
        for weight in weights {
          weight.withFloats { matmul(x, rows: rows, k: weight.width, $0, n: weight.rows, z + column, ldc: width) }
          column += weight.rows
        }
      }
      var column = 0
      for bias in biases {
        bias.withFloats { add($0, bias.count, toColumns: column, of: z, rows: rows, width: width) }
        column += bias.count
      }
    }
    if attributes.word("activation") == "swiglu" { z = swiglu(z, rows: rows, half: width / 2) }
    if operation[group: "residual"].isEmpty {
      return [.tensor(Tensor(operation.result.type.element, resultShapes[0], rounding: z))]
    }
    let residual = try tensor("residual")
    return [
      .tensor(
        floatResult { y in
          residual.withFloats { residual in
            for index in z.indices { y[index] = residual[index] + z[index] }
          }
        })
    ]
  }

  /// The rows that meet the weights: x, or its norm, rounded when `round` says so.
  private func normed(_ x: Tensor) throws -> Tensor {
    guard !operation[group: "norm"].isEmpty else { return x }
    let gain = try tensor("norm")
    let eps = attributes.float("eps") ?? 0
    let floats = [Float](unsafeUninitializedCapacity: max(1, x.count)) { buffer, filled in
      filled = x.count
      guard let y = buffer.baseAddress else { return }
      x.withFloats { x0 in
        gain.withFloats { gain in
          parallelRanges(x.rows, grain: 16) { rows in
            for row in rows { rmsnormRow(x0 + row * x.width, gain, x.width, eps: eps, y + row * x.width) }
          }
        }
      }
    }
    return Tensor(attributes.word("round") == "bf16" ? .bf16 : .f32, x.shape, rounding: floats)
  }

  private func add(
    _ bias: UnsafePointer<Float>, _ count: Int, toColumns column: Int, of z: UnsafeMutablePointer<Float>, rows: Int,
    width: Int
  ) {
    for row in 0..<rows {
      let target = z + row * width + column
      var index = 0
      while index < count {
        target[index] += bias[index]
        index += 1
      }
    }
  }

  /// [rows, 2 * half] to [rows, half]: silu of the first half of every row times its second half.
  private func swiglu(_ z: [Float], rows: Int, half: Int) -> [Float] {
    [Float](unsafeUninitializedCapacity: max(1, rows * half)) { buffer, filled in
      filled = rows * half
      guard let y = buffer.baseAddress else { return }
      z.withUnsafeBufferPointer { z in
        guard let z = z.baseAddress else { return }
        parallelRanges(rows, grain: 16) { range in
          for row in range {
            let gate = z + row * 2 * half
            for index in 0..<half { y[row * half + index] = silu(gate[index]) * gate[half + index] }
          }
        }
      }
    }
  }
}
