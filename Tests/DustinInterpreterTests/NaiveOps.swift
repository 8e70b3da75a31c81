import DustinInterpreter

/// The ops' formulas written out in double precision, independently of the interpreter: no blocks, no BLAS.
enum Naive {
  static func rmsnorm(_ x: [Double], _ gain: [Double], eps: Double) -> [Double] {
    let n = gain.count
    return x.indices.map { index in
      let row = index / n * n
      let square = x[row..<row + n].map { $0 * $0 }.reduce(0, +) / Double(n)
      return x[index] / (square + eps).squareRoot() * gain[index % n]
    }
  }

  /// x [T, K] times the transpose of w [N, K].
  static func matmul(_ x: [Double], _ w: [Double], k: Int) -> [Double] {
    let (rows, n) = (x.count / k, w.count / k)
    return (0..<rows * n).map { index in
      let (t, column) = (index / n, index % n)
      return (0..<k).map { x[t * k + $0] * w[column * k + $0] }.reduce(0, +)
    }
  }

  static func silu(_ x: Double) -> Double { x / (1 + exponential(-x)) }

  /// x [T, H, D].
  static func rope(_ x: [Double], heads: Int, dim: Int, positions: [Int32], freqs: [Float], scale: Double) -> [Double] {
    let half = dim / 2
    return x.indices.map { index in
      let (t, d) = (index / (heads * dim), index % dim)
      let i = d % half
      // The angle is a product in f32 by definition of the op.
      let angle = Double(Float(positions[t]) * freqs[i])
      let (c, s) = (cosine(angle) * scale, sine(angle) * scale)
      return d < half ? x[index] * c - x[index + half] * s : x[index] * c + x[index - half] * s
    }
  }

  /// q [T, H, D] over k and v [L + T, KV, D].
  static func attend(
    _ q: [Double], _ k: [Double], _ v: [Double], length: Int, heads: Int, kvHeads: Int, dim: Int, scale: Double,
    roundsProbabilities: Bool = false
  ) -> [Double] {
    var y: [Double] = []
    for t in 0..<q.count / (heads * dim) {
      for h in 0..<heads {
        let kv = h * kvHeads / heads
        let scores = (0...length + t).map { j in
          scale * (0..<dim).map { q[(t * heads + h) * dim + $0] * k[(j * kvHeads + kv) * dim + $0] }.reduce(0, +)
        }
        let maximum = scores.max() ?? 0
        let p = scores.map { exponential($0 - maximum) }
        let weights = roundsProbabilities ? p.map { Double(roundedToBF16(Float($0))) } : p
        let sum = p.reduce(0, +)
        for d in 0..<dim {
          y.append(p.indices.map { weights[$0] * v[($0 * kvHeads + kv) * dim + d] }.reduce(0, +) / sum)
        }
      }
    }
    return y
  }
}
