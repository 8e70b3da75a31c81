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
  private var totalsAt: Int { listsAt + 2 * 256 }
  private var queriesAt: Int { totalsAt + Self.rowGroup * state.bytes }
  private var limitsAt: Int { queriesAt + (Self.rowGroup * queryBytes + 63) / 64 * 64 }
  private var statesAt: Int { limitsAt + Self.rowGroup * 4 }
  private var tileAt: Int { statesAt + Self.rowGroup * state.tileBytes }
  var scratchBytes: Int { tileAt + AttentionTile.scratchBytes }

  /// A tile of rows, over whole groups and over a last one of up to 16 keys.
  private struct TileFunction {
    let rows: Int
    let whole, short: LLVMValue
  }
  private struct Helpers {
    let tiles: [TileFunction]
    let pack, fetch, merge: LLVMValue
  }
  /// What one item works on: keys `first ..< end` of a head; `end` may differ from row group to row group.
  private struct Item {
    let sequence: KernelBuilder.Sequence
    let head: LLVMValue
    let part: LLVMValue
    let reader: SetReader
    let keys, values: LLVMValue
    let firstKey: LLVMValue
  }

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let sizes = e.target.hasBF16Dot ? [6, 4, 2, 1] : [4, 2, 1]
    func tile(_ rows: Int, keys: Int) -> LLVMValue {
      AttentionTile(
        dim: cache.dim, dot: dense.dot, element: cache.element, scale: dense.scale, keys: keys, fetchesNextGroup: false
      ).emit(e, rows: rows, name: "\(name)_tile\(rows)x\(keys)")
    }
    let helpers = Helpers(
      tiles: sizes.map { TileFunction(rows: $0, whole: tile($0, keys: 64), short: tile($0, keys: 16)) },
      pack: pack.emitPack(e, name: "\(name)_pack"), fetch: pack.emitFetch(e, name: "\(name)_fetch"),
      merge: AttentionMerge(dim: cache.dim).emit(e, name: "\(name)_merge"))

    let parts = GatherSplit(kernel: self).parts(k, words: [k.argument(3), k.argument(4)])
    let items = e.mul(e.mul(k.rows(.sequences), cache.heads), parts)
    let (low, high) = k.share(of: items)
    e.each(low, high) { number in
      let current = item(k, number, parts)
      let following = item(k, e.minimum(e.add(number, 1), e.add(high, -1)), parts)
      let rows = e.mul(current.sequence.rows, group)
      let isLast = e.compare(e.add(number, 1), LLVMIntEQ, high)
      let end = e.select(
        e.compare(parts, LLVMIntEQ, e.int(1)), current.reader.keys(e), e.add(current.firstKey, Int(DUSTIN_CHUNK)))
      e.each(e.int(0), rows, e.int(Self.rowGroup)) { first in
        let last = e.minimum(rows, e.add(first, Self.rowGroup))
        // the last row's keys bound those of the row group
        let keys = e.minimum(end, current.reader.limit(e, token: e.div(e.add(last, -1), group)))
        begin(k, current, first, last)
        e.each(current.firstKey, keys, e.int(Int(DUSTIN_CHUNK))) { firstKey in
          chunk(k, current, following, isLast, firstKey, keys, first, last, helpers)
        }
        e.each(first, last) { row in finish(k, current, row, first, parts, keys) }
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

  /// Copies the queries of a row group side by side and clears its totals.
  private func begin(_ k: KernelBuilder, _ item: Item, _ first: LLVMValue, _ last: LLVMValue) {
    let e = k.e
    let (q, scratch) = (k.arena(0), k.scratch())
    e.each(first, last) { row in
      let slot = e.sub(row, first)
      let (token, queryHead) = place(e, item, row)
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
  private func chunk(
    _ k: KernelBuilder, _ item: Item, _ following: Item, _ isLast: LLVMValue, _ firstKey: LLVMValue,
    _ end: LLVMValue, _ first: LLVMValue, _ last: LLVMValue, _ helpers: Helpers
  ) {
    let e = k.e
    let scratch = k.scratch()
    let (limits, states) = (e.at(scratch, limitsAt), e.at(scratch, statesAt))
    let (list, nextList) = (e.at(scratch, listsAt), e.at(scratch, listsAt + 256))
    e.each(first, last) { row in
      let slot = e.sub(row, first)
      let limit = e.sub(item.reader.limit(e, token: e.div(row, group)), firstKey)
      e.store(e.truncate(limit), e.at(limits, e.mul(slot, 4)))
      state.begin(e, e.at(states, e.mul(slot, state.tileBytes)))
    }
    let most = e.minimum(e.sub(end, firstKey), e.int(Int(DUSTIN_CHUNK)))
    e.each(e.int(0), most, e.int(Int(DUSTIN_GROUP))) { key in
      let left = e.sub(most, key)
      let short = e.compare(left, LLVMIntSLE, e.int(Int(DUSTIN_BLOCK)))
      let number = e.add(firstKey, key)
      item.reader.list(e, from: number, to: list)
      e.call(
        helpers.pack, GatherPack.packParameters(e),
        [item.keys, item.values, list, e.select(short, e.int(1), e.int(4)), scratch])

      // What comes next: more than a few keys of this item, else the first ones of the next.
      let next = e.add(number, Int(DUSTIN_GROUP))
      let stays = e.compare(e.add(next, Int(DUSTIN_BLOCK)), LLVMIntSLT, end)
      let fetches = e.select(stays, e.int(64), e.select(isLast, e.int(0), e.int(64)))
      e.ifTrue(stays) {
        item.reader.list(e, from: next, to: nextList)
      } else: {
        following.reader.list(e, from: following.firstKey, to: nextList)
      }
      let (nextKeys, nextValues) = (
        e.select(stays, item.keys, following.keys), e.select(stays, item.values, following.values)
      )
      let rows = e.sub(last, first)
      var slot = e.int(0)
      for tile in helpers.tiles {
        slot =
          e.loop(slot, e.add(rows, 1 - tile.rows), e.int(tile.rows), carried: [slot]) { slot, _ in
            let end = e.add(slot, tile.rows)
            e.call(
              helpers.fetch, GatherPack.fetchParameters(e),
              [
                nextKeys, nextValues, nextList, e.div(e.mul(slot, fetches), rows), e.div(e.mul(end, fetches), rows),
              ])
            let arguments = [
              e.at(e.at(scratch, queriesAt), e.mul(slot, queryBytes)), e.at(limits, e.mul(slot, 4)), scratch,
              e.at(scratch, pack.groupBytes), key, e.int(1), e.at(states, e.mul(slot, state.tileBytes)),
              e.at(scratch, tileAt),
            ]
            e.ifTrue(short) {
              e.call(tile.short, AttentionTile.parameters(e), arguments)
            } else: {
              e.call(tile.whole, AttentionTile.parameters(e), arguments)
            }
            return [end]
          }[0]
      }
    }
    e.each(first, last) { row in
      let slot = e.sub(row, first)
      let result = e.at(states, e.mul(slot, state.tileBytes))
      state.end(e, result)
      let total = e.at(e.at(scratch, totalsAt), e.mul(slot, state.bytes))
      e.call(helpers.merge, AttentionMerge.parameters(e), [total, result])
    }
  }

  /// The row's result, or its part of one.
  private func finish(
    _ k: KernelBuilder, _ item: Item, _ row: LLVMValue, _ first: LLVMValue, _ parts: LLVMValue, _ keys: LLVMValue
  ) {
    let e = k.e
    let total = e.at(e.at(k.scratch(), totalsAt), e.mul(e.sub(row, first), state.bytes))
    let (token, queryHead) = place(e, item, row)
    e.ifTrue(e.compare(parts, LLVMIntEQ, e.int(1))) {
      let y = e.at(
        e.at(k.arena(5), e.mul(token, rowBytes(dense.queryHeads * cache.dim, dense.output))),
        e.mul(queryHead, cache.dim * dense.output.byteCount))
      state.finish(k, total, to: y, dense.output)
    } else: {
      let place = e.add(e.mul(e.add(e.mul(token, dense.queryHeads), queryHead), parts), item.part)
      state.copy(e, from: total, to: e.at(k.field(\.partials), e.mul(place, state.bytes)))
    }
  }
}

/// Whether items are split over chunks of keys: only when the heads of all sequences cannot keep the threads evenly busy.
struct GatherSplit {
  let kernel: GatherAttendKernel

  /// Parts of every (sequence, KV head): 1, or the most chunks that any of them has; there are no more of those than
  /// dense attention has. A part may be empty.
  func parts(_ k: KernelBuilder, words: [LLVMValue]) -> LLVMValue {
    let e = k.e
    let heads = kernel.dense.cache.heads
    let most = e.loop(e.int(0), k.rows(.sequences), carried: [e.int(1)]) { index, most in
      let s = k.sequence(index)
      return e.loop(e.int(0), e.int(kernel.set.planes), carried: most) { head, most in
        [e.maximum(most[0], SetReader(e, kernel.set, s, head: head, words: words).chunks(e))]
      }
    }[0]
    let items = e.mul(k.rows(.sequences), heads)
    let threads = k.count(\.threads)
    let uneven = e.compare(e.sub(items, e.mul(e.div(items, threads), threads)), LLVMIntNE, e.int(0))
    let few = e.compare(items, LLVMIntSLT, e.mul(threads, 4))
    return e.select(uneven, e.select(few, most, e.int(1)), e.int(1))
  }
}

/// Merges the chunks that `GatherAttendKernel` left; nothing to do where it did not split them.
///
///     for (row, head) in my rows x heads: total = fold merge over the row's chunks, ascending; out = total.o / total.l
struct GatherMergeKernel: Kernel, Hashable {
  let attend: GatherAttendKernel

  private var cache: CacheShape { attend.dense.cache }
  private var state: AttentionState { attend.dense.state }
  var name: String {
    "gather_merge_\(attend.set.name)_h\(attend.dense.queryHeads)_\(cache.name)_\(attend.dense.output.rawValue)"
  }
  let argumentNames = ["set", "set_per_position", "out"]
  var scratchBytes: Int { state.bytes }

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let merge = AttentionMerge(dim: cache.dim).emit(e, name: "\(name)_step")
    let (queryHeads, output) = (attend.dense.queryHeads, attend.dense.output)
    let words = [k.argument(0), k.argument(1)]
    let (out, total) = (k.arena(2), k.scratch())
    let parts = GatherSplit(kernel: attend).parts(k, words: words)
    e.ifTrue(e.compare(parts, LLVMIntSGT, e.int(1))) {
      let (low, high) = k.share(of: e.mul(k.rows(.tokens), queryHeads))
      e.each(e.int(0), k.rows(.sequences)) { index in
        let s = k.sequence(index)
        let first = e.maximum(low, e.mul(s.row0, queryHeads))
        let last = e.minimum(high, e.mul(e.add(s.row0, s.rows), queryHeads))
        e.each(first, last) { item in
          let row = e.div(item, queryHeads)
          let queryHead = e.sub(item, e.mul(row, queryHeads))
          let head = e.div(queryHead, attend.dense.group)
          let chunks = SetReader(e, attend.set, s, head: head, words: words).chunks(e)
          state.clear(e, total)
          e.each(e.int(0), chunks) { chunk in
            let partial = e.at(k.field(\.partials), e.mul(e.add(e.mul(item, parts), chunk), state.bytes))
            e.call(merge, AttentionMerge.parameters(e), [total, partial])
          }
          let y = e.at(
            e.at(out, e.mul(row, rowBytes(queryHeads * cache.dim, output))),
            e.mul(queryHead, cache.dim * output.byteCount))
          state.finish(k, total, to: y, output)
        }
      }
    }
  }
}
