import CDustin
import CLLVM

/// Shape of a set in the sequence's memory of values: planes of [count: i32, 60 bytes unused, positions: i32 …].
struct SetShape: Hashable {
  /// 1 for all KV heads, or one for each.
  let planes: Int
  /// Most positions of a plane.
  let bound: Int
  let planeBytes: Int

  var name: String { "set\(planes)x\(bound)" }
}

/// The keys that a KV head reads through a set, numbered: the set's positions, then every position behind the last one.
///
/// Whatever stands in the set's memory, positions stay inside what the step has written, and there are no more keys
/// than positions: a set that does not fit the sequence must not become a wild read.
struct SetReader {
  let positions: LLVMValue
  /// Number of the first key behind the set, and its distance from its position.
  private let count, shift: LLVMValue
  /// Committed positions, and the last one in flight.
  private let length, lastPosition: LLVMValue
  private let bound: Int

  init(_ e: Emitter, _ shape: SetShape, _ s: KernelBuilder.Sequence, head: LLVMValue, words: [LLVMValue]) {
    var plane = e.at(s.values, e.add(words[0], e.mul(s.capacity, words[1])))
    if shape.planes > 1 { plane = e.at(plane, e.mul(head, shape.planeBytes)) }
    positions = e.at(plane, 64)
    bound = shape.bound
    length = s.length
    lastPosition = e.add(e.add(s.length, s.rows), -1)
    let most = e.minimum(s.length, e.int(shape.bound))
    count = e.minimum(e.maximum(e.loadInt32(plane), e.int(0)), most)
    let place = e.maximum(e.add(count, -1), e.int(0))
    let last = e.loadInt32(e.at(positions, e.mul(place, 4)))
    let inside = e.maximum(e.minimum(last, e.add(s.length, -1)), e.add(count, -1))
    // an empty set: the keys are all positions
    shift = e.select(e.compare(count, LLVMIntSGT, e.int(0)), e.sub(e.add(inside, 1), count), e.int(0))
  }

  /// Keys that a row of token `token` reads.
  func limit(_ e: Emitter, token: LLVMValue) -> LLVMValue { e.sub(e.add(e.add(length, token), 1), shift) }
  /// Keys that the last row reads.
  func keys(_ e: Emitter) -> LLVMValue { e.sub(e.add(lastPosition, 1), shift) }
  /// Chunks that hold the keys.
  func chunks(_ e: Emitter) -> LLVMValue { e.div(e.add(keys(e), Int(DUSTIN_CHUNK) - 1), Int(DUSTIN_CHUNK)) }

  /// Writes the positions of 64 keys (i32) from a multiple of 64 on; behind the last key stands the last position again.
  func list(_ e: Emitter, from key: LLVMValue, to list: LLVMValue) {
    let integers = e.vector(e.i32, 16)
    for block in 0..<4 {
      let first = e.add(key, block * 16)
      let numbers = e.add(e.iota(16), e.splat(e.truncate(first), 16))
      // the plane has room for whole vectors up to its bound
      let source = e.minimum(first, e.int((bound - 1) / 16 * 16))
      let chosen = e.load(integers, e.at(positions, e.mul(source, 4)))
      let behind = e.add(numbers, e.splat(e.truncate(shift), 16))
      let position = e.select(e.compare(numbers, LLVMIntSLT, e.splat(e.truncate(count), 16)), chosen, behind)
      let last = e.splat(e.truncate(lastPosition), 16)
      e.store(e.select(e.compare(position, LLVMIntULT, last), position, last), e.at(list, block * 64))
    }
  }
}
