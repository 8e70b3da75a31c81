import CDustin
import CLLVM

/// A set from signals: no sort, the same on every CPU and for any number of threads.
///
///     for item in my (sequence, plane): n elements, positions or blocks of 16 of them
///       mask = the first ones, the recent ones, and what lies behind n
///       for signal: keys = floats as ordered integers; mark the greatest of those not in the mask (Picker)
///       set = count, then the positions of the mask's bits, ascending
struct SelectKernel: Kernel, Hashable {
  let signals: Int
  let planes: Int
  let budget: Int
  let sink: Int
  let recent: Int
  /// Positions of every signal but the last.
  let quotas: [Int]
  let cover: Double
  let granularity: Int
  /// Bytes of a plane of the set.
  let planeBytes: Int

  var name: String {
    var parts = ["select\(signals)x\(planes)", "b\(budget)", "k\(sink).\(recent)"]
    if !quotas.isEmpty { parts.append("q" + quotas.map(String.init).joined(separator: ".")) }
    if cover < 1 { parts.append("c\(cover)") }
    return (parts + ["g\(granularity)", "p\(planeBytes)"]).joined(separator: "_")
  }
  var argumentNames: [String] {
    ["set", "set_pitch"] + (0..<signals).flatMap { ["signal\($0)", "signal\($0)_pitch"] }
  }

  // A plane's share of the step's partials, per chunk of 1024 positions: bits, then three lists of numbers.
  private static let bitBytes = Int(DUSTIN_CHUNK) / 8
  private static let listBytes = Int(DUSTIN_CHUNK) * 4
  private static let lists = 3
  /// Behind each list: whole groups of 64 are read.
  private static let slack = 256
  private static let chunkBytes = 64 + bitBytes + lists * (listBytes + slack)
  /// Of the step's partials, per row and chunk.
  var partialBytes: Int { planes * Self.chunkBytes }

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let picker = Picker(granularity: granularity, cover: cover, name: name)
    let pick = signals > 0 ? picker.emit(e) : nil
    let pitch = AttentionState.chunks(k)
    k.deal { _ in
      e.int(planes)
    } _: { s, plane in
      let place = e.mul(e.mul(e.add(e.mul(s.row0, planes), plane), pitch), Self.chunkBytes)
      let memory = e.at(k.field(\.partials), place)
      // how many there are, then their bits; lists behind them
      let bits = e.at(memory, 64)
      let lists = e.at(bits, e.mul(pitch, Self.bitBytes))
      let listBytes = e.mul(pitch, Self.listBytes + Self.slack)
      let n = e.div(e.add(s.length, granularity - 1), granularity)
      let kept = mark(e, s, n, bits)
      e.store(e.sub(e.int(budget / granularity), kept), memory, align: 8)
      e.store(e.sub(n, kept), e.at(memory, 8), align: 8)
      for signal in 0..<signals {
        let left = e.loadInt(memory)
        let quota = signal < quotas.count ? e.minimum(left, e.int(quotas[signal] / granularity)) : left
        if let pick {
          e.call(
            pick, Picker.parameters(e),
            [k.signal(2 + 2 * signal, s, plane: plane), s.length, n, quota, memory, bits, lists, listBytes])
        }
      }
      let set = e.at(
        s.values,
        e.add(e.add(k.argument(0), e.mul(s.capacity, k.argument(1))), e.mul(plane, planeBytes)))
      write(e, s, n, bits, to: set)
    }
  }

  /// Marks what is always taken, and what there is not; gives the number of the former.
  private func mark(_ e: Emitter, _ s: KernelBuilder.Sequence, _ n: LLVMValue, _ bits: LLVMValue) -> LLVMValue {
    let first = e.minimum(n, e.int((sink + granularity - 1) / granularity))
    let last = e.div(e.maximum(e.sub(s.length, e.int(recent)), e.int(0)), granularity)
    let (low, high) = (e.splat(e.truncate(first), 16), e.splat(e.truncate(last), 16))
    e.each(e.int(0), n, e.int(16)) { element in
      let numbers = e.add(e.splat(e.truncate(element), 16), e.iota(16))
      let taken = e.or(e.compare(numbers, LLVMIntSLT, low), e.compare(numbers, LLVMIntSGE, high))
      e.store(e.bits(taken), e.at(bits, e.div(element, 8)), align: 2)
    }
    // the last word of 64 is read whole
    let words = e.div(e.add(n, 15), 16)
    e.each(words, e.mul(e.div(e.add(words, 3), 4), 4)) {
      e.store(LLVMConstNull(e.i16), e.at(bits, e.mul($0, 2)), align: 2)
    }
    return e.minimum(n, e.add(first, e.sub(n, last)))
  }

  /// The set's count and positions.
  private func write(
    _ e: Emitter, _ s: KernelBuilder.Sequence, _ n: LLVMValue, _ bits: LLVMValue, to set: LLVMValue
  ) {
    let positions = e.at(set, 64)
    let count = e.loop(e.int(0), n, e.int(64), carried: [e.int(0)]) { element, count in
      let left = e.sub(n, element)
      let all = e.loadInt(e.at(bits, e.div(element, 8)))
      // bits behind n stand for nothing
      let whole = e.compare(left, LLVMIntSGE, e.int(64))
      let inside = e.add(e.shl(e.int(1), by: e.select(whole, e.int(0), left)), -1)
      let word = e.select(whole, all, e.and(all, inside))
      let end = e.loop(e.int(0), e.popcount(word), carried: [word, count[0]]) { _, state in
        let number = e.add(element, e.lowestBit(state[0]))
        let place = e.at(positions, e.mul(state[1], 4))
        var added = e.int(1)
        if granularity == 1 {
          e.store(e.truncate(number), place)
        } else {
          let start = e.mul(number, granularity)
          e.store(e.add(e.splat(e.truncate(start), 16), e.iota(16)), place)
          added = e.minimum(e.int(granularity), e.sub(s.length, start))
        }
        return [e.and(state[0], e.add(state[0], -1)), e.add(state[1], added)]
      }
      return [end[1]]
    }[0]
    e.store(e.truncate(count), set)
  }
}
