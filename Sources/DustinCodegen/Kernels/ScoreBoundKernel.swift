import CDustin
import CLLVM

/// The signal of upper bounds: what a query may score at most against any key of a block, from the block's extremes.
///
///     for item in my (sequence, plane, about 1024 positions): for block of them: for KV head of the plane:
///       for channel: greatest, least = extremes of the block's committed keys
///       for row, head: p = scale * sum of max(q * greatest, q * least);  s = fold of p
///       s[positions of the block] = s (+ onto)
struct ScoreBoundKernel: Kernel, Hashable {
  let shape: ScoreShape
  let scale: Float
  /// Positions of a block.
  let block: Int
  let hasOnto: Bool

  var name: String {
    "score_bound\(block)_\(shape.name)_s\(scale)\(hasOnto ? "_onto" : "")\(shape.pool > 1 ? "_raw" : "")"
  }
  var argumentNames: [String] { ["q", "keys", "out", "out_pitch"] + (hasOnto ? ["onto", "onto_pitch"] : []) }

  private var cache: CacheShape { shape.cache }
  private var blocksPerItem: Int { max(1, Int(DUSTIN_CHUNK) / block) }
  /// One thread's scratch: the greatest and the least value of each channel.
  var scratchBytes: Int { 2 * cache.dim * 4 }

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let pitch = AttentionState.chunks(k)
    func blocks(_ s: KernelBuilder.Sequence) -> LLVMValue { e.div(e.add(s.scored, block - 1), block) }
    func perPlane(_ s: KernelBuilder.Sequence) -> LLVMValue {
      e.div(e.add(blocks(s), blocksPerItem - 1), blocksPerItem)
    }
    k.deal {
      e.mul(perPlane($0), shape.planes)
    } _: { s, item in
      let plane = e.div(item, perPlane(s))
      let first = e.mul(e.sub(item, e.mul(plane, perPlane(s))), blocksPerItem)
      let out = shape.pool > 1 ? shape.raw(k, s, pitch: pitch, plane: plane) : k.signal(2, s, plane: plane)
      let onto = hasOnto ? k.signal(4, s, plane: plane) : nil
      e.each(first, e.minimum(blocks(s), e.add(first, blocksPerItem))) { number in
        let start = e.mul(number, block)
        let end = e.minimum(s.scored, e.add(start, block))
        let bound = fold(k, s, plane: plane, start, end)
        e.each(start, end) { position in
          let offset = e.mul(position, 4)
          var value = bound
          if let onto {
            let other = e.load(e.f32, e.at(onto, offset))
            value = shape.reduction == .mean ? e.fadd(value, other) : e.fmax(value, other)
          }
          e.store(value, e.at(out, offset))
        }
        e.ifTrue(e.compare(end, LLVMIntEQ, s.scored)) {
          let outside = shape.pool > 1 ? -Double.infinity : 0
          e.each(end, e.mul(e.div(e.add(end, 63), 64), 64)) {
            e.store(e.splatConstant(outside, e.f32), e.at(out, e.mul($0, 4)))
          }
          if shape.pool > 1 { ScorePoolKernel.fillLastMargin(e, s, signal: out) }
        }
      }
      if shape.pool > 1 {
        e.ifTrue(e.compare(first, LLVMIntEQ, e.int(0))) { ScorePoolKernel.fillFirstMargin(e, signal: out) }
      }
    }
  }

  /// The mean or the maximum of the bounds of a plane's rows and heads over the positions start ..< end.
  private func fold(
    _ k: KernelBuilder, _ s: KernelBuilder.Sequence, plane: LLVMValue, _ start: LLVMValue, _ end: LLVMValue
  ) -> LLVMValue {
    let e = k.e
    let rows = shape.rows(e, s)
    let groups = shape.groups
    let (low, high) = shape.isSplit ? (plane, e.add(plane, 1)) : (e.int(0), e.int(groups.count))
    let identity = e.float(shape.reduction == .mean ? 0 : Float(AttentionState.lowest))
    let total = e.loop(low, high, carried: [identity]) { number, total in
      findExtremes(k, s, head: e.table(number, groups.map(\.head)), start, end)
      let first = e.table(number, groups.map(\.first))
      return e.loop(first, e.add(first, e.table(number, groups.map(\.count))), carried: total) { head, total in
        e.loop(e.int(0), rows, carried: total) { row, total in
          let p = bound(k, row: shape.row(e, s, row), head: e.table(head, shape.heads))
          return [shape.reduction == .mean ? e.fadd(total[0], p) : e.fmax(total[0], p)]
        }
      }
    }[0]
    guard shape.reduction == .mean else { return total }
    let heads = e.table(plane, shape.planeHeads.map(\.count))
    return e.fdiv(total, LLVMBuildSIToFP(e.builder, e.mul(rows, heads), e.f32, ""))
  }

  private func findExtremes(
    _ k: KernelBuilder, _ s: KernelBuilder.Sequence, head: LLVMValue, _ start: LLVMValue, _ end: LLVMValue
  ) {
    let e = k.e
    let floats = e.vector(e.f32, 16)
    let keys = cache.head(e, s, region: k.argument(1), head: head)
    let (lowest, highest) = (e.splatConstant(-Double.infinity, floats), e.splatConstant(Double.infinity, floats))
    let identities = Array(repeating: lowest, count: cache.unit) + Array(repeating: highest, count: cache.unit)
    func least(_ a: LLVMValue, _ b: LLVMValue) -> LLVMValue {
      e.select(LLVMBuildFCmp(e.builder, LLVMRealOLT, a, b, ""), a, b)
    }
    e.each(e.int(0), e.int(cache.dim / cache.unit)) { unit in
      // in 16 lanes: the greatest of each of the unit's channels, then the least
      let blocks = (e.div(start, 16), e.div(e.add(end, 15), 16))
      let extremes = e.loop(blocks.0, blocks.1, carried: identities) { block, extremes in
        let positions = e.add(e.splat(e.truncate(e.mul(block, 16)), 16), e.iota(16))
        let inside = e.and(
          e.compare(positions, LLVMIntSGE, e.splat(e.truncate(start), 16)),
          e.compare(positions, LLVMIntSLT, e.splat(e.truncate(end), 16)))
        let bits = e.load(
          e.vector(e.i32, 16), e.at(keys, e.add(e.mul(block, 16 * cache.positionBytes), e.mul(unit, 64))))
        let channels =
          cache.element == .f32
          ? [e.bitcast(bits, floats)]
          : [e.bitcast(e.shl(bits, 16), floats), e.bitcast(e.and(bits, 0xffff_0000), floats)]
        return channels.enumerated().map { e.fmax(extremes[$0], e.select(inside, $1, lowest)) }
          + channels.enumerated().map { least(extremes[cache.unit + $0], e.select(inside, $1, highest)) }
      }
      for channel in 0..<cache.unit {
        let target = e.at(k.scratch(), e.mul(e.add(e.mul(unit, cache.unit), channel), 4))
        e.store(e.reduce(extremes[channel], e.fmax), target)
        e.store(e.reduce(extremes[cache.unit + channel], least), e.at(target, cache.dim * 4))
      }
    }
  }

  private func bound(_ k: KernelBuilder, row: LLVMValue, head: LLVMValue) -> LLVMValue {
    let e = k.e
    let floats = e.vector(e.f32, 16)
    let stride = rowBytes(shape.queryHeads * cache.dim, cache.element)
    let q = e.at(e.at(k.arena(0), e.mul(row, stride)), e.mul(head, cache.positionBytes))
    let greatest = k.scratch()
    let least = e.at(greatest, cache.dim * 4)
    let sum = e.loop(e.int(0), e.int(cache.dim), e.int(16), carried: [LLVMConstNull(floats)]) { channel, sum in
      let values = k.loadFloats(cache.element, q, channel, 16)
      let high = e.fmul(values, k.loadFloats(.f32, greatest, channel, 16))
      return [e.fadd(sum[0], e.fmax(high, e.fmul(values, k.loadFloats(.f32, least, channel, 16))))]
    }[0]
    return e.fmul(e.reduce(sum, e.fadd), e.float(scale))
  }
}
