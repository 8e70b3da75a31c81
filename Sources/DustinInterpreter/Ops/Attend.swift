import DustinIR
import DustinSupport

#if canImport(Glibc)
  import Glibc
#endif

extension OpEvaluation {
  func attend() throws -> [Interpreter.Argument] {
    let q = try tensor()
    if let positions = try cacheVersion("cache", 0).positions { return [.tensor(try attend(q, through: positions))] }
    let (keys, values) = try whole(q, "cache")
    let attention = attention(q, keys)
    return [
      .tensor(
        floatResult { y in
          q.withFloats { q0 in
            keys.rows.withUnsafeBufferPointer { k in
              values.rows.withUnsafeBufferPointer { v in
                guard let k = k.baseAddress, let v = v.baseAddress else { return }
                let sources = (0..<keys.heads).map { head in
                  Attention.Keys(k: k + head * keys.dim, v: v + head * keys.dim, stride: keys.width, first: keys.length)
                }
                attention.run(q0, sources, y, rows: q.rows)
              }
            }
          }
        })
    ]
  }

  /// Keys and values with the step's rows appended, which fit the query.
  private func whole(_ q: Tensor, _ group: String) throws -> (keys: KVCacheTensor, values: KVCacheTensor) {
    let keys = try cache(group, 0)
    let values = try cache(group, 1)
    let (rows, heads, dim) = (q.shape[0], q.shape[1], q.shape[2])
    guard keys.heads > 0, heads % keys.heads == 0, keys.dim == dim, values.heads == keys.heads, values.dim == dim else {
      throw error("\(heads) query heads of \(dim) do not fit the caches")
    }
    guard keys.length == values.length, keys.length + rows <= min(keys.written, values.written) else {
      throw error("'attend' reads \(rows) rows behind position \(keys.length), but they have not been appended")
    }
    return (keys, values)
  }

  private func attention(_ q: Tensor, _ keys: KVCacheTensor) -> Attention {
    Attention(
      heads: q.shape[1], group: q.shape[1] / keys.heads, dim: q.shape[2],
      scale: Float(attributes.float("scale") ?? 1), roundsProbabilities: attributes.word("probs") == "bf16")
  }

  /// Attention through a set: every KV head's keys are copied side by side, those of the set first, then those behind the
  /// set's greatest position, so that a set that holds everything numbers them as dense attention does.
  private func attend(_ q: Tensor, through positions: Tensor) throws -> Tensor {
    let (keys, values) = try whole(q, "tail")
    guard try cacheVersion("cache", 0).storage === keys, try cacheVersion("cache", 1).storage === values else {
      throw error("the tail must be what was gathered from")
    }
    let (width, dim) = (keys.width, keys.dim)
    let planes = try Self.planes(of: positions, heads: keys.heads, below: keys.length) { error($0) }
    var sources: [Attention.Keys] = []
    let order = planes.map { plane in
      let tail = (Int(plane.max() ?? -1) + 1)..<keys.length + q.rows
      return plane.map { Int($0) } + Array(tail)
    }
    // As far apart as in the cache.
    let count = order.map(\.count).max() ?? 0
    var k = [Float](repeating: 0, count: max(1, count * width))
    var v = k
    for (head, order) in order.enumerated() {
      for (index, position) in order.enumerated() {
        let (from, to) = (position * width + head * dim, index * width + head * dim)
        k.replaceSubrange(to..<to + dim, with: keys.rows[from..<from + dim])
        v.replaceSubrange(to..<to + dim, with: values.rows[from..<from + dim])
      }
    }
    let attention = attention(q, keys)
    return floatResult { y in
      q.withFloats { q0 in
        k.withUnsafeBufferPointer { k in
          v.withUnsafeBufferPointer { v in
            guard let k = k.baseAddress, let v = v.baseAddress else { return }
            for (head, order) in order.enumerated() {
              sources.append(
                Attention.Keys(k: k + head * dim, v: v + head * dim, stride: width, first: order.count - q.rows))
            }
            attention.run(q0, sources, y, rows: q.rows)
          }
        }
      }
    }
  }

  /// The positions of each KV head; every one is committed.
  static func planes(
    of set: Tensor, heads: Int, below length: Int, _ error: (String) -> DiagnosticError
  ) throws -> [[Int32]] {
    let ints = set.ints
    let count = set.shape.last ?? 0
    let isShared = set.shape.count == 1
    guard isShared || set.shape[0] == heads else { throw error("a set of \(set.shape[0]) KV heads for \(heads)") }
    let planes = try (0..<(isShared ? 1 : heads)).map { plane in
      let all = ints[plane * count..<(plane + 1) * count]
      // A KV head with fewer positions than the others ends in -1.
      let used = all.prefix { $0 >= 0 }
      guard all[used.endIndex...].allSatisfy({ $0 == -1 }) else { throw error("a set holds a negative position") }
      if let position = used.first(where: { $0 >= length }) {
        throw error("the set holds position \(position), but only \(length) are committed")
      }
      return Array(used)
    }
    return isShared ? [[Int32]](repeating: planes[0], count: heads) : planes
  }
}

/// Causal attention by whole rows of scores: for a head and a block of query rows, S = scale * Q K^T, P = exp(S - max),
/// Y = P V / sum(P). Every query row is [heads][dim].
private struct Attention {
  /// What the query heads of one KV head read: keys and values `stride` numbers apart. Row t sees the first
  /// `first + t + 1` of them.
  struct Keys {
    let k: UnsafePointer<Float>
    let v: UnsafePointer<Float>
    let stride: Int
    let first: Int
  }
  let heads: Int
  let group: Int
  let dim: Int
  let scale: Float
  let roundsProbabilities: Bool

  func run(_ q: UnsafePointer<Float>, _ keys: [Keys], _ y: UnsafeMutablePointer<Float>, rows: Int) {
    // The scores of a block stay below 4 MB, so that they are still in a cache when the softmax reads them.
    let block = max(8, min(128, (1 << 20) / max(1, (keys.map(\.first).max() ?? 0) + rows)))
    let blocks = (rows + block - 1) / block
    parallelFor(heads * blocks) { task in
      let (head, start) = (task / blocks, task % blocks * block)
      runBlock(q, keys[head / group], y, head: head, rows: start..<min(rows, start + block))
    }
  }

  private func runBlock(
    _ q: UnsafePointer<Float>, _ keys: Keys, _ y: UnsafeMutablePointer<Float>, head: Int, rows: Range<Int>
  ) {
    let count = keys.first + rows.upperBound
    let stride = heads * dim
    let qRow = q + rows.lowerBound * stride + head * dim
    let yRow = y + rows.lowerBound * stride + head * dim
    withUnsafeTemporaryAllocation(of: Float.self, capacity: rows.count * count) { scores in
      guard let scores = scores.baseAddress else { return }
      sgemm(
        rows.count, count, dim, alpha: scale, qRow, stride, keys.k, keys.stride, transposed: true, scores, count)
      withUnsafeTemporaryAllocation(of: Double.self, capacity: rows.count) { sums in
        for row in 0..<rows.count {
          sums[row] = softmaxRow(scores + row * count, visible: keys.first + rows.lowerBound + row + 1, of: count)
        }
        sgemm(rows.count, dim, count, scores, count, keys.v, keys.stride, transposed: false, yRow, stride)
        for row in 0..<rows.count {
          let factor = Float(1 / sums[row])
          for index in 0..<dim { yRow[row * stride + index] *= factor }
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
