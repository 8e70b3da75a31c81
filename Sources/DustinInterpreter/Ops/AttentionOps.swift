import DustinIR
import DustinSupport

#if canImport(Glibc)
  import Glibc
#endif

// rope, append, rope_append.

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
}
