import CDustin
import CLLVM

/// Causal attention through a set: what `AttendKernel` computes, over the keys of a `SetReader` instead of all.
///
///     for item in my (sequence, KV head[, chunk of 1024 keys]): for 96 rows: for chunk:
///       for group of 64 keys: pack them into scratch; for tile of rows: AttentionTile, fetching the next group's rows
///       total[row] = merge(total[row], the chunk's state)
///     out = total.o / total.l, or, where chunks are split over threads, partials[row][head][chunk] = total
///
/// Keys are numbered as `AttendKernel` numbers them if the set holds every position, and groups, chunks and merges start
/// at the same numbers: the bits are the same then.
struct GatherAttendKernel: Kernel, Hashable {
  let dense: AttendKernel
  let set: SetShape
  let source: GatherSource

  private var cache: CacheShape { dense.cache }
  private var state: AttentionState { dense.state }
  private var group: Int { dense.group }
  var name: String { "gather_\(source.rawValue)_\(set.name)_\(dense.name)" }
  let argumentNames = ["q", "keys", "values", "set", "set_per_position", "out"]

  private static let rowGroup = AttendKernel.rowGroup
  private var queryBytes: Int { cache.positionBytes }
  private var pack: GatherPack { GatherPack(cache: cache, source: source) }

  // one thread's scratch: packed keys and values, lists of positions, then a row group's totals, queries, limits, states
  private var listsAt: Int { 2 * pack.groupBytes }
  private var linesAt: Int { listsAt + 2 * 256 }
  private var totalsAt: Int { linesAt + (pack.lineCount + mostListed) * 8 }
  private var queriesAt: Int { totalsAt + Self.rowGroup * state.bytes }
  private var limitsAt: Int { queriesAt + (Self.rowGroup * queryBytes + 63) / 64 * 64 }
  private var statesAt: Int { limitsAt + Self.rowGroup * 4 }
  private var tileAt: Int { statesAt + Self.rowGroup * state.tileBytes }
  var scratchBytes: Int { tileAt + AttentionTile.scratchBytes }

  private func tile(keys: Int) -> AttentionTile {
    AttentionTile(
      dim: cache.dim, dot: dense.dot, element: cache.element, scale: dense.scale, keys: keys,
      fetch: keys == 64 ? .listed : .nothing)
  }
  /// Addresses that a tile fetches, on any target, rounded up to whole lines.
  private var mostListed: Int { CPUTarget.all.map { (tile(keys: 64).listedCount($0) + 7) / 8 * 8 }.max() ?? 0 }

  /// A tile of rows, over whole groups and over a last one of up to 16 keys.
  private struct TileFunction {
    let rows: Int
    let whole, short: LLVMValue
  }
  private struct Helpers {
    let tiles: [TileFunction]
    let pack, lines, merge: LLVMValue
  }
  /// A sequence's KV head, and where its keys begin: at the first one, or at a chunk's.
  private struct Item {
    let sequence: KernelBuilder.Sequence
    let head, part: LLVMValue
    let reader: SetReader
    let keys, values, firstKey: LLVMValue
  }
  /// An item's rows `first ..< last` over its keys up to `end`, and the item whose keys are fetched towards the end.
  private struct Pass {
    let item: Item
    let first, last, end: LLVMValue
    let following: Item
    /// Nothing follows.
    let isLast: LLVMValue
  }

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let sizes = e.target.tile.attentionRows
    func tile(_ rows: Int, keys: Int) -> LLVMValue {
      self.tile(keys: keys).emit(e, rows: rows, name: "\(name)_tile\(rows)x\(keys)")
    }
    let helpers = Helpers(
      tiles: sizes.map { TileFunction(rows: $0, whole: tile($0, keys: 64), short: tile($0, keys: 16)) },
      pack: pack.emitPack(e, name: "\(name)_pack"), lines: pack.emitLines(e, name: "\(name)_lines"),
      merge: AttentionMerge(dim: cache.dim).emit(e, name: "\(name)_merge"))

    let parts = GatherSplit(kernel: self).parts(k, words: [k.argument(3), k.argument(4)])
    // behind a group's lines stand harmless ones, which the last tile may reach
    let scratch: LLVMValue = LLVMBuildPtrToInt(e.builder, k.scratch(), e.i64, "")
    e.each(e.int(0), e.int(mostListed * 8), e.int(64)) { offset in
      e.store(e.splat(scratch, 8), e.at(e.at(k.scratch(), linesAt + pack.lineCount * 8), offset))
    }
    let items = e.mul(e.mul(k.rows(.sequences), cache.heads), parts)
    let (low, high) = k.share(of: items)
    e.each(low, high) { number in
      let current = item(k, number, parts)
      let following = item(k, e.minimum(e.add(number, 1), e.add(high, -1)), parts)
      let isLast = e.compare(e.add(number, 1), LLVMIntEQ, high)
      let rows = e.mul(current.sequence.rows, group)
      let end = e.select(
        e.compare(parts, LLVMIntEQ, e.int(1)), current.reader.keys(e), e.add(current.firstKey, Int(DUSTIN_CHUNK)))
      e.each(e.int(0), rows, e.int(Self.rowGroup)) { first in
        let last = e.minimum(rows, e.add(first, Self.rowGroup))
        // the last row's keys bound those of the row group
        let keys = e.minimum(end, current.reader.limit(e, token: e.div(e.add(last, -1), group)))
        let pass = Pass(item: current, first: first, last: last, end: keys, following: following, isLast: isLast)
        begin(k, pass)
        e.each(current.firstKey, keys, e.int(Int(DUSTIN_CHUNK))) { chunk(k, pass, $0, helpers) }
        e.each(first, last) { row in finish(k, pass, row, parts) }
      }
    }
  }

  private func item(_ k: KernelBuilder, _ number: LLVMValue, _ parts: LLVMValue) -> Item {
    let e = k.e
    let pair = e.div(number, parts)
    let index = e.div(pair, cache.heads)
    let s = k.sequence(index)
    let head = e.sub(pair, e.mul(index, cache.heads))
    let part = e.sub(number, e.mul(pair, parts))
    let starts = [k.argument(1), k.argument(2)].map { region in
      source == .rows
        ? cache.rows(e, s, region: region, head: head) : cache.head(e, s, region: region, head: head)
    }
    return Item(
      sequence: s, head: head, part: part,
      reader: SetReader(e, set, s, head: head, words: [k.argument(3), k.argument(4)]), keys: starts[0],
      values: starts[1], firstKey: e.mul(part, Int(DUSTIN_CHUNK)))
  }

  /// Row r of the item: its token's row of the step, and its query head.
  private func place(_ e: Emitter, _ item: Item, _ row: LLVMValue) -> (token: LLVMValue, queryHead: LLVMValue) {
    (e.add(item.sequence.row0, e.div(row, group)), e.add(e.mul(item.head, group), e.rem(row, group)))
  }

  /// Copies the queries of the rows side by side and clears their totals.
  private func begin(_ k: KernelBuilder, _ pass: Pass) {
    let e = k.e
    let (q, scratch) = (k.arena(0), k.scratch())
    e.each(pass.first, pass.last) { row in
      let slot = e.sub(row, pass.first)
      let (token, queryHead) = place(e, pass.item, row)
      let source = e.at(
        e.at(q, e.mul(token, rowBytes(dense.queryHeads * cache.dim, cache.element))), e.mul(queryHead, queryBytes))
      let target = e.at(e.at(scratch, queriesAt), e.mul(slot, queryBytes))
      e.each(e.int(0), e.int(queryBytes), e.int(32)) { b in
        e.store(e.load(e.vector(e.i32, 8), e.at(source, b)), e.at(target, b))
      }
      state.clear(e, e.at(e.at(scratch, totalsAt), e.mul(slot, state.bytes)))
    }
  }

  /// One chunk of at most 1024 keys, merged into the totals.
  private func chunk(_ k: KernelBuilder, _ pass: Pass, _ firstKey: LLVMValue, _ helpers: Helpers) {
    let e = k.e
    let scratch = k.scratch()
    let (limits, states) = (e.at(scratch, limitsAt), e.at(scratch, statesAt))
    e.each(pass.first, pass.last) { row in
      let slot = e.sub(row, pass.first)
      let limit = e.sub(pass.item.reader.limit(e, token: e.div(row, group)), firstKey)
      e.store(e.truncate(limit), e.at(limits, e.mul(slot, 4)))
      state.begin(e, e.at(states, e.mul(slot, state.tileBytes)))
    }
    let most = e.minimum(e.sub(pass.end, firstKey), e.int(Int(DUSTIN_CHUNK)))
    e.each(e.int(0), most, e.int(Int(DUSTIN_GROUP))) { key in
      let number = e.add(firstKey, key)
      pass.item.reader.list(e, from: number, to: e.at(scratch, listsAt))
      e.ifTrue(e.compare(e.sub(most, key), LLVMIntSLE, e.int(Int(DUSTIN_BLOCK)))) {
        let nothing = (lines: scratch, count: e.int(0))
        packKeys(k, pass, blocks: 1, nothing, helpers)
        tiles(k, pass, key, helpers.tiles.map { ($0.rows, $0.short) }, nothing, each: 0)
      } else: {
        let lines = e.at(scratch, linesAt)
        let isNothing = listNext(k, pass, number, lines, helpers)
        // Every tile fetches its share; what few tiles leave, the packing does.
        let listed = tile(keys: Int(DUSTIN_GROUP)).listedCount(e.target)
        let most = helpers.tiles[0].rows
        let tileCount = e.div(e.add(e.sub(pass.last, pass.first), most - 1), most)
        let left = e.maximum(e.sub(e.int(pack.lineCount), e.mul(tileCount, listed)), e.int(0))
        packKeys(k, pass, blocks: 4, (lines, e.select(isNothing, e.int(0), left)), helpers)
        let done = e.select(isNothing, e.int(pack.lineCount), left)
        tiles(k, pass, key, helpers.tiles.map { ($0.rows, $0.whole) }, (lines, done), each: listed)
      }
    }
    e.each(pass.first, pass.last) { row in
      let slot = e.sub(row, pass.first)
      let result = e.at(states, e.mul(slot, state.tileBytes))
      state.end(e, result)
      let total = e.at(e.at(scratch, totalsAt), e.mul(slot, state.bytes))
      e.call(helpers.merge, AttentionMerge.parameters(e), [total, result])
    }
  }

  /// Lists the lines of what comes behind the group at key `number`: more than a few keys of the item, else the first
  /// ones of the next, since a few keys take too little time to fetch anything meanwhile.
  /// - Returns: whether nothing needs fetching.
  private func listNext(
    _ k: KernelBuilder, _ pass: Pass, _ number: LLVMValue, _ lines: LLVMValue, _ helpers: Helpers
  ) -> LLVMValue {
    let e = k.e
    let list = e.at(k.scratch(), listsAt + 256)
    let next = e.add(number, Int(DUSTIN_GROUP))
    let stays = e.compare(e.add(next, Int(DUSTIN_BLOCK)), LLVMIntSLT, pass.end)
    e.ifTrue(stays) {
      pass.item.reader.list(e, from: next, to: list)
    } else: {
      pass.following.reader.list(e, from: pass.following.firstKey, to: list)
    }
    let keys = e.select(stays, pass.item.keys, pass.following.keys)
    let values = e.select(stays, pass.item.values, pass.following.values)
    e.call(helpers.lines, GatherPack.linesParameters(e), [keys, values, list, lines])
    return e.select(stays, LLVMConstNull(e.i1), pass.isLast)
  }

  private func packKeys(
    _ k: KernelBuilder, _ pass: Pass, blocks: Int, _ fetch: (lines: LLVMValue, count: LLVMValue), _ helpers: Helpers
  ) {
    let e = k.e
    let list = e.at(k.scratch(), listsAt)
    e.call(
      helpers.pack, GatherPack.packParameters(e),
      [pass.item.keys, pass.item.values, list, e.int(blocks), k.scratch(), fetch.lines, fetch.count])
  }

  /// The packed keys, `key` of the chunk and the following ones, for all rows: the largest tiles first, then at most one
  /// of each smaller size. Every tile fetches `each` lines behind the first `fetch.count`.
  private func tiles(
    _ k: KernelBuilder, _ pass: Pass, _ key: LLVMValue, _ functions: [(rows: Int, function: LLVMValue)],
    _ fetch: (lines: LLVMValue, count: LLVMValue), each: Int
  ) {
    let e = k.e
    let scratch = k.scratch()
    let rows = e.sub(pass.last, pass.first)
    var carried = [e.int(0), fetch.count]
    for (size, function) in functions {
      carried = e.loop(carried[0], e.add(rows, 1 - size), e.int(size), carried: carried) { slot, carried in
        let line = e.minimum(carried[1], e.int(pack.lineCount))
        e.call(
          function, AttentionTile.parameters(e),
          [
            e.at(e.at(scratch, queriesAt), e.mul(slot, queryBytes)), e.at(e.at(scratch, limitsAt), e.mul(slot, 4)),
            scratch, e.at(scratch, pack.groupBytes), key, e.int(1),
            e.at(e.at(scratch, statesAt), e.mul(slot, state.tileBytes)), e.at(scratch, tileAt),
            e.at(fetch.lines, e.mul(line, 8)),
          ])
        return [e.add(slot, size), e.add(carried[1], each)]
      }
    }
  }

  /// The row's result, or its part of one.
  private func finish(_ k: KernelBuilder, _ pass: Pass, _ row: LLVMValue, _ parts: LLVMValue) {
    let e = k.e
    let total = e.at(e.at(k.scratch(), totalsAt), e.mul(e.sub(row, pass.first), state.bytes))
    let (token, queryHead) = place(e, pass.item, row)
    e.ifTrue(e.compare(parts, LLVMIntEQ, e.int(1))) {
      let y = e.at(
        e.at(k.arena(5), e.mul(token, rowBytes(dense.queryHeads * cache.dim, dense.output))),
        e.mul(queryHead, cache.dim * dense.output.byteCount))
      state.finish(k, total, to: y, dense.output)
    } else: {
      let place = e.add(e.mul(e.add(e.mul(token, dense.queryHeads), queryHead), parts), pass.item.part)
      state.copy(e, from: total, to: e.at(k.field(\.partials), e.mul(place, state.bytes)))
    }
  }
}
