import CDustin
import CLLVM

/// Shape and addresses of cache regions. Packed: blocks of 16 positions, keys [D/u][16][u], values [16/u][D][u], each
/// head by itself. Rows: [position][head][D].
struct CacheShape: Hashable {
  let heads: Int
  let dim: Int
  let element: FloatElement

  var unit: Int { element == .bf16 ? 2 : 1 }
  var positionBytes: Int { dim * element.byteCount }
  var name: String { "\(heads)x\(dim)_\(element.rawValue)" }

  /// Start of a head: `region` is the sum of bytes per position of the regions before.
  func head(_ e: Emitter, _ sequence: KernelBuilder.Sequence, region: LLVMValue, head: LLVMValue) -> LLVMValue {
    e.at(sequence.cache, e.mul(sequence.capacity, e.add(region, e.mul(head, positionBytes))))
  }
  private func block(_ e: Emitter, _ head: LLVMValue, _ position: LLVMValue) -> LLVMValue {
    e.at(head, e.mul(e.div(position, Int(DUSTIN_BLOCK)), Int(DUSTIN_BLOCK) * positionBytes))
  }
  /// Address of a key's unit 0; units are 64 bytes apart.
  func key(_ e: Emitter, _ head: LLVMValue, _ position: LLVMValue) -> LLVMValue {
    e.at(block(e, head, position), e.mul(e.rem(position, Int(DUSTIN_BLOCK)), 4))
  }
  /// Address of a value's element 0; elements are 4 bytes apart.
  func value(_ e: Emitter, _ head: LLVMValue, _ position: LLVMValue) -> LLVMValue {
    let inBlock = e.rem(position, Int(DUSTIN_BLOCK))
    let unitRow = e.at(block(e, head, position), e.mul(e.div(inBlock, unit), dim * 4))
    return e.at(unitRow, e.mul(e.rem(inBlock, unit), element.byteCount))
  }

  /// Writes one row (`dim` values of `source`'s element type) as the key or the value of a position.
  func write(
    _ k: KernelBuilder, keys: Bool, _ row: LLVMValue, _ source: FloatElement, head: LLVMValue, position: LLVMValue
  ) {
    let e = k.e
    let target = keys ? key(e, head, position) : value(e, head, position)
    e.each(e.int(0), e.int(dim)) { d in
      let value = k.loadFloats(source, row, d, 1)
      // keys: the unit's 32-bit lane, then the half inside it
      let offset =
        keys ? e.add(e.mul(e.div(d, unit), 64), e.mul(e.rem(d, unit), element.byteCount)) : e.mul(d, 4)
      k.storeFloats(element, value, e.at(target, offset), e.int(0))
    }
  }

  /// Bytes from one position to the next in a region of rows.
  var rowStride: Int { heads * positionBytes }
  /// Start of a head in a region of rows.
  func rows(_ e: Emitter, _ sequence: KernelBuilder.Sequence, region: LLVMValue, head: LLVMValue) -> LLVMValue {
    e.at(e.at(sequence.cache, e.mul(sequence.capacity, region)), e.mul(head, positionBytes))
  }
  /// The same for a region of rows; `head` is what `rows` gives. Eight at a time: that many are rounded as one is.
  func writeRow(
    _ k: KernelBuilder, _ row: LLVMValue, _ source: FloatElement, head: LLVMValue, position: LLVMValue
  ) {
    let target = k.e.at(head, k.e.mul(position, rowStride))
    k.e.each(k.e.int(0), k.e.int(dim), k.e.int(8)) { d in
      k.storeFloats(element, k.loadFloats(source, row, d, 8), target, d)
    }
  }
}

/// Where an append writes: the packed regions of keys and values and, when the module keeps both layouts, their rows.
private struct AppendTarget {
  let cache: CacheShape
  let sequence: KernelBuilder.Sequence
  let position: LLVMValue
  /// Regions: packed keys and values, then rows of keys and values, or none.
  let regions: [LLVMValue]

  func write(_ k: KernelBuilder, keys: Bool, _ row: LLVMValue, _ source: FloatElement, head: LLVMValue) {
    let packed = cache.head(k.e, sequence, region: regions[keys ? 0 : 1], head: head)
    cache.write(k, keys: keys, row, source, head: packed, position: position)
    if regions.count == 4 {
      let rows = cache.rows(k.e, sequence, region: regions[keys ? 2 : 3], head: head)
      cache.writeRow(k, row, source, head: rows, position: position)
    }
  }
}

extension KernelBuilder {
  /// Runs `body` for each of this thread's token rows: the row in the step, its sequence and its position there.
  func tokenRows(_ body: (_ row: LLVMValue, _ sequence: Sequence, _ position: LLVMValue) -> Void) {
    let (low, high) = share(of: rows(.tokens))
    e.each(e.int(0), rows(.sequences)) { index in
      let s = sequence(index)
      let first = e.maximum(low, s.row0)
      let last = e.minimum(high, e.add(s.row0, s.rows))
      e.each(first, last) { row in body(row, s, e.add(s.length, e.sub(row, s.row0))) }
    }
  }

  /// Fills cos and sin (f32[dim/2] each) of a position: the angle is one f32 product, as models are trained.
  func fillRotation(_ position: LLVMValue, freqs: LLVMValue, scale: Float, dim: Int, cos: LLVMValue, sin: LLVMValue) {
    let p: LLVMValue = LLVMBuildSIToFP(e.builder, position, e.f32, "")
    e.each(e.int(0), e.int(dim / 2), e.int(8)) { i in
      let offset = e.mul(i, 4)
      let angle = e.fmul(e.splat(p, 8), e.load(e.vector(e.f32, 8), e.at(freqs, offset)))
      let (c, s) = e.cosSin(angle)
      e.store(e.fmul(c, e.constant(Double(scale), like: c)), e.at(cos, offset))
      e.store(e.fmul(s, e.constant(Double(scale), like: s)), e.at(sin, offset))
    }
  }

  /// y = rotated x (f32[dim] to `element`).
  func rotate(_ x: LLVMValue, to y: LLVMValue, _ element: FloatElement, dim: Int, cos: LLVMValue, sin: LLVMValue) {
    e.each(e.int(0), e.int(dim / 2), e.int(8)) { i in
      let (c, s) = (loadFloats(.f32, cos, i, 8), loadFloats(.f32, sin, i, 8))
      let high = e.add(i, dim / 2)
      let (a, b) = (loadFloats(.f32, x, i, 8), loadFloats(.f32, x, high, 8))
      storeFloats(element, e.fsub(e.fmul(a, c), e.fmul(b, s)), y, i)
      storeFloats(element, e.fadd(e.fmul(b, c), e.fmul(a, s)), y, high)
    }
  }
}

/// q, k, v side by side: rotates q and k, writes q as rows and k, v into the cache.
///
///     for row in my rows: cos, sin of its position
///       for head of q: q1[row][head] = rotate(q)
///       for head of the cache: keys[position] = rotate(k); values[position] = v, in both layouts if there are two
struct RopeAppendKernel: Kernel, Hashable {
  let cache: CacheShape
  let queryHeads: Int
  let scale: Float
  let output: FloatElement
  let keepsRows: Bool

  var name: String {
    "rope_append_h\(queryHeads)_\(cache.name)_\(output.rawValue)_s\(scale)\(keepsRows ? "_rows" : "")"
  }
  var argumentNames: [String] {
    ["x", "positions", "freqs", "q", "keys", "values"] + (keepsRows ? ["key_rows", "value_rows"] : [])
  }
  var scratchBytes: Int { cache.dim * 8 }

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let dim = cache.dim
    let columns = (queryHeads + 2 * cache.heads) * dim
    let (x, positions, freqs, q) = (k.arena(0), k.arena(1), k.weights(2), k.arena(3))
    let regions = (4..<argumentNames.count).map(k.argument)
    let scratch = k.scratch()
    let (cos, sin, rotated) = (scratch, e.at(scratch, dim * 2), e.at(scratch, dim * 4))
    k.tokenRows { row, sequence, position in
      let target = AppendTarget(cache: cache, sequence: sequence, position: position, regions: regions)
      let angle = e.loadInt32(e.at(positions, e.mul(row, 4)))
      k.fillRotation(angle, freqs: freqs, scale: scale, dim: dim, cos: cos, sin: sin)
      let input = e.at(x, e.mul(row, rowBytes(columns, .f32)))
      let output = e.at(q, e.mul(row, rowBytes(queryHeads * dim, output)))
      e.each(e.int(0), e.int(queryHeads)) { h in
        let (from, to) = (e.at(input, e.mul(h, dim * 4)), e.at(output, e.mul(h, dim * self.output.byteCount)))
        k.rotate(from, to: to, self.output, dim: dim, cos: cos, sin: sin)
      }
      e.each(e.int(0), e.int(cache.heads)) { h in
        let key = e.at(input, e.mul(e.add(h, queryHeads), dim * 4))
        k.rotate(key, to: rotated, .f32, dim: dim, cos: cos, sin: sin)
        target.write(k, keys: true, rotated, .f32, head: h)
        target.write(k, keys: false, e.at(key, cache.heads * dim * 4), .f32, head: h)
      }
    }
  }
}

/// Rotary embedding alone.
///
///     for row in my rows: cos, sin of its position; for head: y[row][head] = rotate(x[row][head])
struct RopeKernel: Kernel, Hashable {
  let heads: Int
  let dim: Int
  let scale: Float
  let output: FloatElement

  var name: String { "rope_\(heads)x\(dim)_\(output.rawValue)_s\(scale)" }
  let argumentNames = ["x", "positions", "freqs", "out"]
  var scratchBytes: Int { dim * 4 }

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let (x, positions, freqs, out) = (k.arena(0), k.arena(1), k.weights(2), k.arena(3))
    let cos = k.scratch()
    let sin = e.at(cos, dim * 2)
    k.tokenRows { row, _, _ in
      let position = e.loadInt32(e.at(positions, e.mul(row, 4)))
      k.fillRotation(position, freqs: freqs, scale: scale, dim: dim, cos: cos, sin: sin)
      e.each(e.int(0), e.int(heads)) { h in
        let from = e.at(e.at(x, e.mul(row, rowBytes(heads * dim, .f32))), e.mul(h, dim * 4))
        let to = e.at(e.at(out, e.mul(row, rowBytes(heads * dim, output))), e.mul(h, dim * output.byteCount))
        k.rotate(from, to: to, output, dim: dim, cos: cos, sin: sin)
      }
    }
  }
}

/// Rows into the cache.
///
///     for row in my rows: for head: keys[position] = k[row][head]; values[position] = v[row][head], in both layouts
///     if there are two
struct AppendKernel: Kernel, Hashable {
  let cache: CacheShape
  let input: FloatElement
  let keepsRows: Bool

  var name: String { "append_\(cache.name)_\(input.rawValue)\(keepsRows ? "_rows" : "")" }
  var argumentNames: [String] { ["k", "v", "keys", "values"] + (keepsRows ? ["key_rows", "value_rows"] : []) }

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let rows = [k.arena(0), k.arena(1)]
    let regions = (2..<argumentNames.count).map(k.argument)
    let stride = rowBytes(cache.heads * cache.dim, input)
    k.tokenRows { row, sequence, position in
      let target = AppendTarget(cache: cache, sequence: sequence, position: position, regions: regions)
      e.each(e.int(0), e.int(cache.heads)) { h in
        for (index, isKeys) in [true, false].enumerated() {
          let source = e.at(e.at(rows[index], e.mul(row, stride)), e.mul(h, cache.dim * input.byteCount))
          target.write(k, keys: isKeys, source, input, head: h)
        }
      }
    }
  }
}
