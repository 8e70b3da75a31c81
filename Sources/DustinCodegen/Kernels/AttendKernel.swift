import CDustin
import CLLVM

/// Causal attention over the packed cache. Row r of a KV head is query head `kv * group + r % group` of token `r / group`.
///
///     few rows:  for item in my (sequence, KV head, chunk of 1024 keys): for 96 rows:
///                  partials[row][head][chunk] = flash(rows, chunk)                              -- merged by MergeKernel
///     many rows: for item in my (sequence, KV head, 96 rows): for chunk:
///                  total[row] = merge(total[row], flash(rows, chunk));  out = total.o / total.l
///
///     flash: (m, l, o) = (-1e30, 0, 0); for keys that fit the L1 cache: for tile of rows: AttentionTile
///
/// With `scores` few rows also leave what `ScoreKernel` would, of the last row of each sequence and some of its heads:
/// the tile lays their products down, and behind the chunk's keys they become powers. For many rows `ScoreKernel` does it.
///
/// A row's bits depend on its own keys only: chunks start at multiples of 1024, groups at multiples of 64, and a
/// group or chunk that is all masked changes nothing.
struct AttendKernel: Kernel, Hashable {
  let cache: CacheShape
  let queryHeads: Int
  let scale: Float
  let output: FloatElement
  let dot: Dot
  /// Parts of a signal that the kernel makes besides, of `take` = last.
  var scores: ScoreShape?

  var name: String {
    "attend_h\(queryHeads)_\(cache.name)_s\(scale)_\(dot.rawValue)_\(output.rawValue)"
      + (scores.map { "_scores_\($0.name)" } ?? "")
  }
  let argumentNames = ["q", "keys", "values", "out"]

  static let rowGroup = 96
  /// Rows per KV head from which a thread keeps the rows and walks the chunks, instead of the other way round.
  static let manyRows = 48

  var group: Int { queryHeads / cache.heads }
  var state: AttentionState { AttentionState(dim: cache.dim) }
  private var queryBytes: Int { cache.dim * cache.element.byteCount }

  /// Groups of 64 keys whose keys and values stay in the L1 cache while all tiles of rows pass over them.
  private var groupsPerPass: Int { max(1, 32 * 1024 / (64 * 2 * cache.positionBytes)) }

  // one thread's scratch: totals, packed queries, limits and states of a row group, then a tile's own
  private var queriesAt: Int { Self.rowGroup * state.bytes }
  private var limitsAt: Int { queriesAt + (Self.rowGroup * queryBytes + 63) / 64 * 64 }
  private var statesAt: Int { limitsAt + Self.rowGroup * 4 }
  private var tileAt: Int { statesAt + Self.rowGroup * state.tileBytes }
  var scratchBytes: Int { tileAt + AttentionTile.scratchBytes }

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let sizes = e.target.tile.attentionRows
    var tile = AttentionTile(dim: cache.dim, dot: dot, element: cache.element, scale: scale)
    tile.keepsProducts = scores != nil
    let functions = sizes.map { ($0, tile.emit(e, rows: $0, name: "\(name)_tile\($0)")) }
    let merge = AttentionMerge(dim: cache.dim).emit(e, name: "\(name)_merge")

    let powers = scores.map { ScorePowers(shape: $0, scale: scale).emit(e, name: "\(name)_powers") }
    e.ifTrue(Self.hasFewRows(k, group: group)) {
      chunkItems(k, functions, powers)
    } else: {
      rowItems(k, functions, merge)
    }
  }

  /// Whether the step's sequences have fewer than `manyRows` rows per KV head, on average.
  static func hasFewRows(_ k: KernelBuilder, group: Int) -> LLVMValue {
    let rowsPerSequence = k.e.div(k.e.mul(k.rows(.tokens), group), k.rows(.sequences))
    return k.e.compare(rowsPerSequence, LLVMIntSLT, k.e.int(manyRows))
  }

  /// Where a pass works: one sequence, KV head and chunk.
  private struct Item {
    let sequence: KernelBuilder.Sequence
    let head, chunk: LLVMValue
  }

  /// Items of one sequence, dealt to the threads in turn; `counter` numbers the items of all sequences.
  private func deal(_ k: KernelBuilder, _ items: LLVMValue, _ counter: LLVMValue, _ body: (LLVMValue) -> Void) {
    let e = k.e
    let threads = k.count(\.threads)
    let phase: LLVMValue = LLVMBuildURem(e.builder, counter, threads, "")
    let start: LLVMValue = LLVMBuildURem(e.builder, e.sub(e.add(k.thread, threads), phase), threads, "")
    e.each(start, items, threads, body)
  }

  /// Items of the split over chunks.
  private func chunkItems(_ k: KernelBuilder, _ functions: [(Int, LLVMValue)], _ powers: LLVMValue?) {
    let e = k.e
    let pitch = AttentionState.chunks(k)
    e.loop(e.int(0), k.rows(.sequences), carried: [e.int(0)]) { index, counter in
      let s = k.sequence(index)
      let chunks = AttentionState.chunks(e, s)
      let items = e.mul(chunks, cache.heads)
      let rows = e.mul(s.rows, group)
      deal(k, items, counter[0]) { number in
        let head = e.div(number, chunks)
        let item = Item(sequence: s, head: head, chunk: e.sub(number, e.mul(head, chunks)))
        e.each(e.int(0), rows, e.int(Self.rowGroup)) { first in
          let last = e.minimum(rows, e.add(first, Self.rowGroup))
          flash(k, item, first, last, functions, pitch: pitch) { row, result in
            // partials[row of step][head][chunk]
            let token = e.add(s.row0, e.div(row, group))
            let queryHead = e.add(e.mul(head, group), e.rem(row, group))
            let place = e.add(e.mul(e.add(e.mul(token, queryHeads), queryHead), pitch), item.chunk)
            state.copy(e, from: result, to: e.at(k.field(\.partials), e.mul(place, state.bytes)))
          }
        }
        if let powers { finishScores(k, item, pitch, powers) }
      }
      return [e.add(counter[0], items)]
    }
  }

  /// Makes powers of the products that the last row's chosen heads have left.
  private func finishScores(_ k: KernelBuilder, _ item: Item, _ pitch: LLVMValue, _ powers: LLVMValue) {
    guard let scores else { return }
    let e = k.e
    let left = ScoreShape.keys(e, item.sequence, item.chunk)
    e.ifTrue(e.compare(left, LLVMIntSGT, e.int(0))) {
      let heads = (0..<cache.heads).map { head in scores.groups.first { $0.head == head } }
      let first = e.table(item.head, heads.map { $0?.first ?? 0 })
      e.each(first, e.add(first, e.table(item.head, heads.map { $0?.count ?? 0 }))) { index in
        let part = scores.part(k, item.sequence, pitch: pitch, chunk: item.chunk, index: index)
        e.call(powers, ScorePowers.parameters(e), [part, left])
      }
    }
  }

  /// Where a row's products belong; null if nobody asks for them.
  private func products(_ k: KernelBuilder, _ item: Item, row: LLVMValue, pitch: LLVMValue?) -> LLVMValue {
    let e = k.e
    let null: LLVMValue = LLVMConstNull(e.pointer)
    guard let scores, let pitch else { return null }
    let s = item.sequence
    let head = e.add(e.mul(item.head, group), e.rem(row, group))
    let index = e.table(head, (0..<queryHeads).map { scores.heads.firstIndex(of: $0) ?? -1 })
    let isLast = e.compare(e.div(row, group), LLVMIntEQ, e.add(s.rows, -1))
    let isChosen = e.and(isLast, e.compare(index, LLVMIntSGE, e.int(0)))
    let isScored = e.compare(ScoreShape.keys(e, s, item.chunk), LLVMIntSGT, e.int(0))
    let part = scores.part(k, s, pitch: pitch, chunk: item.chunk, index: index)
    return e.select(e.and(isChosen, isScored), e.at(part, ScoreShape.powersAt), null)
  }

  /// Items of the split over rows.
  private func rowItems(_ k: KernelBuilder, _ functions: [(Int, LLVMValue)], _ merge: LLVMValue) {
    let e = k.e
    let out = k.arena(3)
    let totals = k.scratch()
    e.loop(e.int(0), k.rows(.sequences), carried: [e.int(0)]) { index, counter in
      let s = k.sequence(index)
      let rows = e.mul(s.rows, group)
      let groups = e.div(e.add(rows, Self.rowGroup - 1), Self.rowGroup)
      let items = e.mul(groups, cache.heads)
      deal(k, items, counter[0]) { number in
        let head = e.div(number, groups)
        let first = e.mul(e.sub(number, e.mul(head, groups)), Self.rowGroup)
        let last = e.minimum(rows, e.add(first, Self.rowGroup))
        e.each(e.int(0), e.sub(last, first)) { state.clear(e, e.at(totals, e.mul($0, state.bytes))) }
        // the last row's keys bound the chunks of the group
        let keys = e.add(e.add(s.length, e.div(e.add(last, -1), group)), 1)
        e.each(e.int(0), e.div(e.add(keys, Int(DUSTIN_CHUNK) - 1), Int(DUSTIN_CHUNK))) { chunk in
          flash(k, Item(sequence: s, head: head, chunk: chunk), first, last, functions) { row, result in
            let total = e.at(totals, e.mul(e.sub(row, first), state.bytes))
            e.call(merge, AttentionMerge.parameters(e), [total, result])
          }
        }
        e.each(first, last) { row in
          let token = e.add(s.row0, e.div(row, group))
          let column = e.mul(e.add(e.mul(head, group), e.rem(row, group)), cache.dim)
          let y = e.at(
            e.at(out, e.mul(token, rowBytes(queryHeads * cache.dim, output))), e.mul(column, output.byteCount))
          state.finish(k, e.at(totals, e.mul(e.sub(row, first), state.bytes)), to: y, output)
        }
      }
      return [e.add(counter[0], items)]
    }
  }

  /// Flash attention of at most 96 rows over one chunk; `consume` gets each row's `AttentionState`.
  ///
  /// - Parameter pitch: Of the parts of `scores`; nil: they are made elsewhere.
  private func flash(
    _ k: KernelBuilder, _ item: Item, _ first: LLVMValue, _ last: LLVMValue, _ functions: [(Int, LLVMValue)],
    pitch: LLVMValue? = nil, _ consume: (_ row: LLVMValue, _ result: LLVMValue) -> Void
  ) {
    let e = k.e
    let s = item.sequence
    let q = k.arena(0)
    let scratch = k.scratch()
    let (queries, limits, states) = (e.at(scratch, queriesAt), e.at(scratch, limitsAt), e.at(scratch, statesAt))
    let firstKey = e.mul(item.chunk, Int(DUSTIN_CHUNK))
    let keys = e.at(cache.head(e, s, region: k.argument(1), head: item.head), e.mul(firstKey, cache.positionBytes))
    let values = e.at(cache.head(e, s, region: k.argument(2), head: item.head), e.mul(firstKey, cache.positionBytes))
    /// Keys of the chunk that a row may read; none or less if the chunk lies behind it.
    func limit(_ row: LLVMValue) -> LLVMValue { e.sub(e.add(e.add(s.length, e.div(row, group)), 1), firstKey) }

    e.each(first, last) { row in
      let slot = e.sub(row, first)
      let token = e.add(s.row0, e.div(row, group))
      let column = e.mul(e.add(e.mul(item.head, group), e.rem(row, group)), queryBytes)
      let source = e.at(e.at(q, e.mul(token, rowBytes(queryHeads * cache.dim, cache.element))), column)
      let target = e.at(queries, e.mul(slot, queryBytes))
      e.each(e.int(0), e.int(queryBytes), e.int(32)) { b in
        e.store(e.load(e.vector(e.i32, 8), e.at(source, b)), e.at(target, b))
      }
      e.store(e.truncate(limit(row)), e.at(limits, e.mul(slot, 4)))
      let rowState = e.at(states, e.mul(slot, state.tileBytes))
      state.begin(e, rowState)
      if scores != nil {
        e.store(products(k, item, row: row, pitch: pitch), e.at(rowState, AttentionState.productsAt))
      }
    }
    let most = e.minimum(e.maximum(limit(e.add(last, -1)), e.int(0)), e.int(Int(DUSTIN_CHUNK)))
    let groups = e.div(e.add(most, 63), 64)
    e.each(e.int(0), groups, e.int(groupsPerPass)) { group0 in
      let count = e.minimum(e.sub(groups, group0), e.int(groupsPerPass))
      let key = e.mul(group0, 64)
      let offset = e.mul(key, cache.positionBytes)
      // the largest tiles first, then at most one of each smaller size
      var row = first
      for (size, function) in functions {
        row =
          e.loop(row, e.sub(last, e.int(size - 1)), e.int(size), carried: [row]) { row, _ in
            let slot = e.sub(row, first)
            e.ifTrue(e.compare(limit(e.add(row, size - 1)), LLVMIntSGT, key)) {
              e.call(
                function, AttentionTile.parameters(e),
                [
                  e.at(queries, e.mul(slot, queryBytes)), e.at(limits, e.mul(slot, 4)), e.at(keys, offset),
                  e.at(values, offset), key, count, e.at(states, e.mul(slot, state.tileBytes)), e.at(scratch, tileAt),
                  scratch,
                ])
            }
            return [e.add(row, size)]
          }[0]
      }
    }
    e.each(first, last) { row in
      let result = e.at(states, e.mul(e.sub(row, first), state.tileBytes))
      state.end(e, result)
      consume(row, result)
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
    e.ifTrue(AttendKernel.hasFewRows(k, group: group)) {
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
