import CDustin
import CLLVM

/// The running softmax of one row: f32 m, f32 l, padding to 64 bytes, then f32 o[dim].
struct AttentionState: Hashable {
  let dim: Int
  var bytes: Int { 64 + dim * 4 }

  static let lowest = -1e30

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
  /// Address of a row's state in a tile, where the states lie one behind the other.
  func row(_ e: Emitter, _ tile: LLVMValue, _ row: LLVMValue) -> LLVMValue { e.at(tile, e.mul(row, bytes)) }

  func copy(_ e: Emitter, from tile: LLVMValue, row index: LLVMValue, to target: LLVMValue) {
    let source = row(e, tile, index)
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
      // both factors in one vector, so that exp is the same code as everywhere
      let pair = e.shuffle(e.splat(e.fsub(m0, m), 4), e.splat(e.fsub(m1, m), 4), [0, 4, 0, 4])
      let factors = e.exp(pair)
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

/// `tile(queries, limits, keys, values, groups, state)`: flash attention of a fixed number of rows over the first
/// `groups` * 64 keys of a chunk. Row r reads keys below `limits[r]` (i32, counted from the chunk's first key).
///
///     for group of 64 keys:
///       S[r][64] = q[r] · K;  per row: mask, m', a, P, l lanes;  o[r] = o[r] * a + P[r] · V
struct AttentionTile {
  let dim: Int
  let dot: Dot
  let element: FloatElement
  let scale: Float

  static let mostRows = 6
  // behind the rows' states: l in lanes, S, P, then the factor a of each row
  private static func lanesAt(_ dim: Int) -> Int { mostRows * AttentionState(dim: dim).bytes }
  private static func scoresAt(_ dim: Int) -> Int { lanesAt(dim) + mostRows * 64 }
  private static func probsAt(_ dim: Int) -> Int { scoresAt(dim) + mostRows * 256 }
  private static func factorsAt(_ dim: Int) -> Int { probsAt(dim) + mostRows * 256 }
  static func scratchBytes(dim: Int) -> Int { factorsAt(dim) + 64 }

  static func parameters(_ e: Emitter) -> [LLVMType] { [e.pointer, e.pointer, e.pointer, e.pointer, e.i64, e.pointer] }

  func emit(_ e: Emitter, rows: Int, name: String) -> LLVMValue {
    let state = AttentionState(dim: dim)
    let keyBytes = dim * element.byteCount
    return e.define(name, Self.parameters(e)) { p in
      let (queries, limits, keys, values, groups, states) = (p[0], p[1], p[2], p[3], p[4], p[5])
      let lanes = e.at(states, Self.lanesAt(dim))
      let scores = e.at(states, Self.scoresAt(dim))
      let probs = e.at(states, Self.probsAt(dim))
      let factors = e.at(states, Self.factorsAt(dim))
      e.each(e.int(0), e.int(rows)) { r in
        state.clear(e, state.row(e, states, r))
        e.store(LLVMConstNull(e.vector(e.f32, 16)), e.at(lanes, e.mul(r, 64)))
      }
      e.each(e.int(0), groups) { group in
        let offset = e.mul(group, 64 * keyBytes)
        multiplyKeys(e, rows, queries, e.at(keys, offset), scores)
        e.each(e.int(0), e.int(rows)) { r in
          softmax(e, r, group, limits, state.row(e, states, r), lanes, scores, probs, factors)
        }
        multiplyValues(e, rows, probs, factors, e.at(values, offset), states)
      }
      e.each(e.int(0), e.int(rows)) { r in
        let sum = e.reduce(e.load(e.vector(e.f32, 16), e.at(lanes, e.mul(r, 64))), e.fadd)
        e.store(sum, e.at(state.row(e, states, r), 4))
      }
    }
  }

  /// S[r][key] = sum over d of q[r][d] * K[d][key], for 64 keys, 16 to a vector.
  private func multiplyKeys(_ e: Emitter, _ rows: Int, _ queries: LLVMValue, _ keys: LLVMValue, _ scores: LLVMValue) {
    let blockBytes = Int(DUSTIN_BLOCK) * dim * element.byteCount
    let rowBytes = dim * element.byteCount
    let width = e.target.tile.vectors
    for first in stride(from: 0, to: 4, by: width) {
      let zero = LLVMConstNull(e.vector(e.f32, 16))!
      let sums = e.loop(
        e.int(0), e.int(dim / dot.unit), carried: Array(repeating: zero, count: rows * width), atLeastOnce: true
      ) { unit, sums in
        var next = sums
        let lane = e.at(keys, e.mul(unit, 64))
        let packed = (0..<width).map { dot.packed(e, e.at(lane, (first + $0) * blockBytes)) }
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

  private func softmax(
    _ e: Emitter, _ r: LLVMValue, _ group: LLVMValue, _ limits: LLVMValue, _ state: LLVMValue, _ lanes: LLVMValue,
    _ scores: LLVMValue, _ probs: LLVMValue, _ factors: LLVMValue
  ) {
    let floats = e.vector(e.f32, 16)
    let left = e.sub(e.load(e.i32, e.at(limits, e.mul(r, 4))), e.truncate(e.mul(group, 64)))
    let row = e.at(scores, e.mul(r, 256))
    let masked = e.splatConstant(-Double.infinity, floats)
    let s = (0..<4).map { v -> LLVMValue in
      let scaled = e.fmul(e.load(floats, e.at(row, v * 64)), e.splatConstant(Double(scale), floats))
      let inside = e.compare(e.add(e.iota(16), v * 16), LLVMIntSLT, e.splat(left, 16))
      return e.select(inside, scaled, masked)
    }
    let m0 = e.load(e.f32, state)
    let m = e.fmax(m0, e.reduce(e.fmax(e.fmax(s[0], s[1]), e.fmax(s[2], s[3])), e.fmax))
    e.store(m, state)
    let p = s.map { e.exp(e.fsub($0, e.splat(m, 16))) }
    let a = e.exp(e.splat(e.fsub(m0, m), 16))
    e.store(LLVMBuildExtractElement(e.builder, a, e.int32(0), ""), e.at(factors, e.mul(r, 4)))
    let l = e.at(lanes, e.mul(r, 64))
    let sum = e.fadd(e.fadd(p[0], p[1]), e.fadd(p[2], p[3]))
    e.store(e.fma(e.load(floats, l), a, sum), l)
    let target = e.at(probs, e.mul(r, 64 * element.byteCount))
    for v in 0..<4 {
      let at = e.at(target, v * 16 * element.byteCount)
      if element == .bf16 { e.store(e.roundToBF16(p[v]), at, align: 2) } else { e.store(p[v], at) }
    }
  }

  /// o[r][d] = o[r][d] * a[r] + sum over keys of P[r][key] * V[key][d].
  private func multiplyValues(
    _ e: Emitter, _ rows: Int, _ probs: LLVMValue, _ factors: LLVMValue, _ values: LLVMValue, _ states: LLVMValue
  ) {
    let floats = e.vector(e.f32, 16)
    let stateBytes = AttentionState(dim: dim).bytes
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
      let sums = e.loop(e.int(0), e.int(64 / dot.unit), carried: start, atLeastOnce: true) { unit, sums in
        var next = sums
        let line = e.at(values, e.mul(unit, dim * 4))
        let packed = (0..<width).map { dot.packed(e, e.at(line, (first + $0) * 64)) }
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
