import CDustin
import CLLVM

/// Where gathered keys and values come from.
enum GatherSource: String, Hashable {
  /// Regions of rows: a position's keys lie side by side.
  case rows
  /// Packed regions: a position's keys lie 64 bytes apart, but 16 consecutive ones can be copied as they lie.
  case packed
}

/// Brings the keys and values of listed positions into the order of packed blocks: keys [block][D/u][16][u],
/// values [block][16/u][D][u].
struct GatherPack {
  let cache: CacheShape
  let source: GatherSource

  private var blockBytes: Int { Int(DUSTIN_BLOCK) * cache.positionBytes }
  /// Bytes that 64 keys take; the values follow at this distance.
  var groupBytes: Int { Int(DUSTIN_GROUP) * cache.positionBytes }

  /// `pack(keys, values, list, blocks, out, lines, count)`: the first `blocks` * 16 of the listed positions (i32); `keys`
  /// and `values` are a head's start in its regions. Meanwhile the first `count` addresses of `lines` are fetched.
  static func packParameters(_ e: Emitter) -> [LLVMType] {
    [e.pointer, e.pointer, e.pointer, e.i64, e.pointer, e.pointer, e.i64]
  }

  func emitPack(_ e: Emitter, name: String) -> LLVMValue {
    e.define(name, Self.packParameters(e)) { p in
      let (keys, values, list, out) = (p[0], p[1], p[2], p[4])
      e.each(e.int(0), p[3]) { block in
        /// Half a block's share of the lines.
        func fetch(_ half: Int) {
          let number = e.add(e.mul(block, 2), half)
          let (first, last) = (e.mul(number, p[6]), e.mul(e.add(number, 1), p[6]))
          e.each(e.lshr(first, 3), e.lshr(last, 3)) { e.prefetch(e.loadPointer(e.at(p[5], e.mul($0, 8)))) }
        }
        let entries = e.at(list, e.mul(block, Int(DUSTIN_BLOCK) * 4))
        let keysOut = e.at(out, e.mul(block, blockBytes))
        let valuesOut = e.at(keysOut, groupBytes)
        switch source {
        case .rows:
          let rows = (0..<Int(DUSTIN_BLOCK)).map { e.mul(e.loadInt32(entries, $0 * 4), cache.rowStride) }
          fetch(0)
          packKeys(e, rows.map { e.at(keys, $0) }, keysOut)
          fetch(1)
          packValues(e, rows.map { e.at(values, $0) }, valuesOut)
        case .packed:
          fetch(0)
          fetch(1)
          let first = e.loadInt32(entries)
          e.ifTrue(isRun(e, entries, first)) {
            let from = e.mul(first, cache.positionBytes)
            for (source, target) in [(keys, keysOut), (values, valuesOut)] {
              copy(e, e.at(source, from), target, bytes: blockBytes)
            }
          } else: {
            pickKeys(e, entries, keys, keysOut)
            pickValues(e, entries, values, valuesOut)
          }
        }
      }
    }
  }

  /// Cache lines of a group's keys and values, wherever they lie.
  var lineCount: Int { Int(DUSTIN_GROUP) * 2 * lines(cache.positionBytes).count }

  /// `lines(keys, values, list, out)`: where the lines of 64 listed positions lie, `lineCount` addresses (i64).
  static func linesParameters(_ e: Emitter) -> [LLVMType] { [e.pointer, e.pointer, e.pointer, e.pointer] }

  func emitLines(_ e: Emitter, name: String) -> LLVMValue {
    e.define(name, Self.linesParameters(e)) { p in
      let (keys, values, list) = (p[0], p[1], p[2])
      let longs = e.vector(e.i64, 8)
      func splat(_ p: LLVMValue) -> LLVMValue { e.splat(LLVMBuildPtrToInt(e.builder, p, e.i64, ""), 8) }
      let perPosition = lines(cache.positionBytes)
      e.each(e.int(0), e.int(Int(DUSTIN_GROUP) / 8)) { eight in
        let listed = e.load(e.vector(e.i32, 8), e.at(list, e.mul(eight, 32)))
        let positions: LLVMValue = LLVMBuildZExt(e.builder, listed, longs, "")
        let out = e.at(p[3], e.mul(eight, 2 * perPosition.count * 64))
        func store(_ addresses: LLVMValue, _ number: Int) { e.store(addresses, e.at(out, number * 64)) }
        func share(_ stride: Int) {
          let offsets = e.mul(positions, stride)
          for (index, line) in perPosition.enumerated() {
            store(e.add(e.add(splat(keys), offsets), line), 2 * index)
            store(e.add(e.add(splat(values), offsets), line), 2 * index + 1)
          }
        }
        switch source {
        case .rows: share(cache.rowStride)
        case .packed:
          let entries = e.at(list, e.mul(e.div(eight, 2), 64))
          e.ifTrue(isRun(e, entries, e.loadInt32(entries))) {
            share(cache.positionBytes)
          } else: {
            // a value's line of 16 lanes at a time, as far as the list reaches, then the key's first units
            let block = e.mul(e.lshr(positions, 4), blockBytes)
            let slot = e.and(positions, 15)
            let value = e.add(e.add(splat(values), block), e.mul(e.div(slot, cache.unit), cache.dim * 4))
            let key = e.add(e.add(splat(keys), block), e.mul(slot, 4))
            let valueLines = min(cache.dim / 16, 2 * perPosition.count)
            for number in 0..<(2 * perPosition.count) {
              let line = number < valueLines ? value : key
              store(e.add(line, (number < valueLines ? number : number - valueLines) * 64), number)
            }
          }
        }
      }
    }
  }

  /// Offsets into `bytes` that touch each of their cache lines, wherever they start.
  private func lines(_ bytes: Int) -> [Int] {
    Array(stride(from: 0, to: bytes, by: 64)) + (bytes % 64 == 0 ? [] : [bytes - 1])
  }

  // MARK: rows

  /// 16 rows of a key each become units of 16 keys: transposes of 16 x 16 lanes of 32 bits.
  private func packKeys(_ e: Emitter, _ rows: [LLVMValue], _ out: LLVMValue) {
    let lanes = cache.positionBytes / 4
    let whole = lanes / 16 * 16
    e.each(e.int(0), e.int(whole), e.int(16)) { lane in
      let offset = e.mul(lane, 4)
      let columns = transpose(e, rows.map { e.load(e.vector(e.i32, 16), e.at($0, offset)) })
      let target = e.at(out, e.mul(lane, 64))
      for (index, column) in columns.enumerated() { e.store(column, e.at(target, index * 64)) }
    }
    if whole < lanes {  // 8 lanes are left
      let padded = rows.map { row -> LLVMValue in
        let half = e.load(e.vector(e.i32, 8), e.at(row, whole * 4))
        return e.shuffle(half, half, Array(0..<16))
      }
      for (index, column) in transpose(e, padded)[..<(lanes - whole)].enumerated() {
        e.store(column, e.at(out, (whole + index) * 64))
      }
    }
  }

  /// [16][16] to [16][16]: pairs of rows, pairs of pairs, then 128-bit quarters.
  private func transpose(_ e: Emitter, _ rows: [LLVMValue]) -> [LLVMValue] {
    func inQuarters(_ pattern: [Int]) -> [Int] {
      (0..<4).flatMap { quarter in pattern.map { $0 < 4 ? quarter * 4 + $0 : 16 + quarter * 4 + $0 - 4 } }
    }
    func quarters(_ pattern: [Int]) -> [Int] {
      pattern.flatMap { q in (0..<4).map { q < 4 ? q * 4 + $0 : 16 + (q - 4) * 4 + $0 } }
    }
    let (low, high) = (inQuarters([0, 4, 1, 5]), inQuarters([2, 6, 3, 7]))
    let (first, second) = (inQuarters([0, 1, 4, 5]), inQuarters([2, 3, 6, 7]))
    // after two steps, quad[g][c] holds columns c, 4 + c, 8 + c, 12 + c of rows 4g … 4g+3, a quarter each
    let quads = (0..<4).map { g -> [LLVMValue] in
      let r = Array(rows[(4 * g)..<(4 * g + 4)])
      let (l0, h0) = (e.shuffle(r[0], r[1], low), e.shuffle(r[0], r[1], high))
      let (l1, h1) = (e.shuffle(r[2], r[3], low), e.shuffle(r[2], r[3], high))
      return [e.shuffle(l0, l1, first), e.shuffle(l0, l1, second), e.shuffle(h0, h1, first), e.shuffle(h0, h1, second)]
    }
    var columns = Array(repeating: rows[0], count: 16)
    let (even, odd) = (quarters([0, 2, 4, 6]), quarters([1, 3, 5, 7]))
    for c in 0..<4 {
      let (a, b) = (e.shuffle(quads[0][c], quads[1][c], even), e.shuffle(quads[2][c], quads[3][c], even))
      let (d, f) = (e.shuffle(quads[0][c], quads[1][c], odd), e.shuffle(quads[2][c], quads[3][c], odd))
      columns[c] = e.shuffle(a, b, even)
      columns[8 + c] = e.shuffle(a, b, odd)
      columns[4 + c] = e.shuffle(d, f, even)
      columns[12 + c] = e.shuffle(d, f, odd)
    }
    return columns
  }

  /// 16 rows of a value each: as they are, or pairs of rows interleaved.
  private func packValues(_ e: Emitter, _ rows: [LLVMValue], _ out: LLVMValue) {
    guard cache.element == .bf16 else {
      e.each(e.int(0), e.int(cache.positionBytes), e.int(64)) { offset in
        for (index, row) in rows.enumerated() {
          let line = e.load(e.vector(e.f32, 16), e.at(row, offset))
          e.store(line, e.at(out, e.add(offset, index * cache.positionBytes)))
        }
      }
      return
    }
    func interleave(_ offset: LLVMValue, lanes: Int) {
      let mixed = (0..<2 * lanes).map { $0 % 2 * lanes + $0 / 2 }
      for pair in 0..<8 {
        let (a, b) = (e.at(rows[2 * pair], offset), e.at(rows[2 * pair + 1], offset))
        let (x, y) = (e.load(e.vector(e.i16, lanes), a, align: 2), e.load(e.vector(e.i16, lanes), b, align: 2))
        let target = e.at(out, e.add(e.mul(offset, 2), pair * cache.dim * 4))
        for half in 0..<2 {
          let part = Array(mixed[(half * lanes)..<((half + 1) * lanes)])
          e.store(e.shuffle(x, y, part), e.at(target, half * lanes * 2), align: 2)
        }
      }
    }
    let whole = cache.dim / 32 * 64
    e.each(e.int(0), e.int(whole), e.int(64)) { interleave($0, lanes: 32) }
    if whole < cache.positionBytes { interleave(e.int(whole), lanes: 16) }
  }

  // MARK: packed blocks

  /// Whether a block's positions are those of one packed block.
  private func isRun(_ e: Emitter, _ entries: LLVMValue, _ first: LLVMValue) -> LLVMValue {
    let listed = e.load(e.vector(e.i32, 16), entries)
    let start = e.splat(e.truncate(e.and(first, ~15)), 16)
    let equal = e.bitcast(e.compare(listed, LLVMIntEQ, e.add(start, e.iota(16))), e.i16)
    return e.compare(equal, LLVMIntEQ, LLVMConstAllOnes(e.i16))
  }

  private func copy(_ e: Emitter, _ source: LLVMValue, _ target: LLVMValue, bytes: Int) {
    e.each(e.int(0), e.int(bytes), e.int(64)) { offset in
      e.store(e.load(e.vector(e.i32, 16), e.at(source, offset)), e.at(target, offset))
    }
  }

  private func pickKeys(_ e: Emitter, _ entries: LLVMValue, _ keys: LLVMValue, _ out: LLVMValue) {
    e.each(e.int(0), e.int(Int(DUSTIN_BLOCK))) { slot in
      let key = cache.key(e, keys, e.loadInt32(e.at(entries, e.mul(slot, 4))))
      let target = e.at(out, e.mul(slot, 4))
      e.each(e.int(0), e.int(cache.dim / cache.unit)) { unit in
        let offset = e.mul(unit, 64)
        e.store(e.load(e.i32, e.at(key, offset)), e.at(target, offset))
      }
    }
  }

  private func pickValues(_ e: Emitter, _ entries: LLVMValue, _ values: LLVMValue, _ out: LLVMValue) {
    let unit = cache.unit
    let integers = e.vector(e.i32, 16)
    e.each(e.int(0), e.int(Int(DUSTIN_BLOCK) / unit)) { row in
      // the row of values that holds each slot's, and how far its bits stand to the left
      let sources = (0..<unit).map { half -> (LLVMValue, LLVMValue) in
        let position = e.loadInt32(e.at(entries, e.mul(e.add(e.mul(row, unit), half), 4)))
        let inUnit = e.rem(position, unit)
        let row = e.at(cache.value(e, values, position), e.mul(inUnit, -cache.element.byteCount))
        return (row, e.truncate(e.mul(inUnit, 16)))
      }
      let target = e.at(out, e.mul(row, cache.dim * 4))
      e.each(e.int(0), e.int(cache.dim * 4), e.int(64)) { offset in
        var halves = sources.map { source, shift -> LLVMValue in
          let lanes = e.load(integers, e.at(source, offset))
          return unit == 1 ? lanes : LLVMBuildLShr(e.builder, lanes, e.splat(shift, 16), "")
        }
        if unit == 2 { halves = [LLVMBuildOr(e.builder, e.and(halves[0], 0xffff), e.shl(halves[1], 16), "")] }
        e.store(halves[0], e.at(target, offset))
      }
    }
  }
}
