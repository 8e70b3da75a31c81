import CDustin
import CLLVM

/// Which rows and heads a signal is made of, and where what they score lies between the kernels of one `score`.
///
/// A sequence's parts lie in the step's partials, [chunk of 1024 keys][KV head][row][chosen head], each
/// {f32 m[16], f32 l[16], e[1024]}, m and l of groups of 64 keys; behind all parts come the signals that are still to
/// be pooled. Nothing depends on other sequences but where it lies.
///
/// The powers e have the element type of the keys: at long contexts half the bytes of a signal are theirs. Rounded to bf16
/// each of them is within 2^-8 of itself, and the exponential within 2^-13; l is the sum of those that are not rounded.
struct ScoreShape: Hashable {
  enum Take: String, Hashable { case all, last, ends }
  enum Reduction: String, Hashable { case mean, max }

  let cache: CacheShape
  let queryHeads: Int
  /// Chosen query heads, ascending.
  let heads: [Int]
  let take: Take
  let reduction: Reduction
  /// One signal per KV head instead of one for all.
  let isSplit: Bool
  let pool: Int
  /// Bytes of the partials, per row and chunk, that lie in front of the parts: the states of the attention whose kernel
  /// makes them.
  var before = 0

  /// The chosen heads of one KV head: they lie side by side.
  struct Group {
    let head: Int
    /// Number of its first one among the chosen heads.
    let first: Int
    let count: Int
  }
  var groups: [Group] {
    let size = queryHeads / cache.heads
    return heads.enumerated().reduce(into: []) { groups, head in
      if let last = groups.last, last.head == head.element / size {
        groups[groups.count - 1] = Group(head: last.head, first: last.first, count: last.count + 1)
      } else {
        groups.append(Group(head: head.element / size, first: head.offset, count: 1))
      }
    }
  }
  var planes: Int { isSplit ? cache.heads : 1 }
  /// The chosen heads whose scores make up each plane.
  var planeHeads: [(first: Int, count: Int)] {
    guard isSplit else { return [(0, heads.count)] }
    return (0..<cache.heads).map { head in
      groups.first { $0.head == head }.map { ($0.first, $0.count) } ?? (0, 0)
    }
  }

  var name: String {
    let list =
      heads.count == queryHeads ? "all" : heads.isEmpty ? "none" : heads.map(String.init).joined(separator: ".")
    return "h\(queryHeads)_\(cache.name)_\(list)_\(take.rawValue)_\(reduction.rawValue)\(isSplit ? "_split" : "")"
      + (before > 0 ? "_beside" : "")
  }

  static let partBytes = powersAt + Int(DUSTIN_CHUNK) * 4
  // offsets inside a part; a group's factor takes the place of its maximum
  static let sumsAt = 64
  static let powersAt = 128

  func storePowers(_ e: Emitter, _ powers: LLVMValue, _ target: LLVMValue, _ key: LLVMValue) {
    let p = e.at(target, e.mul(key, cache.element.byteCount))
    switch cache.element {
    case .f32: e.store(powers, p)
    case .bf16: e.store(e.roundToBF16(powers), p, align: 2)
    }
  }
  /// The powers of 16 keys.
  func loadPowers(_ e: Emitter, _ source: LLVMValue, _ key: LLVMValue) -> LLVMValue {
    let p = e.at(source, e.mul(key, cache.element.byteCount))
    switch cache.element {
    case .f32: return e.load(e.vector(e.f32, 16), p)
    case .bf16: return e.widenBF16(e.load(e.vector(e.i16, 16), p, align: 2))
    }
  }

  /// What surrounds a signal that is still to be pooled: the widest filter's half.
  static let marginBytes = 128 * 4
  private static let rawBytes = Int(DUSTIN_CHUNK) * 4 + 4 * marginBytes

  /// Of the step's partials, per row and chunk.
  var partialBytes: Int { before + heads.count * Self.partBytes + planes * Self.rawBytes }

  /// Rows of a sequence that count.
  func rows(_ e: Emitter, _ s: KernelBuilder.Sequence) -> LLVMValue {
    switch take {
    case .all: s.rows
    case .last: e.int(1)
    case .ends: e.minimum(s.rows, e.int(2))
    }
  }
  /// Where the `number`th of them lies in the step.
  func row(_ e: Emitter, _ s: KernelBuilder.Sequence, _ number: LLVMValue) -> LLVMValue {
    switch take {
    case .all: e.add(s.row0, number)
    case .last: e.add(s.row0, e.add(s.rows, -1))
    case .ends: e.add(s.row0, e.mul(number, e.add(s.rows, -1)))
    }
  }
  /// Chunks that hold keys which are scored.
  static func chunks(_ e: Emitter, _ s: KernelBuilder.Sequence) -> LLVMValue {
    e.div(e.add(s.scored, Int(DUSTIN_CHUNK) - 1), Int(DUSTIN_CHUNK))
  }
  /// Keys that are scored from a chunk's first one on, at most 1024.
  static func keys(_ e: Emitter, _ s: KernelBuilder.Sequence, _ chunk: LLVMValue) -> LLVMValue {
    e.minimum(e.sub(s.scored, e.mul(chunk, Int(DUSTIN_CHUNK))), e.int(Int(DUSTIN_CHUNK)))
  }

  /// The part of a chunk for (row, chosen head) number `index`; those of one KV head follow each other.
  func part(
    _ k: KernelBuilder, _ s: KernelBuilder.Sequence, pitch: LLVMValue, chunk: LLVMValue, index: LLVMValue
  ) -> LLVMValue {
    let e = k.e
    let others = e.mul(e.mul(s.row0, heads.count), pitch)
    let place = e.add(e.add(others, e.mul(chunk, e.mul(rows(e, s), heads.count))), index)
    return e.at(e.at(k.field(\.partials), e.mul(e.mul(k.rows(.tokens), before), pitch)), e.mul(place, Self.partBytes))
  }

  /// Position 0 of a signal that is still to be pooled; a margin lies before it, and another one behind its last group.
  func raw(_ k: KernelBuilder, _ s: KernelBuilder.Sequence, pitch: LLVMValue, plane: LLVMValue) -> LLVMValue {
    let e = k.e
    let parts = e.mul(e.mul(k.rows(.tokens), before + heads.count * Self.partBytes), pitch)
    let place = e.mul(e.mul(e.add(e.mul(s.row0, planes), plane), pitch), Self.rawBytes)
    return e.at(k.field(\.partials), e.add(e.add(parts, place), Self.marginBytes))
  }
}

extension KernelBuilder {
  /// Runs `body` for this thread's items of every sequence; items are dealt in turn.
  func deal(
    _ items: (_ sequence: Sequence) -> LLVMValue,
    _ body: (_ sequence: Sequence, _ item: LLVMValue) -> Void
  ) {
    let threads = count(\.threads)
    e.loop(e.int(0), rows(.sequences), carried: [e.int(0)]) { index, counter in
      let s = sequence(index)
      let count = items(s)
      let phase: LLVMValue = LLVMBuildURem(e.builder, counter[0], threads, "")
      let start: LLVMValue = LLVMBuildURem(e.builder, e.sub(e.add(thread, threads), phase), threads, "")
      e.each(start, count, threads) { body(s, $0) }
      return [e.add(counter[0], count)]
    }
  }

  /// Start of a plane of the signal whose place stands in the arguments from `index` on.
  func signal(_ index: Int, _ s: Sequence, plane: LLVMValue) -> LLVMValue {
    let perPosition = e.add(argument(index + 1), e.mul(plane, 4))
    return e.at(s.values, e.add(argument(index), e.mul(s.capacity, perPosition)))
  }
}
