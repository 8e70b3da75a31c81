import CDustin
import CLLVM

/// Causal attention over the packed cache. Row r of a KV head is query head `kv * group + r % group` of token `r / group`.
///
///     few rows:  for item in my (sequence, KV head, chunk of 1024 keys): for tile of rows:
///                  (m, l, o) = flash(tile, chunk);  partials[row][head][chunk] = (m, l, o)       -- merged by MergeKernel
///     many rows: for item in my (sequence, KV head, 96 rows): for chunk: for tile of rows:
///                  total[row] = merge(total[row], flash(tile, chunk));  out = total.o / total.l
///
///     flash: m = -1e30, l = 0, o = 0; for 64 keys: s = q·k * scale, masked; m' = max(m, s); p = exp(s - m');
///            a = exp(m - m'); l = l*a + p; o = o*a + round(p)·v
///
/// A row's bits depend on its own keys only: chunks start at multiples of 1024, groups at multiples of 64, and a
/// group or chunk that is all masked changes nothing.
struct AttendKernel: Kernel, Hashable {
  let cache: CacheShape
  let queryHeads: Int
  let scale: Float
  let output: FloatElement
  let dot: Dot

  var name: String { "attend_h\(queryHeads)_\(cache.name)_s\(scale)_\(dot.rawValue)_\(output.rawValue)" }
  let argumentNames = ["q", "keys", "values", "out"]

  static let rowGroup = 96
  /// Rows per KV head from which a thread keeps the rows and walks the chunks, instead of the other way round.
  static let manyRows = 48

  var group: Int { queryHeads / cache.heads }
  var state: AttentionState { AttentionState(dim: cache.dim) }
  private var queryBytes: Int { cache.dim * cache.element.byteCount }

  // one thread's scratch: totals and packed queries of a row group, then the state of one tile
  private var queriesAt: Int { Self.rowGroup * state.bytes }
  private var limitsAt: Int { queriesAt + (Self.rowGroup * queryBytes + 63) / 64 * 64 }
  private var tileAt: Int { limitsAt + Self.rowGroup * 4 }
  var scratchBytes: Int { tileAt + AttentionTile.scratchBytes(dim: cache.dim) }

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let sizes = e.target.hasBF16Dot ? [6, 4, 2, 1] : [4, 2, 1]
    let tile = AttentionTile(dim: cache.dim, dot: dot, element: cache.element, scale: scale)
    let functions = sizes.map { ($0, tile.emit(e, rows: $0, name: "\(name)_tile\($0)")) }
    let merge = AttentionMerge(dim: cache.dim).emit(e, name: "\(name)_merge")

    let rowsPerSequence = e.div(e.mul(k.rows(.tokens), group), k.rows(.sequences))
    e.ifTrue(e.compare(rowsPerSequence, LLVMIntSLT, e.int(Self.manyRows))) {
      chunkItems(k) { item in
        forTiles(k, item, item.firstRow, item.lastRow, functions) { row, count, tileState in
          // partials[row of step][head][chunk]
          let token = e.add(item.sequence.row0, e.div(row, group))
          let head = e.add(e.mul(item.head, group), e.rem(row, group))
          let index = e.add(e.mul(e.add(e.mul(token, queryHeads), head), item.chunks), item.chunk)
          state.copy(e, from: tileState, row: count, to: e.at(k.field(\.partials), e.mul(index, state.bytes)))
        }
      }
    } else: {
      rowItems(k, functions, merge)
    }
  }

  /// Where a tile works: one sequence, KV head and chunk.
  private struct Item {
    let sequence: KernelBuilder.Sequence
    let head, firstRow, lastRow, chunk, chunks: LLVMValue
  }

  /// Items of the split over chunks, dealt to the threads in turn.
  private func chunkItems(_ k: KernelBuilder, _ body: (Item) -> Void) {
    let e = k.e
    let threads = k.count(\.threads)
    let chunks = AttentionState.chunks(k)
    e.loop(e.int(0), k.rows(.sequences), carried: [e.int(0)]) { index, counter in
      let s = k.sequence(index)
      let mine = AttentionState.chunks(e, s)
      let items = e.mul(mine, cache.heads)
      // the first item of this sequence whose running number is `thread` modulo `threads`
      let phase = LLVMBuildURem(e.builder, counter[0], threads, "")!
      let start = LLVMBuildURem(e.builder, e.sub(e.add(k.thread, threads), phase), threads, "")!
      e.each(start, items, threads) { item in
        let head = e.div(item, mine)
        let chunk = e.sub(item, e.mul(head, mine))
        body(
          Item(sequence: s, head: head, firstRow: e.int(0), lastRow: e.mul(s.rows, group), chunk: chunk, chunks: chunks))
      }
      return [e.add(counter[0], items)]
    }
  }

  /// Items of the split over rows.
  private func rowItems(_ k: KernelBuilder, _ functions: [(Int, LLVMValue)], _ merge: LLVMValue) {
    let e = k.e
    let threads = k.count(\.threads)
    let out = k.arena(3)
    let totals = k.scratch()
    e.loop(e.int(0), k.rows(.sequences), carried: [e.int(0)]) { index, counter in
      let s = k.sequence(index)
      let rows = e.mul(s.rows, group)
      let groups = e.div(e.add(rows, Self.rowGroup - 1), Self.rowGroup)
      let items = e.mul(groups, cache.heads)
      let phase = LLVMBuildURem(e.builder, counter[0], threads, "")!
      let start = LLVMBuildURem(e.builder, e.sub(e.add(k.thread, threads), phase), threads, "")!
      e.each(start, items, threads) { item in
        let head = e.div(item, groups)
        let first = e.mul(e.sub(item, e.mul(head, groups)), Self.rowGroup)
        let last = e.minimum(rows, e.add(first, Self.rowGroup))
        e.each(e.int(0), e.sub(last, first)) { state.clear(e, e.at(totals, e.mul($0, state.bytes))) }
        // the last row's keys bound the chunks of the group
        let keys = e.add(e.add(s.length, e.div(e.add(last, -1), group)), 1)
        let chunks = e.div(e.add(keys, Int(DUSTIN_CHUNK) - 1), Int(DUSTIN_CHUNK))
        e.each(e.int(0), chunks) { chunk in
          let work = Item(sequence: s, head: head, firstRow: first, lastRow: last, chunk: chunk, chunks: chunks)
          forTiles(k, work, first, last, functions) { row, count, tileState in
            let total = e.at(totals, e.mul(e.sub(row, first), state.bytes))
            e.call(merge, AttentionMerge.parameters(e), [total, state.row(e, tileState, count)])
          }
        }
        e.each(first, last) { row in
          let token = e.add(s.row0, e.div(row, group))
          let column = e.mul(e.add(e.mul(head, group), e.rem(row, group)), cache.dim)
          let y = e.at(e.at(out, e.mul(token, rowBytes(queryHeads * cache.dim, output))), e.mul(column, output.byteCount))
          state.finish(k, e.at(totals, e.mul(e.sub(row, first), state.bytes)), to: y, output)
        }
      }
      return [e.add(counter[0], items)]
    }
  }

  /// Packs the queries of `first ..< last`, runs every tile over the item's chunk, and hands each row's state on.
  private func forTiles(
    _ k: KernelBuilder, _ item: Item, _ first: LLVMValue, _ last: LLVMValue, _ functions: [(Int, LLVMValue)],
    _ consume: (_ row: LLVMValue, _ inTile: LLVMValue, _ tileState: LLVMValue) -> Void
  ) {
    let e = k.e
    let q = k.arena(0)
    let s = item.sequence
    let scratch = k.scratch()
    let (queries, limits, tileState) = (e.at(scratch, queriesAt), e.at(scratch, limitsAt), e.at(scratch, tileAt))
    let firstKey = e.mul(item.chunk, Int(DUSTIN_CHUNK))
    // keys of this chunk that any row may read, in groups of 64
    let keyHead = cache.head(e, s, region: k.argument(1), head: item.head)
    let valueHead = cache.head(e, s, region: k.argument(2), head: item.head)
    let (keys, values) = (
      e.at(keyHead, e.mul(firstKey, cache.positionBytes)), e.at(valueHead, e.mul(firstKey, cache.positionBytes))
    )
    func pack(_ row: LLVMValue, _ slot: LLVMValue) {
      let token = e.div(row, group)
      let head = e.add(e.mul(item.head, group), e.rem(row, group))
      let source = e.at(
        e.at(q, e.mul(e.add(s.row0, token), rowBytes(queryHeads * cache.dim, cache.element))), e.mul(head, queryBytes))
      let target = e.at(queries, e.mul(slot, queryBytes))
      e.each(e.int(0), e.int(queryBytes), e.int(32)) { b in
        e.store(e.load(e.vector(e.i32, 8), e.at(source, b)), e.at(target, b))
      }
      let limit = e.sub(e.add(e.add(s.length, token), 1), firstKey)
      e.store(e.truncate(limit), e.at(limits, e.mul(slot, 4)))
    }
    func run(_ size: Int, _ function: LLVMValue, _ row: LLVMValue) {
      e.each(e.int(0), e.int(size)) { pack(e.add(row, $0), $0) }
      let lastToken = e.div(e.add(row, size - 1), group)
      let left = e.sub(e.add(e.add(s.length, lastToken), 1), firstKey)
      let groups = e.div(e.add(e.minimum(e.maximum(left, e.int(0)), e.int(Int(DUSTIN_CHUNK))), 63), 64)
      e.call(function, AttentionTile.parameters(e), [queries, limits, keys, values, groups, tileState])
      e.each(e.int(0), e.int(size)) { consume(e.add(row, $0), $0, tileState) }
    }
    // the largest tiles first, then at most one (or two) of each smaller size
    var row = first
    for (size, function) in functions {
      row =
        e.loop(row, e.sub(last, e.int(size - 1)), e.int(size), carried: [row]) { current, _ in
          run(size, function, current)
          return [e.add(current, size)]
        }[0]
    }
  }
}

/// Merges the partial results of few rows over many keys.
///
///     for (row, head) in my rows x heads: total = fold merge over the row's chunks, ascending; out = total.o / total.l
struct MergeKernel: Kernel, Hashable {
  let cache: CacheShape
  let queryHeads: Int
  let output: FloatElement

  var name: String { "merge_h\(queryHeads)_\(cache.name)_\(output.rawValue)" }
  let argumentNames = ["out"]
  private var state: AttentionState { AttentionState(dim: cache.dim) }
  var scratchBytes: Int { state.bytes }

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let merge = AttentionMerge(dim: cache.dim).emit(e, name: "\(name)_step")
    let group = queryHeads / cache.heads
    let out = k.arena(0)
    let total = k.scratch()
    let rowsPerSequence = e.div(e.mul(k.rows(.tokens), group), k.rows(.sequences))
    e.ifTrue(e.compare(rowsPerSequence, LLVMIntSLT, e.int(AttendKernel.manyRows))) {
      let allChunks = AttentionState.chunks(k)
      let (low, high) = k.share(of: e.mul(k.rows(.tokens), queryHeads))
      e.each(e.int(0), k.rows(.sequences)) { index in
        let s = k.sequence(index)
        let chunks = AttentionState.chunks(e, s)
        let first = e.maximum(low, e.mul(s.row0, queryHeads))
        let last = e.minimum(high, e.mul(e.add(s.row0, s.rows), queryHeads))
        e.each(first, last) { item in
          state.clear(e, total)
          e.each(e.int(0), chunks) { chunk in
            let partial = e.at(k.field(\.partials), e.mul(e.add(e.mul(item, allChunks), chunk), state.bytes))
            e.call(merge, AttentionMerge.parameters(e), [total, partial])
          }
          let row = e.div(item, queryHeads)
          let head = e.sub(item, e.mul(row, queryHeads))
          let y = e.at(
            e.at(out, e.mul(row, rowBytes(queryHeads * cache.dim, output))), e.mul(head, cache.dim * output.byteCount))
          state.finish(k, total, to: y, output)
        }
      }
    }
  }
}
