import CDustin
import CLLVM

/// The running softmax of one row, in powers of two: f32 m, f32 l, the address where a tile lays the row's products or null,
/// padding to 64 bytes, f32 o[dim], then l in 16 lanes (tiles only).
struct AttentionState: Hashable {
  let dim: Int
  /// Of a merged or partial result.
  var bytes: Int { 64 + dim * 4 }
  /// Of a row that a tile works on.
  var tileBytes: Int { bytes + 64 }

  static let lowest = -1e30
  static let productsAt = 8

  /// Chunks that hold a sequence's keys, the rows in flight included.
  static func chunks(_ e: Emitter, _ s: KernelBuilder.Sequence) -> LLVMValue {
    e.div(e.add(e.add(s.length, s.rows), Int(DUSTIN_CHUNK) - 1), Int(DUSTIN_CHUNK))
  }
  /// The most chunks of any sequence of the step: the pitch of the partial results.
  static func chunks(_ k: KernelBuilder) -> LLVMValue {
    k.e.loop(k.e.int(0), k.rows(.sequences), carried: [k.e.int(0)]) { index, most in
      [k.e.maximum(most[0], chunks(k.e, k.sequence(index)))]
    }[0]
  }

  func clear(_ e: Emitter, _ p: LLVMValue) {
    e.store(e.float(Float(Self.lowest)), p)
    e.store(e.float(0), e.at(p, 4))
    e.each(e.int(0), e.int(dim * 4), e.int(64)) { e.store(LLVMConstNull(e.vector(e.f32, 16)), e.at(e.at(p, 64), $0)) }
  }
  /// Makes a tile's row ready for the first key of a chunk.
  func begin(_ e: Emitter, _ p: LLVMValue) {
    clear(e, p)
    e.store(LLVMConstNull(e.vector(e.f32, 16)), e.at(p, bytes))
  }
  /// Folds the lanes of l behind the last key of a chunk.
  func end(_ e: Emitter, _ p: LLVMValue) {
    e.store(e.reduce(e.load(e.vector(e.f32, 16), e.at(p, bytes)), e.fadd), e.at(p, 4))
  }
  func copy(_ e: Emitter, from source: LLVMValue, to target: LLVMValue) {
    e.each(e.int(0), e.int(bytes), e.int(64)) { b in
      e.store(e.load(e.vector(e.f32, 16), e.at(source, b)), e.at(target, b))
    }
  }
  /// y[dim] = o / l
  func finish(_ k: KernelBuilder, _ p: LLVMValue, to y: LLVMValue, _ element: FloatElement) {
    let e = k.e
    let l = e.splat(e.load(e.f32, e.at(p, 4)), 16)
    e.each(e.int(0), e.int(dim), e.int(16)) { d in
      k.storeFloats(element, e.fdiv(k.loadFloats(.f32, e.at(p, 64), d, 16), l), y, d)
    }
  }
}

/// `merge(total, part)`: total = total ⊕ part, both in `AttentionState`'s layout.
struct AttentionMerge {
  let dim: Int

  static func parameters(_ e: Emitter) -> [LLVMType] { [e.pointer, e.pointer] }

  func emit(_ e: Emitter, name: String) -> LLVMValue {
    e.define(name, Self.parameters(e)) { p in
      let (total, part) = (p[0], p[1])
      let (m0, m1) = (e.load(e.f32, total), e.load(e.f32, part))
      let m = e.fmax(m0, m1)
      // both factors in one vector, so that exp2 is the same code as everywhere
      let pair = e.shuffle(e.splat(e.fsub(m0, m), 4), e.splat(e.fsub(m1, m), 4), [0, 4, 0, 4])
      let factors = e.exp2(pair)
      let a: LLVMValue = LLVMBuildExtractElement(e.builder, factors, e.int32(0), "")
      let b: LLVMValue = LLVMBuildExtractElement(e.builder, factors, e.int32(1), "")
      let (l0, l1) = (e.load(e.f32, e.at(total, 4)), e.load(e.f32, e.at(part, 4)))
      e.store(m, total)
      e.store(e.fma(l1, b, e.fmul(l0, a)), e.at(total, 4))
      let (va, vb) = (e.splat(a, 16), e.splat(b, 16))
      e.each(e.int(0), e.int(dim * 4), e.int(64)) { offset in
        let at = e.add(offset, 64)
        let (o0, o1) = (e.load(e.vector(e.f32, 16), e.at(total, at)), e.load(e.vector(e.f32, 16), e.at(part, at)))
        e.store(e.fma(o1, vb, e.fmul(o0, va)), e.at(total, at))
      }
    }
  }
}

/// `tile(queries, limits, keys, values, firstKey, groups, states, scratch, fetched)`: flash attention of a fixed number
/// of rows over `groups` * 64 keys. Row r reads the keys whose number, counted from `firstKey`, is below `limits[r]` (i32).
/// `fetched` is the list of `Fetch.listed`, else unused.
///
///     for group of 64 keys:
///       S[r][64] = q[r] · K, masked;  best[r] = c * max S[r], c = scale / ln 2
///       all rows at once: m' = max(m, best); a = 2^(m - m')
///       P[r] = 2^(c * S[r] - m'[r]);  l[r] = l[r] * a[r] + P[r], in 16 lanes;  o[r] = o[r] * a[r] + P[r] · V
struct AttentionTile {
  let dim: Int
  let dot: Dot
  let element: FloatElement
  let scale: Float
  /// Keys of a group that are computed, 64 or 16; with 16, no row's limit lies further behind a group's first key.
  var keys = Int(DUSTIN_GROUP)
  /// What is fetched meanwhile: between two walks over keys the softmax keeps memory idle.
  var fetch = Fetch.nextGroup
  /// Products of rows whose state has an address for them are laid there: f32 q · k by number of the key, -inf behind the
  /// row's limit.
  var keepsProducts = false

  enum Fetch: Hashable {
    case nothing
    /// The next group's keys and values, which lie behind these.
    case nextGroup
    /// Cache lines at listed addresses, one at every step of the two products.
    case listed
  }
  /// Addresses (i64) that one call with `Fetch.listed` takes from its list for each group.
  func listedCount(_ target: CPUTarget) -> Int {
    let valueWalks = (dim / 16 + target.tile.vectors - 1) / target.tile.vectors
    return keySteps(target) + valueWalks * (keys / dot.unit)
  }
  /// Steps of the first product: the second one's lines stand behind theirs.
  private func keySteps(_ target: CPUTarget) -> Int {
    (blocks + target.tile.vectors - 1) / target.tile.vectors * (dim / dot.unit)
  }

  static let mostRows = 6
  // scratch: S, P, then f32[16] each of the old m, best, m' and a
  private static let probsAt = mostRows * 256
  private static let vectorsAt = 2 * mostRows * 256
  static let scratchBytes = vectorsAt + 4 * 64

  private var state: AttentionState { AttentionState(dim: dim) }
  /// Vectors of scores.
  private var blocks: Int { keys / Int(DUSTIN_BLOCK) }
  /// The factor that turns products into exponents of two.
  private var logScale: Float { Float(Double(scale) * 1.442_695_040_888_963_4) }

  static func parameters(_ e: Emitter) -> [LLVMType] {
    [e.pointer, e.pointer, e.pointer, e.pointer, e.i64, e.i64, e.pointer, e.pointer, e.pointer]
  }

  func emit(_ e: Emitter, rows: Int, name: String) -> LLVMValue {
    let keyBytes = dim * element.byteCount
    return e.define(name, Self.parameters(e)) { p in
      let (queries, limits, keys, values, firstKey, groups) = (p[0], p[1], p[2], p[3], p[4], p[5])
      let (states, scratch, fetched) = (p[6], p[7], p[8])
      let (scores, probs) = (scratch, e.at(scratch, Self.probsAt))
      let old = e.at(scratch, Self.vectorsAt)
      let (best, maxima, factors) = (e.at(old, 64), e.at(old, 128), e.at(old, 192))
      let lowest = e.splatConstant(AttentionState.lowest, e.vector(e.f32, 16))
      e.store(lowest, old)
      e.store(lowest, best)
      e.each(e.int(0), groups) { group in
        let offset = e.mul(group, 64 * keyBytes)
        let key = e.truncate(e.add(firstKey, e.mul(group, 64)))
        multiplyKeys(e, rows, queries, e.at(keys, offset), scores, fetched)
        e.each(e.int(0), e.int(rows)) { r in
          findBest(e, r, key, limits, scores, best, states)
          e.store(e.load(e.f32, e.at(states, e.mul(r, state.tileBytes))), e.at(old, e.mul(r, 4)))
        }
        let (m, candidates) = (e.load(e.vector(e.f32, 16), old), e.load(e.vector(e.f32, 16), best))
        let next = e.fmax(m, candidates)
        e.store(next, maxima)
        e.store(e.exp2(e.fsub(m, next)), factors)
        e.each(e.int(0), e.int(rows)) { r in exponentiate(e, r, maxima, factors, states, scores, probs) }
        multiplyValues(e, rows, probs, factors, e.at(values, offset), states, fetched)
      }
    }
  }

  /// Fetches the line of a step: `before` steps of the group came before this walk over units.
  private func fetchListed(_ e: Emitter, _ list: LLVMValue, before: Int, _ unit: LLVMValue) {
    e.prefetch(e.loadPointer(e.at(list, e.mul(unit, 8)), before * 8))
  }

  /// S[r][key] = sum over d of q[r][d] * K[d][key], for 64 keys, 16 to a vector.
  private func multiplyKeys(
    _ e: Emitter, _ rows: Int, _ queries: LLVMValue, _ keys: LLVMValue, _ scores: LLVMValue, _ fetched: LLVMValue
  ) {
    let blockBytes = Int(DUSTIN_BLOCK) * dim * element.byteCount
    let rowBytes = dim * element.byteCount
    let width = min(blocks, e.target.tile.vectors)
    for first in stride(from: 0, to: blocks, by: width) {
      let zero = LLVMConstNull(e.vector(e.f32, 16))!
      let sums = e.loop(
        e.int(0), e.int(dim / dot.unit), carried: Array(repeating: zero, count: rows * width), atLeastOnce: true
      ) { unit, sums in
        var next = sums
        let lane = e.at(keys, e.mul(unit, 64))
        let packed = (0..<width).map { dot.packed(e, e.at(lane, (first + $0) * blockBytes)) }
        switch fetch {
        case .nothing: break
        case .nextGroup: for v in 0..<width { e.prefetch(e.at(lane, (first + v + 4) * blockBytes)) }
        case .listed: fetchListed(e, fetched, before: first / width * (dim / dot.unit), unit)
        }
        for r in 0..<rows {
          let q = dot.broadcast(e, e.at(e.at(queries, e.mul(unit, 4)), r * rowBytes))
          for v in 0..<width { next[r * width + v] = dot.accumulate(e, next[r * width + v], packed[v], q) }
        }
        return next
      }
      for r in 0..<rows {
        for v in 0..<width { e.store(sums[r * width + v], e.at(scores, r * 256 + (first + v) * 64)) }
      }
    }
  }

  /// Masks the row's scores where keys end inside the group, and notes the scaled maximum (scale > 0 keeps the order).
  private func findBest(
    _ e: Emitter, _ r: LLVMValue, _ key: LLVMValue, _ limits: LLVMValue, _ scores: LLVMValue, _ best: LLVMValue,
    _ states: LLVMValue
  ) {
    let floats = e.vector(e.f32, 16)
    let left = e.sub(e.load(e.i32, e.at(limits, e.mul(r, 4))), key)
    let row = e.at(scores, e.mul(r, 256))
    e.ifTrue(e.compare(left, LLVMIntSLT, e.int32(keys))) {
      for v in 0..<blocks {
        let inside = e.compare(e.add(e.iota(16), v * 16), LLVMIntSLT, e.splat(left, 16))
        let p = e.at(row, v * 64)
        e.store(e.select(inside, e.load(floats, p), e.splatConstant(-Double.infinity, floats)), p)
      }
    }
    let s = (0..<blocks).map { e.load(floats, e.at(row, $0 * 64)) }
    if keepsProducts {
      let products = e.loadPointer(e.at(states, e.mul(r, state.tileBytes)), AttentionState.productsAt)
      e.ifTrue(e.compare(products, LLVMIntNE, LLVMConstNull(e.pointer))) {
        let target = e.at(products, e.mul(e.extend(key), 4))
        for v in 0..<blocks { e.store(s[v], e.at(target, v * 64)) }
      }
    }
    let most = e.reduce(fold(s, e.fmax), e.fmax)
    e.store(e.fmul(most, e.float(logScale)), e.at(best, e.mul(r, 4)))
  }

  /// (v0, v1), (v2, v3), or the only vector: masked ones change neither maximum nor sum.
  private func fold(_ v: [LLVMValue], _ combine: (LLVMValue, LLVMValue) -> LLVMValue) -> LLVMValue {
    v.count == 4 ? combine(combine(v[0], v[1]), combine(v[2], v[3])) : v[0]
  }

  private func exponentiate(
    _ e: Emitter, _ r: LLVMValue, _ maxima: LLVMValue, _ factors: LLVMValue, _ states: LLVMValue, _ scores: LLVMValue,
    _ probs: LLVMValue
  ) {
    let floats = e.vector(e.f32, 16)
    let rowState = e.at(states, e.mul(r, state.tileBytes))
    let maximum = e.load(e.f32, e.at(maxima, e.mul(r, 4)))
    e.store(maximum, rowState)
    let m = e.splat(maximum, 16)
    let negated: LLVMValue = LLVMBuildFNeg(e.builder, m, "")
    let row = e.at(scores, e.mul(r, 256))
    let scale = e.splatConstant(Double(logScale), floats)
    let p = (0..<blocks).map { e.exp2(e.fma(e.load(floats, e.at(row, $0 * 64)), scale, negated)) }
    let l = e.at(rowState, state.bytes)
    let a = e.splat(e.load(e.f32, e.at(factors, e.mul(r, 4))), 16)
    e.store(e.fma(e.load(floats, l), a, fold(p, e.fadd)), l)
    let target = e.at(probs, e.mul(r, 64 * element.byteCount))
    for v in 0..<blocks {
      let at = e.at(target, v * 16 * element.byteCount)
      if element == .bf16 { e.store(e.roundToBF16(p[v]), at, align: 2) } else { e.store(p[v], at) }
    }
  }

  /// o[r][d] = o[r][d] * a[r] + sum over keys of P[r][key] * V[key][d].
  private func multiplyValues(
    _ e: Emitter, _ rows: Int, _ probs: LLVMValue, _ factors: LLVMValue, _ values: LLVMValue, _ states: LLVMValue,
    _ fetched: LLVMValue
  ) {
    let floats = e.vector(e.f32, 16)
    let stateBytes = state.tileBytes
    let vectors = dim / 16
    var first = 0
    while first < vectors {
      let width = min(e.target.tile.vectors, vectors - first)
      func output(_ r: Int, _ v: Int) -> LLVMValue { e.at(states, r * stateBytes + 64 + (first + v) * 64) }
      var start: [LLVMValue] = []
      for r in 0..<rows {
        let a = e.splat(e.load(e.f32, e.at(factors, r * 4)), 16)
        for v in 0..<width { start.append(e.fmul(e.load(floats, output(r, v)), a)) }
      }
      let sums = e.loop(e.int(0), e.int(keys / dot.unit), carried: start, atLeastOnce: true) { unit, sums in
        var next = sums
        let line = e.at(values, e.mul(unit, dim * 4))
        let packed = (0..<width).map { dot.packed(e, e.at(line, (first + $0) * 64)) }
        switch fetch {
        case .nothing: break
        case .nextGroup:
          for v in 0..<width { e.prefetch(e.at(line, 64 * dim * element.byteCount + (first + v) * 64)) }
        case .listed:
          let before = keySteps(e.target) + first / e.target.tile.vectors * (keys / dot.unit)
          fetchListed(e, fetched, before: before, unit)
        }
        for r in 0..<rows {
          let p = dot.broadcast(e, e.at(e.at(probs, e.mul(unit, 4)), r * 64 * element.byteCount))
          for v in 0..<width { next[r * width + v] = dot.accumulate(e, next[r * width + v], packed[v], p) }
        }
        return next
      }
      for r in 0..<rows {
        for v in 0..<width { e.store(sums[r * width + v], output(r, v)) }
      }
      first += width
    }
  }
}
