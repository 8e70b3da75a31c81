import DustinIR
import DustinSupport

#if canImport(Glibc)
  import Glibc
#endif

// rope, append, rope_append, attend.

/// Rotates `heads` heads of `dim` numbers, which lie side by side, by one position.
private func rotate(
  _ x: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>, heads: Int, dim: Int, position: Int32,
  freqs: UnsafePointer<Float>, scale: Float
) {
  let half = dim / 2
  for index in 0..<half {
    let angle = Double(Float(position) * freqs[index])
    let c = Float(cos(angle)) * scale
    let s = Float(sin(angle)) * scale
    for head in 0..<heads {
      let first = x[head * dim + index]
      let second = x[head * dim + index + half]
      y[head * dim + index] = first * c - second * s
      y[head * dim + index + half] = second * c + first * s
    }
  }
}

extension OpEvaluation {
  /// Heads of [T, heads * dim] rows that start at `column` of rows that are `stride` wide, rotated by their positions.
  private func rotated(
    _ x: Tensor, column: Int, stride: Int, heads: Int, dim: Int, _ y: UnsafeMutablePointer<Float>
  ) throws {
    let positions = try tensor("positions").ints
    let freqs = try tensor("freqs")
    let scale = Float(attributes.float("scale") ?? 1)
    x.withFloats { x in
      freqs.withFloats { freqs in
        positions.withUnsafeBufferPointer { positions in
          parallelRanges(positions.count, grain: 16) { rows in
            for row in rows {
              rotate(
                x + row * stride + column, y + row * heads * dim, heads: heads, dim: dim, position: positions[row],
                freqs: freqs, scale: scale)
            }
          }
        }
      }
    }
  }

  func rope() throws -> [Interpreter.Argument] {
    let x = try tensor()
    return [
      .tensor(
        try floatResult { try rotated(x, column: 0, stride: x.width, heads: x.shape[1], dim: x.shape[2], $0) })
    ]
  }

  func append() throws -> [Interpreter.Argument] {
    let rows = [try tensor("", 0), try tensor("", 1)]
    let caches = try cachePair(rows: rows[0].rows)
    return try zip(rows, caches).map { rows, cache in
      guard rows.width == cache.width else { throw error("rows of \(rows.width) do not fit a cache of \(cache.width)") }
      rows.withFloats { cache.append($0, count: rows.rows) }
      return .cache(cache.current)
    }
  }

  func ropeAppend() throws -> [Interpreter.Argument] {
    let x = try tensor()
    let caches = try cachePair(rows: x.rows)
    let dim = caches[0].dim
    let heads = resultShapes[0][1]
    let (queries, keys) = (heads * dim, caches[0].width)
    guard resultShapes[0][2] == dim, queries + 2 * keys == x.width, caches[1].width == keys else {
      throw error("rows of \(x.width) do not hold q, k and v for the caches")
    }
    let q = try floatResult { try rotated(x, column: 0, stride: x.width, heads: heads, dim: dim, $0) }
    var k = [Float](repeating: 0, count: max(1, x.rows * keys))
    try k.withUnsafeMutableBufferPointer { k in
      guard let k = k.baseAddress else { return }
      try rotated(x, column: queries, stride: x.width, heads: caches[0].heads, dim: dim, k)
      caches[0].append(k, count: x.rows)
    }
    var v = [Float](repeating: 0, count: max(1, x.rows * keys))
    v.withUnsafeMutableBufferPointer { v in
      guard let v = v.baseAddress else { return }
      x.withFloats { x0 in
        for row in 0..<x.rows { (v + row * keys).update(from: x0 + row * x.width + queries + keys, count: keys) }
      }
      caches[1].append(v, count: x.rows)
    }
    return [.tensor(q)] + caches.map { .cache($0.current) }
  }

  /// The keys' and the values' cache, with room for the step's rows.
  private func cachePair(rows: Int) throws -> [KVCacheTensor] {
    let caches = [try cache("cache", 0), try cache("cache", 1)]
    guard caches[0] !== caches[1] else { throw error("keys and values need a cache each") }
    for cache in caches where cache.length + rows > cache.capacity {
      throw error("the cache is full: \(cache.length) positions and \(rows) more exceed its \(cache.capacity)")
    }
    return caches
  }

  func attend() throws -> [Interpreter.Argument] {
    let q = try tensor()
    let keys = try cache("cache", 0)
    let values = try cache("cache", 1)
    let (rows, heads, dim) = (q.shape[0], q.shape[1], q.shape[2])
    guard keys.heads > 0, heads % keys.heads == 0, keys.dim == dim, values.heads == keys.heads, values.dim == dim else {
      throw error("\(heads) query heads of \(dim) do not fit the caches")
    }
    guard keys.length == values.length, keys.length + rows <= min(keys.written, values.written) else {
      throw error("'attend' reads \(rows) rows behind position \(keys.length), but they have not been appended")
    }
    let attention = Attention(
      length: keys.length, heads: heads, group: heads / keys.heads, dim: dim,
      scale: Float(attributes.float("scale") ?? 1), roundsProbabilities: attributes.word("probs") == "bf16")
    return [
      .tensor(
        floatResult { y in
          q.withFloats { q in
            keys.rows.withUnsafeBufferPointer { k in
              values.rows.withUnsafeBufferPointer { v in
                guard let k = k.baseAddress, let v = v.baseAddress else { return }
                attention.run(q, k, v, y, rows: rows)
              }
            }
          }
        })
    ]
  }
}

/// Causal attention by whole rows of scores: for a head and a block of query rows, S = scale * Q K^T, P = exp(S - max),
/// Y = P V / sum(P). Every query row is [heads][dim], every position of the cache [heads / group][dim].
private struct Attention {
  let length: Int
  let heads: Int
  let group: Int
  let dim: Int
  let scale: Float
  let roundsProbabilities: Bool

  func run(
    _ q: UnsafePointer<Float>, _ k: UnsafePointer<Float>, _ v: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>,
    rows: Int
  ) {
    // The scores of a block stay below 4 MB, so that they are still in a cache when the softmax reads them.
    let block = max(8, min(128, (1 << 20) / (length + rows)))
    let blocks = (rows + block - 1) / block
    parallelFor(heads * blocks) { task in
      let (head, start) = (task / blocks, task % blocks * block)
      runBlock(q, k, v, y, head: head, rows: start..<min(rows, start + block))
    }
  }

  private func runBlock(
    _ q: UnsafePointer<Float>, _ k: UnsafePointer<Float>, _ v: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>,
    head: Int, rows: Range<Int>
  ) {
    let keys = length + rows.upperBound
    let (rowStride, keyStride) = (heads * dim, heads / group * dim)
    let qRow = q + rows.lowerBound * rowStride + head * dim
    let yRow = y + rows.lowerBound * rowStride + head * dim
    let keyOffset = head / group * dim
    withUnsafeTemporaryAllocation(of: Float.self, capacity: rows.count * keys) { scores in
      guard let scores = scores.baseAddress else { return }
      sgemm(
        rows.count, keys, dim, alpha: scale, qRow, rowStride, k + keyOffset, keyStride, transposed: true, scores, keys)
      withUnsafeTemporaryAllocation(of: Double.self, capacity: rows.count) { sums in
        for row in 0..<rows.count {
          sums[row] = softmaxRow(scores + row * keys, visible: length + rows.lowerBound + row + 1, of: keys)
        }
        sgemm(
          rows.count, dim, keys, scores, keys, v + keyOffset, keyStride, transposed: false, yRow, rowStride)
        for row in 0..<rows.count {
          let factor = Float(1 / sums[row])
          for index in 0..<dim { yRow[row * rowStride + index] *= factor }
        }
      }
    }
  }

  /// s becomes exp(s - max) over the visible positions and zero behind them; returns the sum before rounding.
  private func softmaxRow(_ s: UnsafeMutablePointer<Float>, visible: Int, of count: Int) -> Double {
    var maximum = s[0]
    var index = 1
    while index < visible {
      if s[index] > maximum { maximum = s[index] }
      index += 1
    }
    var sum = 0.0
    index = 0
    while index < visible {
      let p = expf(s[index] - maximum)
      sum += Double(p)
      s[index] = p
      index += 1
    }
    if roundsProbabilities { round(s, visible, to: .bf16) }
    while index < count {
      s[index] = 0
      index += 1
    }
    return sum
  }
}
