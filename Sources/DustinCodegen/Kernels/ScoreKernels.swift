import CDustin
import CLLVM

// A signal in up to four kernels, with a barrier behind each:
//
//     ScoreKernel:       e[row, head, j] = exp2(s - m), m and l = sum of e of each 64 keys
//     ScoreFactorKernel: factor[row, head, 64 keys] = exp2(m - M) / (sum of l * exp2(m - M)) / count
//     ScoreSumKernel:    s[j] = sum over rows and heads of e * factor, + onto
//     ScorePoolKernel:   the maximum of neighbours
//
// so every key is read once and every exponential computed once, whatever the number of rows and heads.

/// The scores of the chosen heads against the committed keys of their KV heads.
///
///     for item in my (sequence, KV head, chunk of 1024 keys): for 96 (row, head)s:
///       for keys that fit the L1 cache: for tile of rows: for 64 keys:
///         s = q · k; m = max s * scale; e = exp2(s * scale - m); l = sum of e
struct ScoreKernel: Kernel, Hashable {
  let shape: ScoreShape
  let scale: Float
  let dot: Dot
  /// Only where the step has many rows: where it has few, `AttendKernel` makes the same parts.
  var isForManyRows = false

  var name: String { "score_\(shape.name)_s\(scale)_\(dot.rawValue)\(isForManyRows ? "_many" : "")" }
  let argumentNames = ["q", "keys"]

  private static let rowGroup = 96
  private var cache: CacheShape { shape.cache }
  private var queryBytes: Int { cache.dim * cache.element.byteCount }
  private var blockBytes: Int { Int(DUSTIN_BLOCK) * cache.positionBytes }
  // one thread's scratch: packed queries, then a tile's products with a span of keys
  private var productsAt: Int { (Self.rowGroup * queryBytes + 63) / 64 * 64 }
  private static let productBytes = ScorePowers.span * 64 * 4
  var scratchBytes: Int { productsAt + CPUTarget.mostRows * Self.productBytes }

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let sizes = Array((1...e.target.tile.rows).reversed())
    let functions = sizes.map { ($0, emitTile(e, rows: $0)) }
    guard isForManyRows else { return emitItems(k, functions) }
    e.ifTrue(AttendKernel.hasFewRows(k, group: shape.queryHeads / cache.heads)) {
    } else: {
      emitItems(k, functions)
    }
  }

  private func emitItems(_ k: KernelBuilder, _ functions: [(Int, LLVMValue)]) {
    let e = k.e
    let groups = shape.groups
    let pitch = AttentionState.chunks(k)
    k.deal {
      e.mul(ScoreShape.chunks(e, $0), groups.count)
    } _: { s, item in
      let chunks = ScoreShape.chunks(e, s)
      let number = e.div(item, chunks)
      let chunk = e.sub(item, e.mul(number, chunks))
      let count = e.table(number, groups.map(\.count))
      let first = e.table(number, groups.map(\.first))
      let head = e.table(number, groups.map(\.head))
      let keys = e.at(
        cache.head(e, s, region: k.argument(1), head: head),
        e.mul(chunk, Int(DUSTIN_CHUNK) * cache.positionBytes))
      let left = ScoreShape.keys(e, s, chunk)
      let rows = e.mul(shape.rows(e, s), count)
      let parts = shape.part(k, s, pitch: pitch, chunk: chunk, index: e.mul(first, shape.rows(e, s)))
      e.each(e.int(0), rows, e.int(Self.rowGroup)) { row0 in
        let end = e.minimum(rows, e.add(row0, Self.rowGroup))
        pack(k, s, row0, end, first: first, count: count)
        let threads = k.count(\.threads)
        let following = e.select(
          e.compare(e.add(chunk, threads), LLVMIntSLT, chunks),
          e.at(keys, e.mul(threads, Int(DUSTIN_CHUNK) * cache.positionBytes)), keys)
        multiply(k, row0, end, keys: keys, left: left, following: following, parts: parts, functions)
      }
    }
  }

  /// Lays the queries of rows row0 ..< end side by side; row = number of the row * heads of the KV head + head.
  private func pack(
    _ k: KernelBuilder, _ s: KernelBuilder.Sequence, _ row0: LLVMValue, _ end: LLVMValue, first: LLVMValue,
    count: LLVMValue
  ) {
    let e = k.e
    let (q, scratch) = (k.arena(0), k.scratch())
    e.each(row0, end) { row in
      let number = e.div(row, count)
      let head = e.table(e.add(first, e.sub(row, e.mul(number, count))), shape.heads)
      let source = e.at(
        e.at(q, e.mul(shape.row(e, s, number), rowBytes(shape.queryHeads * cache.dim, cache.element))),
        e.mul(head, queryBytes))
      let target = e.at(scratch, e.mul(e.sub(row, row0), queryBytes))
      e.each(e.int(0), e.int(queryBytes), e.int(32)) { b in
        e.store(e.load(e.vector(e.i32, 8), e.at(source, b)), e.at(target, b))
      }
    }
  }

  /// - Parameter following: Keys of the thread's next chunk if the head has one, else these again.
  private func multiply(
    _ k: KernelBuilder, _ row0: LLVMValue, _ end: LLVMValue, keys: LLVMValue, left: LLVMValue, following: LLVMValue,
    parts: LLVMValue, _ functions: [(Int, LLVMValue)]
  ) {
    let e = k.e
    let groups = e.div(e.add(left, 63), 64)
    let spanBytes = ScorePowers.span * 64 * cache.positionBytes
    // Every tile fetches its share of the next span's keys, evenly: what it reads itself is there already. A single one
    // has no time for that, and fetches the group behind its own.
    let (most, width) = (functions[0].0, e.target.tile.vectors)
    let tiles = e.div(e.add(e.sub(end, row0), most - 1), most)
    let lines = e.div(e.add(tiles, width - 1), tiles)
    e.each(e.int(0), groups, e.int(ScorePowers.span)) { group in
      let stop = e.minimum(groups, e.add(group, ScorePowers.span))
      let ahead = e.select(e.compare(tiles, LLVMIntEQ, e.int(1)), e.add(group, 1), stop)
      let next = e.select(
        e.compare(ahead, LLVMIntSLT, groups), e.at(keys, e.mul(ahead, 64 * cache.positionBytes)), following)
      // the largest tiles first, then one of the size that is left
      func tile(_ function: LLVMValue, _ row: LLVMValue) {
        let number = e.div(e.sub(row, row0), most)
        let share = e.mul(e.mul(number, lines), spanBytes / width)
        e.call(
          function, tileParameters(e),
          [
            e.at(k.scratch(), e.mul(e.sub(row, row0), queryBytes)), keys, group, stop, left,
            e.at(parts, e.mul(row, ScoreShape.partBytes)), e.at(next, e.rem(share, spanBytes)), lines,
            e.at(k.scratch(), productsAt),
          ])
      }
      let rest = e.loop(row0, e.sub(end, e.int(most - 1)), e.int(most), carried: [row0]) { row, _ in
        tile(functions[0].1, row)
        return [e.add(row, most)]
      }[0]
      for (size, function) in functions.dropFirst() {
        e.ifTrue(e.compare(e.sub(end, rest), LLVMIntEQ, e.int(size))) { tile(function, rest) }
      }
    }
  }

  private func tileParameters(_ e: Emitter) -> [LLVMType] {
    [e.pointer, e.pointer, e.i64, e.i64, e.i64, e.pointer, e.pointer, e.i64, e.pointer]
  }

  /// `tile(queries, keys, group, stop, left, part, fetched, lines)`: a fixed number of rows against groups `group` ..< `stop`
  /// of a chunk of which the first `left` keys count; `part` is the first row's. Meanwhile memory from `fetched` on is
  /// brought near, `lines` cache lines at every step of the products.
  private func emitTile(_ e: Emitter, rows: Int) -> LLVMValue {
    let width = e.target.tile.vectors
    let floats = e.vector(e.f32, 16)
    let (walks, units) = (4 / width, cache.dim / dot.unit)
    return e.define("\(name)_tile\(rows)", tileParameters(e)) { p in
      func products(_ row: Int, _ group: LLVMValue) -> LLVMValue {
        e.at(p[8], e.add(e.mul(e.sub(group, p[2]), 256), row * Self.productBytes))
      }
      let lowest = e.splatConstant(AttentionState.lowest, floats)
      let best = e.loop(p[2], p[3], carried: Array(repeating: lowest, count: rows)) { group, best in
        let keys = e.at(p[1], e.mul(group, 64 * cache.positionBytes))
        let left = e.splat(e.truncate(e.sub(p[4], e.mul(group, 64))), 16)
        var best = best
        for (walk, first) in stride(from: 0, to: 4, by: width).enumerated() {
          let steps = e.add(e.mul(e.sub(group, p[2]), walks * units), walk * units)
          let fetched = (e.at(p[6], e.mul(e.mul(steps, p[7]), 64)), p[7])
          let counts = (0..<width).map { e.compare(e.add(e.iota(16), (first + $0) * 16), LLVMIntSLT, left) }
          for (r, sums) in multiplyKeys(e, p[0], keys, rows: rows, first: first, fetched).enumerated() {
            for v in 0..<width {
              let masked = e.select(counts[v], sums[v], e.splatConstant(-Double.infinity, floats))
              e.store(masked, e.at(products(r, group), (first + v) * 64))
              best[r] = e.fmax(best[r], masked)
            }
          }
        }
        return best
      }
      let parts = (0..<rows).map { e.at(p[5], $0 * ScoreShape.partBytes) }
      ScorePowers(shape: shape, scale: scale).finish(e, parts, best, p[2], p[3], products: products)
    }
  }

  /// The products of all rows with `width` vectors of keys from vector `first` on.
  private func multiplyKeys(
    _ e: Emitter, _ queries: LLVMValue, _ keys: LLVMValue, rows: Int, first: Int,
    _ fetched: (from: LLVMValue, lines: LLVMValue)
  ) -> [[LLVMValue]] {
    let width = e.target.tile.vectors
    let start = [LLVMValue](repeating: LLVMConstNull(e.vector(e.f32, 16)), count: rows * width)
    let offsets = (0..<width).map { e.mul(e.minimum(e.int($0), e.add(fetched.lines, -1)), 64) }
    let sums = e.loop(e.int(0), e.int(cache.dim / dot.unit), carried: start, atLeastOnce: true) { unit, sums in
      var next = sums
      let lane = e.at(keys, e.mul(unit, 64))
      let packed = (0..<width).map { dot.packed(e, e.at(lane, (first + $0) * blockBytes)) }
      let line = e.at(fetched.from, e.mul(e.mul(unit, fetched.lines), 64))
      for v in offsets { e.prefetch(e.at(line, v), pastFirst: true) }
      for r in 0..<rows {
        let q = dot.broadcast(e, e.at(e.at(queries, e.mul(unit, 4)), r * queryBytes))
        for v in 0..<width { next[r * width + v] = dot.accumulate(e, next[r * width + v], packed[v], q) }
      }
      return next
    }
    return (0..<rows).map { Array(sums[$0 * width..<($0 + 1) * width]) }
  }
}

/// What makes powers, and their sums, of products with the keys of a chunk.
struct ScorePowers {
  let shape: ScoreShape
  let scale: Float

  /// Groups of 64 keys that share a maximum.
  static let span = 4

  /// Groups `group` ..< `stop`, a span, of some rows whose products are masked; `best` are the rows' greatest, by lanes.
  ///
  /// - Parameter products: Where those of a row with a group lie. They may take the place of the part's powers: a power
  ///   never lies behind its product.
  func finish(
    _ e: Emitter, _ parts: [LLVMValue], _ best: [LLVMValue], _ group: LLVMValue, _ stop: LLVMValue,
    products: (_ row: Int, _ group: LLVMValue) -> LLVMValue
  ) {
    let floats = e.vector(e.f32, 16)
    let logScale = Float(Double(scale) * 1.442_695_040_888_963_4)
    let scale = e.splatConstant(Double(logScale), floats)
    let m = best.map { e.fmul(e.reduce($0, e.fmax), e.float(logScale)) }
    let negated = m.map { LLVMBuildFNeg(e.builder, e.splat($0, 16), "")! }
    let zeros = Array(repeating: LLVMConstNull(floats)!, count: parts.count)
    let sums = e.loop(group, stop, carried: zeros) { group, sums in
      parts.indices.map { r in
        let source = products(r, group)
        let target = e.at(parts[r], ScoreShape.powersAt)
        let e4 = (0..<4).map { vector in
          let exponent = e.fma(e.load(floats, e.at(source, vector * 64)), scale, negated[r])
          return shape.cache.element == .bf16 ? e.exp2ForBF16(exponent) : e.exp2(exponent)
        }
        for v in 0..<4 { shape.storePowers(e, e4[v], target, e.add(e.mul(group, 64), v * 16)) }
        return e.fadd(sums[r], e.fadd(e.fadd(e4[0], e4[1]), e.fadd(e4[2], e4[3])))
      }
    }
    for r in parts.indices {
      let header = e.at(parts[r], e.mul(group, 4))
      e.store(e.splat(m[r], 4), header)
      func lanes(_ first: Int) -> LLVMValue { e.shuffle(sums[r], sums[r], Array(first..<first + 4)) }
      let sum = e.fadd(e.fadd(lanes(0), lanes(4)), e.fadd(lanes(8), lanes(12)))
      e.store(sum, e.at(header, ScoreShape.sumsAt))
    }
  }

  static func parameters(_ e: Emitter) -> [LLVMType] { [e.pointer, e.i64] }

  /// `powers(part, left)`: of a row's products with the keys of a chunk of which the first `left` count.
  func emit(_ e: Emitter, name: String) -> LLVMValue {
    let floats = e.vector(e.f32, 16)
    return e.define(name, Self.parameters(e)) { p in
      let groups = e.div(e.add(p[1], 63), 64)
      e.each(e.int(0), groups, e.int(Self.span)) { group in
        let stop = e.minimum(groups, e.add(group, Self.span))
        let lowest = e.splatConstant(AttentionState.lowest, floats)
        let best = e.loop(group, stop, carried: [lowest]) { group, best in
          let products = Self.products(e, p[0], group)
          let left = e.splat(e.truncate(e.sub(p[1], e.mul(group, 64))), 16)
          var best = best[0]
          for v in 0..<4 {
            let counts = e.compare(e.add(e.iota(16), v * 16), LLVMIntSLT, left)
            let product = e.load(floats, e.at(products, v * 64))
            let masked = e.select(counts, product, e.splatConstant(-Double.infinity, floats))
            e.store(masked, e.at(products, v * 64))
            best = e.fmax(best, masked)
          }
          return [best]
        }
        finish(e, [p[0]], best, group, stop) { Self.products(e, p[0], $1) }
      }
    }
  }

  private static func products(_ e: Emitter, _ part: LLVMValue, _ group: LLVMValue) -> LLVMValue {
    e.at(e.at(part, ScoreShape.powersAt), e.mul(group, 256))
  }
}

/// What turns the powers of each 64 keys into shares of the result.
///
///     for item in my (sequence, row and head): M = max m; l = sum over groups of l * exp2(m - M), 16 lanes, chunks ascending
///       for group: factor = exp2(m - M) / (l * count)
struct ScoreFactorKernel: Kernel, Hashable {
  let shape: ScoreShape

  var name: String { "score_factor_\(shape.name)" }
  let argumentNames: [String] = []

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let floats = e.vector(e.f32, 16)
    let lowest = e.splatConstant(AttentionState.lowest, floats)
    let pitch = AttentionState.chunks(k)
    k.deal {
      e.mul(shape.rows(e, $0), shape.heads.count)
    } _: { s, index in
      let rows = shape.rows(e, s)
      let chunks = ScoreShape.chunks(e, s)
      let stride = e.mul(rows, shape.heads.count * ScoreShape.partBytes)
      let first = shape.part(k, s, pitch: pitch, chunk: e.int(0), index: index)
      func part(_ chunk: LLVMValue) -> LLVMValue { e.at(first, e.mul(chunk, stride)) }
      /// A number of each of the chunk's groups; `other` where there is none.
      func load(_ chunk: LLVMValue, _ offset: Int, _ other: LLVMValue) -> LLVMValue {
        let spans = e.div(e.add(ScoreShape.keys(e, s, chunk), 255), 256)
        let groups = e.mul(spans, 4)
        let inside = e.compare(e.iota(16), LLVMIntSLT, e.splat(e.truncate(groups), 16))
        return e.select(inside, e.load(floats, e.at(part(chunk), offset)), other)
      }
      let most = e.loop(e.int(0), chunks, carried: [lowest]) { chunk, most in
        [e.fmax(most[0], load(chunk, 0, lowest))]
      }[0]
      let m = e.splat(e.reduce(most, e.fmax), 16)
      let lanes = e.loop(e.int(0), chunks, carried: [LLVMConstNull(floats)]) { chunk, sum in
        let power = e.exp2(e.fsub(load(chunk, 0, lowest), m))
        e.store(power, part(chunk))
        return [e.fma(load(chunk, ScoreShape.sumsAt, LLVMConstNull(floats)), power, sum[0])]
      }[0]
      var sum = e.reduce(lanes, e.fadd)
      if shape.reduction == .mean { sum = e.fmul(sum, count(e, rows, head: e.div(index, rows))) }
      let factor = e.splat(e.fdiv(e.float(1), sum), 16)
      e.each(e.int(0), chunks) { chunk in
        e.store(e.fmul(e.load(floats, part(chunk)), factor), part(chunk))
      }
    }
  }

  /// How many rows and heads there are in the plane of a chosen head.
  private func count(_ e: Emitter, _ rows: LLVMValue, head: LLVMValue) -> LLVMValue {
    var heads = e.int(shape.planeHeads.last?.count ?? 1)
    // the head's plane is the first one that ends behind it
    for plane in shape.planeHeads.dropLast().reversed() {
      heads = e.select(e.compare(head, LLVMIntSLT, e.int(plane.first + plane.count)), e.int(plane.count), heads)
    }
    return LLVMBuildSIToFP(e.builder, e.mul(rows, heads), e.f32, "")
  }
}

/// The signal, or what is still to be pooled.
///
///     for item in my (sequence, plane, chunk): for 64 positions: s = fold over the plane's rows and heads of e * factor
///       s += onto;  beyond the committed positions: 0, or less than everything if it is to be pooled
struct ScoreSumKernel: Kernel, Hashable {
  let shape: ScoreShape
  let hasOnto: Bool

  var name: String { "score_sum_\(shape.name)\(hasOnto ? "_onto" : "")\(shape.pool > 1 ? "_raw" : "")" }
  var argumentNames: [String] { ["out", "out_pitch"] + (hasOnto ? ["onto", "onto_pitch"] : []) }

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let floats = e.vector(e.f32, 16)
    let planes = shape.planeHeads
    let pitch = AttentionState.chunks(k)
    k.deal {
      e.mul(ScoreShape.chunks(e, $0), planes.count)
    } _: { s, item in
      let chunks = ScoreShape.chunks(e, s)
      let plane = e.div(item, chunks)
      let chunk = e.sub(item, e.mul(plane, chunks))
      let rows = shape.rows(e, s)
      let first = e.mul(e.table(plane, planes.map(\.first)), rows)
      let count = e.mul(e.table(plane, planes.map(\.count)), rows)
      let parts = shape.part(k, s, pitch: pitch, chunk: chunk, index: first)
      let left = ScoreShape.keys(e, s, chunk)
      let start = e.mul(chunk, Int(DUSTIN_CHUNK) * 4)
      let out = e.at(target(k, s, pitch: pitch, plane: plane), start)
      let onto = hasOnto ? e.at(k.signal(2, s, plane: plane), start) : nil
      /// `groups` times 64 positions from `key` on, whose powers have one factor.
      func sum(_ key: LLVMValue, groups: Int) {
        let offset = e.mul(key, 4)
        let zeros = Array(repeating: LLVMConstNull(floats)!, count: 4 * groups)
        let sums = e.loop(e.int(0), count, carried: zeros) { index, sums in
          let part = e.at(parts, e.mul(index, ScoreShape.partBytes))
          let factor = e.splat(e.load(e.f32, e.at(part, e.div(key, 16))), 16)
          let powers = e.at(part, ScoreShape.powersAt)
          return sums.indices.map {
            let power = shape.loadPowers(e, powers, e.add(key, $0 * 16))
            return shape.reduction == .mean ? e.fma(power, factor, sums[$0]) : e.fmax(sums[$0], e.fmul(power, factor))
          }
        }
        let inside = e.splat(e.truncate(e.sub(left, key)), 16)
        for v in sums.indices {
          var sum = sums[v]
          if let onto {
            let other = e.load(floats, e.at(onto, e.add(offset, v * 64)))
            sum = shape.reduction == .mean ? e.fadd(sum, other) : e.fmax(sum, other)
          }
          let counts = e.compare(e.add(e.iota(16), v * 16), LLVMIntSLT, inside)
          e.store(e.select(counts, sum, ScorePoolKernel.outside(e, shape)), e.at(out, e.add(offset, v * 64)))
        }
      }
      // Long pieces of every part as far as registers go: memory likes them better.
      let most = e.target.hasAVX512 ? ScorePowers.span : 1
      let rest = e.mul(e.div(left, 64 * most), 64 * most)
      e.each(e.int(0), rest, e.int(64 * most)) { sum($0, groups: most) }
      e.each(rest, left, e.int(64)) { sum($0, groups: 1) }
      if shape.pool > 1 {
        let signal = shape.raw(k, s, pitch: pitch, plane: plane)
        e.ifTrue(e.compare(chunk, LLVMIntEQ, e.int(0))) { ScorePoolKernel.fillFirstMargin(e, signal: signal) }
        e.ifTrue(e.compare(e.add(chunk, 1), LLVMIntEQ, chunks)) { ScorePoolKernel.fillLastMargin(e, s, signal: signal) }
      }
    }
  }

  private func target(
    _ k: KernelBuilder, _ s: KernelBuilder.Sequence, pitch: LLVMValue, plane: LLVMValue
  ) -> LLVMValue {
    shape.pool > 1 ? shape.raw(k, s, pitch: pitch, plane: plane) : k.signal(0, s, plane: plane)
  }
}

/// The maximum filter over neighbours.
///
///     for item in my (sequence, plane, chunk): for 64 positions: out[j] = max over |d| <= pool / 2 of raw[j + d]
struct ScorePoolKernel: Kernel, Hashable {
  let shape: ScoreShape

  var name: String { "score_pool\(shape.pool)_x\(shape.planes)_\(shape.heads.count)" }
  let argumentNames = ["out", "out_pitch"]

  /// What stands beyond the committed positions.
  static func outside(_ e: Emitter, _ shape: ScoreShape) -> LLVMValue {
    e.splatConstant(shape.pool > 1 ? -Double.infinity : 0, e.vector(e.f32, 16))
  }
  /// The lowest numbers before the first and behind the last group of a signal that is to be pooled.
  static func fillFirstMargin(_ e: Emitter, signal: LLVMValue) {
    fill(e, e.at(signal, -ScoreShape.marginBytes))
  }
  static func fillLastMargin(_ e: Emitter, _ s: KernelBuilder.Sequence, signal: LLVMValue) {
    fill(e, e.at(signal, e.mul(e.div(e.add(s.scored, 63), 64), 256)))
  }
  private static func fill(_ e: Emitter, _ p: LLVMValue) {
    let lowest = e.splatConstant(-Double.infinity, e.vector(e.f32, 16))
    e.each(e.int(0), e.int(ScoreShape.marginBytes), e.int(64)) { e.store(lowest, e.at(p, $0)) }
  }

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let floats = e.vector(e.f32, 16)
    let pitch = AttentionState.chunks(k)
    let half = shape.pool / 2
    k.deal {
      e.mul(ScoreShape.chunks(e, $0), shape.planes)
    } _: { s, item in
      let chunks = ScoreShape.chunks(e, s)
      let plane = e.div(item, chunks)
      let chunk = e.sub(item, e.mul(plane, chunks))
      let start = e.mul(chunk, Int(DUSTIN_CHUNK) * 4)
      let raw = e.at(shape.raw(k, s, pitch: pitch, plane: plane), start)
      let out = e.at(k.signal(0, s, plane: plane), start)
      let left = ScoreShape.keys(e, s, chunk)
      e.each(e.int(0), left, e.int(64)) { key in
        let offset = e.mul(key, 4)
        func neighbours(_ distance: LLVMValue) -> [LLVMValue] {
          let p = e.at(raw, e.add(offset, distance))
          return (0..<4).map { e.load(floats, e.at(p, $0 * 64)) }
        }
        var greatest = neighbours(e.int(-4 * half))
        func take(_ greatest: [LLVMValue], _ distance: LLVMValue) -> [LLVMValue] {
          zip(greatest, neighbours(distance)).map(e.fmax)
        }
        if half <= 8 {
          for distance in -half + 1...half { greatest = take(greatest, e.int(4 * distance)) }
        } else {
          greatest = e.loop(e.int(-4 * half + 4), e.int(4 * half + 4), e.int(4), carried: greatest) { take($1, $0) }
        }
        let inside = e.splat(e.truncate(e.sub(left, key)), 16)
        for v in 0..<4 {
          let counts = e.compare(e.add(e.iota(16), v * 16), LLVMIntSLT, inside)
          e.store(e.select(counts, greatest[v], LLVMConstNull(floats)), e.at(out, e.add(offset, v * 64)))
        }
      }
    }
  }
}
