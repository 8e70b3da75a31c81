import CDustin
import CLLVM

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
