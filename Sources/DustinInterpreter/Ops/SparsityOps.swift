import DustinIR
import DustinSupport

#if canImport(Glibc)
  import Glibc
#endif

// score, pool, select, gather.

extension OpEvaluation {
  func score() throws -> [Interpreter.Argument] {
    let q = try tensor()
    let cache = try cacheVersion("cache", 0)
    let keys = cache.storage
    // Beside attention the positions are those of the running signal; rows in flight may be among them.
    let sum = operation.isBesideAttention ? try tensor("onto").shape.last : nil
    let length = sum ?? cache.length
    guard length <= keys.written else { throw error("there are no keys of \(length) positions, only \(keys.written)") }
    let heads = q.shape[1]
    guard cache.positions == nil, keys.heads > 0, heads % keys.heads == 0, keys.dim == q.shape[2] else {
      throw error("\(heads) query heads of \(q.shape[2]) do not fit the cache")
    }
    guard q.rows > 0 else { throw error("'score' needs at least one row") }
    let last = q.rows - 1
    let rows: [Int] =
      switch attributes.word("take") {
      case "last": [last]
      case "ends": last == 0 ? [0] : [0, last]
      default: Array(0...last)
      }
    let group = heads / keys.heads
    let chosen = attributes.ints("heads") ?? Array(0..<heads)
    let scoring = Scoring(
      rows: rows, heads: heads, dim: keys.dim, kvHeads: keys.heads, length: length,
      scale: Float(attributes.float("scale") ?? 1), takesMaximum: attributes.word("reduce") == "max",
      bound: attributes.int("bound"))
    // One KV head after the other, each by all of its query heads.
    var planes = [[Double]](repeating: [], count: keys.heads)
    q.withFloats { q in
      keys.rows.withUnsafeBufferPointer { k in
        planes.withUnsafeMutableBufferPointer { planes in
          nonisolated(unsafe) let planes = planes
          parallelFor(planes.count) { kv in
            planes[kv] = scoring.plane(q, k, kv: kv, heads: chosen.filter { $0 / group == kv })
          }
        }
      }
    }
    let isPerHead = resultShapes[0].count == 2
    let counts = (0..<keys.heads).map { kv in rows.count * chosen.count { $0 / group == kv } }
    var signals = isPerHead ? planes : [scoring.combined(planes.indices.filter { counts[$0] > 0 }.map { planes[$0] })]
    let divisors = isPerHead ? counts : [counts.reduce(0, +)]
    let onto = operation[group: "onto"].isEmpty ? nil : try tensor("onto").floats
    let pool = attributes.int("pool") ?? 1
    var floats: [Float] = []
    for index in signals.indices {
      if !scoring.takesMaximum { signals[index] = signals[index].map { $0 / Double(divisors[index]) } }
      var signal = signals[index].map { Float($0) }
      if let onto {
        let below = onto[index * length..<(index + 1) * length]
        signal = zip(signal, below).map { scoring.takesMaximum ? max($0, $1) : $0 + $1 }
      }
      floats += pooled(signal, width: pool)
    }
    return [.tensor(Tensor(.f32, resultShapes[0], rounding: floats))]
  }

  /// The greatest of the `width` numbers around each.
  private func pooled(_ signal: [Float], width: Int) -> [Float] {
    guard width > 1 else { return signal }
    return signal.indices.map { index in
      signal[max(0, index - width / 2)...min(signal.count - 1, index + width / 2)].max() ?? signal[index]
    }
  }

  func pool() throws -> [Interpreter.Argument] {
    let signal = try tensor()
    let length = signal.shape.last ?? 0
    let floats = signal.floats
    let width = attributes.int("width") ?? 1
    let planes = stride(from: 0, to: length > 0 ? floats.count : 0, by: max(1, length)).flatMap {
      pooled(Array(floats[$0..<$0 + length]), width: width)
    }
    return [.tensor(Tensor(.f32, signal.shape, rounding: planes))]
  }

  func select() throws -> [Interpreter.Argument] {
    let signals = try operation.operands.indices.map { try tensor("", $0) }
    let length = try signals.first.map { $0.shape.last ?? 0 } ?? cacheVersion("cache", 0).length
    let selection = Selection(attributes, signals: signals.count)
    let planeCount = signals.first.map { $0.shape.count == 2 ? $0.shape[0] : 1 } ?? 1
    let planes = (0..<planeCount).map { plane in
      selection.positions(length, signals.map { Array($0.floats[plane * length..<(plane + 1) * length]) })
    }
    let count = planes.map(\.count).max() ?? 0
    let ints = planes.flatMap { $0 + [Int32](repeating: -1, count: count - $0.count) }
    return [.tensor(try Tensor(resultShapes[0].dropLast() + [count], ints: ints))]
  }

  func gather() throws -> [Interpreter.Argument] {
    let positions = try tensor()
    return try (0..<2).map { index in
      let cache = try cacheVersion("cache", index)
      guard cache.positions == nil else { throw error("'gather' needs a whole cache, not gathered positions") }
      _ = try Self.planes(of: positions, heads: cache.storage.heads, below: cache.length) { error($0) }
      return .cache(cache.gathered(positions))
    }
  }
}

/// One `score`: what some rows and heads see of the committed positions.
private struct Scoring {
  /// Numbers of the query rows that count.
  let rows: [Int]
  let heads: Int
  let dim: Int
  let kvHeads: Int
  let length: Int
  let scale: Float
  let takesMaximum: Bool
  let bound: Int?

  /// The sum, or the maximum, over the rows and the query heads of one KV head: [length], zeros without heads.
  func plane(
    _ q: UnsafePointer<Float>, _ k: UnsafeBufferPointer<Float>, kv: Int, heads chosen: [Int]
  ) -> [Double] {
    var result = [Double](repeating: takesMaximum ? -.infinity : 0, count: length)
    guard let k = k.baseAddress, length > 0 else { return result }
    let extremes = bound.map { blockExtremes(k + kv * dim, block: $0) } ?? []
    var scores = [Float](repeating: 0, count: length)
    for head in chosen {
      for row in rows {
        let q = q + (row * heads + head) * dim
        if let bound {
          for position in 0..<length { scores[position] = upperBound(q, extremes, block: position / bound) }
        } else {
          scores.withUnsafeMutableBufferPointer { scores in
            guard let scores = scores.baseAddress else { return }
            sgemm(
              1, length, dim, alpha: scale, q, dim, k + kv * dim, kvHeads * dim, transposed: true, scores, length)
          }
          softmax(&scores)
        }
        for position in 0..<length {
          let p = Double(scores[position])
          result[position] = takesMaximum ? max(result[position], p) : result[position] + p
        }
      }
    }
    return result
  }

  func combined(_ planes: [[Double]]) -> [Double] {
    guard var result = planes.first else { return [Double](repeating: 0, count: length) }
    for plane in planes.dropFirst() {
      for index in result.indices {
        result[index] = takesMaximum ? max(result[index], plane[index]) : result[index] + plane[index]
      }
    }
    return result
  }

  private func softmax(_ s: inout [Float]) {
    let maximum = s.max() ?? 0
    var sum = 0.0
    for index in s.indices {
      s[index] = expf(s[index] - maximum)
      sum += Double(s[index])
    }
    for index in s.indices { s[index] = Float(Double(s[index]) / sum) }
  }

  /// The smallest and the greatest number of each channel in each block: [blocks][2][dim].
  private func blockExtremes(_ k: UnsafePointer<Float>, block: Int) -> [Float] {
    var result: [Float] = []
    for start in stride(from: 0, to: length, by: block) {
      let keys = (start..<min(length, start + block)).map { k + $0 * kvHeads * dim }
      result += (0..<dim).map { d in keys.map { $0[d] }.min() ?? 0 }
      result += (0..<dim).map { d in keys.map { $0[d] }.max() ?? 0 }
    }
    return result
  }

  private func upperBound(_ q: UnsafePointer<Float>, _ extremes: [Float], block: Int) -> Float {
    var sum: Float = 0
    for d in 0..<dim {
      sum += max(q[d] * extremes[(2 * block + 1) * dim + d], q[d] * extremes[2 * block * dim + d])
    }
    return scale * sum
  }
}

/// One `select`: which positions a budget keeps.
private struct Selection {
  let size: SetSize
  let cover: Double
  /// Most positions of each signal but the last.
  let quotas: [Int]

  init(_ attributes: AttributeList, signals: Int) {
    size = SetSize(of: attributes)
    cover = attributes.float("cover") ?? 1
    let share = size.free / max(1, signals)
    quotas = attributes.ints("quotas") ?? [Int](repeating: share, count: max(0, signals - 1))
  }

  /// Ascending; everything is counted in blocks of the granularity.
  func positions(_ length: Int, _ signals: [[Float]]) -> [Int32] {
    let g = size.granularity
    var isChosen = [Bool](repeating: false, count: (length + g - 1) / g)
    for position in 0..<length where position < size.sink || position >= length - size.recent {
      isChosen[position / g] = true
    }
    var left = size.budget / g - isChosen.count { $0 }
    for (index, signal) in signals.enumerated() {
      var quota = index < quotas.count ? min(left, quotas[index] / g) : left
      func blockRange(_ block: Int) -> Range<Int> { block * g..<min(length, (block + 1) * g) }
      let order = isChosen.indices.filter { !isChosen[$0] }
        .map { block in (block: block, rank: signal[blockRange(block)].map(Self.rank).max() ?? .min) }
        .sorted { ($1.rank, $0.block) < ($0.rank, $1.block) }
      func sum(_ block: Int) -> Double { signal[blockRange(block)].reduce(0) { $0 + Double($1) } }
      let enough = cover * signal.reduce(0) { $0 + Double($1) }
      var covered = isChosen.indices.reduce(0) { isChosen[$1] ? $0 + sum($1) : $0 }
      for (block, _) in order {
        if quota <= 0 || (cover < 1 && covered >= enough) { break }
        isChosen[block] = true
        covered += sum(block)
        quota -= 1
        left -= 1
      }
    }
    return (0..<length).filter { isChosen[$0 / g] }.map { Int32($0) }
  }

  /// Orders floats as IEEE totalOrder does.
  private static func rank(_ score: Float) -> Int32 {
    let bits = Int32(bitPattern: score.bitPattern)
    return bits < 0 ? bits ^ 0x7fff_ffff : bits
  }
}
