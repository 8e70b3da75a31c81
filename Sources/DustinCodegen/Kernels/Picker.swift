import CLLVM

/// `pick(signal, length, n, quota, state, bits, lists, listBytes)`: marks in `bits` the `quota` greatest of the n elements
/// that are not yet marked, lower elements first among equals; `state` = {i64 left of the budget, i64 unmarked}.
///
///     k = min(quota, unmarked)
///     bound = k-th greatest of the greatest of groups of elements: at least k elements reach it
///     candidates = keys above the bound; fewer than k: threshold = bound
///     else threshold = k-th greatest of the candidates
///     mark what is above the threshold, and of its equals the first ones that are still wanted
///
/// A key is a float's bits as an integer of the same order (IEEE totalOrder); a k-th greatest is found by halving the range
/// of keys and counting, so the order of elements never matters.
struct Picker {
  let granularity: Int
  /// Below 1, the greatest of the k are taken one by one until their sum is enough.
  let cover: Double
  let name: String

  static func parameters(_ e: Emitter) -> [LLVMType] {
    [e.pointer, e.i64, e.i64, e.i64, e.pointer, e.pointer, e.pointer, e.i64]
  }

  /// What marked elements have in the place of a key.
  private static let none = Int(Int32.min)

  /// The arguments at hand.
  private struct Frame {
    let signal, length, n, state, bits, keys, list, candidates, vectors: LLVMValue
  }

  func emit(_ e: Emitter) -> LLVMValue {
    let kth = emitKth(e)
    return e.define("\(name)_pick", Self.parameters(e)) { p in
      let f = Frame(
        signal: p[0], length: p[1], n: p[2], state: p[4], bits: p[5], keys: p[6], list: e.at(p[6], p[7]),
        candidates: e.at(p[6], e.mul(p[7], 2)), vectors: e.div(e.add(p[2], 15), 16))
      let unmarked = e.loadInt(f.state, 8)
      let k = e.minimum(p[3], unmarked)
      e.ifTrue(e.compare(k, LLVMIntSGT, e.int(0))) {
        if granularity > 1 { findBlockKeys(e, f) }
        let (threshold, ties) = findThreshold(e, f, k, kth)
        if cover < 1 {
          takeUntilCovered(e, f, k, threshold, ties)
        } else {
          eachVector(e, f, threshold, ties) { word, chosen in
            let place = e.at(f.bits, e.mul(word, 2))
            e.store(e.or(e.load(e.i16, place, align: 2), chosen), place, align: 2)
          }
          e.store(e.sub(e.loadInt(f.state), k), f.state, align: 8)
          e.store(e.sub(unmarked, k), e.at(f.state, 8), align: 8)
        }
      }
    }
  }

  // MARK: keys

  private func ordered(_ e: Emitter, _ floats: LLVMValue) -> LLVMValue {
    let bits = e.bitcast(floats, e.vector(e.i32, 16))
    return e.xor(bits, e.lshr(e.ashr(bits, 31), 1))
  }
  /// The greatest key of each block of 16 positions.
  private func findBlockKeys(_ e: Emitter, _ f: Frame) {
    let none = e.splatConstant(int: Self.none, e.vector(e.i32, 16))
    e.each(e.int(0), f.n) { block in
      let start = e.mul(block, 16)
      let left = e.splat(e.truncate(e.sub(f.length, start)), 16)
      let keys = ordered(e, e.load(e.vector(e.f32, 16), e.at(f.signal, e.mul(start, 4))))
      let greatest = e.reduce(e.select(e.compare(e.iota(16), LLVMIntSLT, left), keys, none), e.maximum)
      e.store(greatest, e.at(f.keys, e.mul(block, 4)))
    }
  }
  /// Keys of 16 elements; none where they are marked.
  private func keys(_ e: Emitter, _ f: Frame, _ vector: LLVMValue) -> (keys: LLVMValue, marked: LLVMValue) {
    let offset = e.mul(vector, 64)
    let keys =
      granularity > 1
      ? e.load(e.vector(e.i32, 16), e.at(f.keys, offset))
      : ordered(e, e.load(e.vector(e.f32, 16), e.at(f.signal, offset)))
    let marked = e.load(e.i16, e.at(f.bits, e.mul(vector, 2)), align: 2)
    return (e.select(e.lanes(marked), e.splatConstant(int: Self.none, e.vector(e.i32, 16)), keys), marked)
  }

  // MARK: threshold

  /// The k-th greatest unmarked key, and how many of its equals belong to the k.
  private func findThreshold(
    _ e: Emitter, _ f: Frame, _ k: LLVMValue, _ kth: LLVMValue
  ) -> (threshold: LLVMValue, ties: LLVMValue) {
    let integers = e.vector(e.i32, 16)
    let none = e.splatConstant(int: Self.none, integers)
    // groups of so many vectors that there are about four greatest ones for each of the k
    let size = e.maximum(e.minimum(e.div(f.n, e.mul(k, 4)), e.int(64)), e.int(1))
    let groups = e.div(e.add(f.vectors, e.add(size, -1)), size)
    e.each(e.int(0), groups) { group in
      let first = e.mul(group, size)
      let greatest = e.loop(first, e.minimum(f.vectors, e.add(first, size)), carried: [none]) { vector, greatest in
        [e.maximum(greatest[0], keys(e, f, vector).keys)]
      }
      e.store(greatest[0], e.at(f.list, e.mul(group, 64)))
    }
    pad(e, f.list, groups)
    let result = e.at(f.state, 16)
    e.call(kth, kthParameters(e), [f.list, groups, k, result])
    let bound = e.load(e.i32, result)
    let count = e.loop(e.int(0), f.vectors, carried: [e.int(0)]) { vector, count in
      let keys = keys(e, f, vector).keys
      let above = e.compare(keys, LLVMIntSGT, e.splat(bound, 16))
      return [append(e, keys, where: above, to: f.candidates, count[0])]
    }[0]
    e.ifTrue(e.compare(count, LLVMIntSGE, k)) {
      let whole = e.div(count, 16)
      let tail = e.at(f.candidates, e.mul(whole, 64))
      let left = e.splat(e.truncate(e.sub(count, e.mul(whole, 16))), 16)
      e.store(e.select(e.compare(e.iota(16), LLVMIntSLT, left), e.load(integers, tail), none), tail)
      let vectors = e.add(whole, 1)
      pad(e, f.candidates, vectors)
      e.call(kth, kthParameters(e), [f.candidates, vectors, k, result])
    } else: {
      e.store(e.truncate(e.sub(k, count)), e.at(result, 4))
    }
    return (e.load(e.i32, result), e.loadInt32(result, 4))
  }

  /// Fills a list up to a multiple of four vectors.
  private func pad(_ e: Emitter, _ list: LLVMValue, _ vectors: LLVMValue) {
    e.each(vectors, e.mul(e.div(e.add(vectors, 3), 4), 4)) {
      e.store(e.splatConstant(int: Self.none, e.vector(e.i32, 16)), e.at(list, e.mul($0, 64)))
    }
  }

  /// Puts the chosen lanes behind the first `count` numbers of a list, in their order; gives the new count.
  private func append(
    _ e: Emitter, _ values: LLVMValue, where chosen: LLVMValue, to list: LLVMValue, _ count: LLVMValue
  ) -> LLVMValue {
    let bits = e.bits(chosen)
    if e.target.hasAVX512 {
      let packed = e.intrinsic(
        "llvm.x86.avx512.mask.compress", [values, LLVMConstNull(e.vector(e.i32, 16)), chosen],
        overload: [e.vector(e.i32, 16)])
      e.store(packed, e.at(list, e.mul(count, 4)))
      return e.add(count, e.zeroExtend(e.popcount(bits), e.i64))
    }
    let word = e.zeroExtend(bits, e.i64)
    return e.loop(e.int(0), e.popcount(word), carried: [word, count]) { _, state in
      let lane = e.truncate(e.lowestBit(state[0]))
      e.store(LLVMBuildExtractElement(e.builder, values, lane, ""), e.at(list, e.mul(state[1], 4)))
      return [e.and(state[0], e.add(state[0], -1)), e.add(state[1], 1)]
    }[1]
  }

  private func kthParameters(_ e: Emitter) -> [LLVMType] { [e.pointer, e.i64, e.i64, e.pointer] }

  /// `kth(list, vectors, k, result)`: result = {the greatest x that at least k numbers reach, k - how many are above it}.
  /// The list is padded to a multiple of four vectors.
  private func emitKth(_ e: Emitter) -> LLVMValue {
    let integers = e.vector(e.i32, 16)
    let zero = LLVMConstNull(integers)!
    return e.define("\(name)_kth", kthParameters(e)) { p in
      let end = e.mul(p[1], 64)
      func vectors(_ offset: LLVMValue) -> [LLVMValue] {
        (0..<4).map { e.load(integers, e.at(p[0], e.add(offset, $0 * 64))) }
      }
      func count(above x: LLVMValue) -> LLVMValue {
        let bound = e.splat(x, 16)
        let sums = e.loop(e.int(0), end, e.int(256), carried: [zero, zero, zero, zero]) { offset, sums in
          zip(sums, vectors(offset)).map { sum, v in
            e.select(e.compare(v, LLVMIntSGT, bound), e.add(sum, 1), sum)
          }
        }
        return e.extend(e.reduce(e.add(e.add(sums[0], sums[1]), e.add(sums[2], sums[3])), e.add))
      }
      let none = e.splatConstant(int: Self.none, integers)
      let most = e.loop(e.int(0), end, e.int(256), carried: [none]) { offset, most in
        [vectors(offset).reduce(most[0], e.maximum)]
      }
      // at least k reach low, fewer than k are above high
      let start = [e.int(Self.none), e.extend(e.reduce(most[0], e.maximum))]
      let range = e.loop(e.int(0), e.int(32), carried: start) { _, range in
        let middle = e.add(range[0], e.ashr(e.sub(range[1], range[0]), 1))
        let isEnough = e.compare(count(above: e.truncate(middle)), LLVMIntSGE, p[2])
        return [e.select(isEnough, e.add(middle, 1), range[0]), e.select(isEnough, range[1], middle)]
      }
      let x = e.truncate(range[0])
      e.store(x, p[3])
      e.store(e.truncate(e.sub(p[2], count(above: x))), e.at(p[3], 4))
    }
  }

  // MARK: taking

  /// Runs `body` for each word of 16 elements with the bits of those that are above the threshold or, from the first on,
  /// among the `ties` equal ones.
  private func eachVector(
    _ e: Emitter, _ f: Frame, _ threshold: LLVMValue, _ ties: LLVMValue,
    _ body: (_ vector: LLVMValue, _ chosen: LLVMValue) -> Void
  ) {
    let bound = e.splat(threshold, 16)
    e.loop(e.int(0), f.vectors, carried: [ties]) { vector, ties in
      let (keys, marked) = keys(e, f, vector)
      let above = e.bits(e.compare(keys, LLVMIntSGT, bound))
      let equal = e.and(e.bits(e.compare(keys, LLVMIntEQ, bound)), e.not(marked))
      let wanted = e.minimum(e.zeroExtend(e.popcount(equal), e.i64), ties[0])
      let picked = e.loop(e.int(0), wanted, carried: [equal, above]) { _, state in
        let rest = e.and(state[0], e.add(state[0], -1))
        return [rest, e.or(state[1], e.xor(state[0], rest))]
      }
      body(vector, picked[1])
      return [e.sub(ties[0], wanted)]
    }
  }

  /// Takes the k elements one by one, the greatest first, until the sum over all marked ones is enough.
  private func takeUntilCovered(
    _ e: Emitter, _ f: Frame, _ k: LLVMValue, _ threshold: LLVMValue, _ ties: LLVMValue
  ) {
    let integers = e.vector(e.i32, 16)
    // their numbers and keys, ascending by number
    let counter = e.at(f.state, 24)
    e.store(e.int(0), counter, align: 8)
    eachVector(e, f, threshold, ties) { vector, chosen in
      let word = e.zeroExtend(chosen, e.i64)
      let count = e.loadInt(counter)
      e.loop(e.int(0), e.popcount(word), carried: [word, count]) { _, state in
        let element = e.add(e.mul(vector, 16), e.lowestBit(state[0]))
        let place = e.mul(state[1], 4)
        e.store(e.truncate(element), e.at(f.list, place))
        e.store(key(e, f, element), e.at(f.candidates, place))
        return [e.and(state[0], e.add(state[0], -1)), e.add(state[1], 1)]
      }
      e.store(e.add(count, e.popcount(word)), counter, align: 8)
    }
    let padded = e.mul(e.div(e.add(k, 15), 16), 16)
    e.each(k, padded) { e.store(e.int32(Self.none), e.at(f.candidates, e.mul($0, 4))) }

    let (covered, total) = sums(e, f)
    let enough = e.fmul(total, LLVMConstReal(e.f64, cover))
    e.loop(e.int(0), k, carried: [covered]) { _, covered in
      let next = e.at(f.state, 32)
      e.store(covered[0], next, align: 8)
      e.ifTrue(LLVMBuildNot(e.builder, LLVMBuildFCmp(e.builder, LLVMRealOGE, covered[0], enough, ""), "")) {
        let end = e.mul(padded, 4)
        let none = e.splatConstant(int: Self.none, integers)
        let greatest = e.loop(e.int(0), end, e.int(64), carried: [none]) { offset, greatest in
          [e.maximum(greatest[0], e.load(integers, e.at(f.candidates, offset)))]
        }
        let key = e.splat(e.reduce(greatest[0], e.maximum), 16)
        // the first place that has it
        let place = e.loop(e.int(0), end, e.int(64), carried: [e.int(-1)]) { offset, place in
          let equal = e.bits(e.compare(e.load(integers, e.at(f.candidates, offset)), LLVMIntEQ, key))
          let isFirst = e.and(
            e.compare(equal, LLVMIntNE, LLVMConstNull(e.i16)), e.compare(place[0], LLVMIntSLT, e.int(0)))
          let word = e.or(e.zeroExtend(equal, e.i64), e.int(1 << 16))
          let here = e.add(e.lshr(offset, 2), e.lowestBit(word))
          return [e.select(isFirst, here, place[0])]
        }[0]
        let offset = e.mul(place, 4)
        e.store(e.int32(Self.none), e.at(f.candidates, offset))
        let element = e.loadInt32(e.at(f.list, offset))
        let word = e.at(f.bits, e.mul(e.div(element, 64), 8))
        e.store(e.or(e.loadInt(word), e.shl(e.int(1), by: e.and(element, 63))), word, align: 8)
        e.store(e.fadd(covered[0], sum(e, f, element)), next, align: 8)
        for offset in [0, 8] {
          e.store(e.add(e.loadInt(f.state, offset), -1), e.at(f.state, offset), align: 8)
        }
      }
      return [e.load(e.f64, next, align: 8)]
    }
  }

  private func key(_ e: Emitter, _ f: Frame, _ element: LLVMValue) -> LLVMValue {
    let offset = e.mul(element, 4)
    if granularity > 1 { return e.load(e.i32, e.at(f.keys, offset)) }
    let bits = e.load(e.i32, e.at(f.signal, offset))
    return e.xor(bits, e.lshr(e.ashr(bits, 31), 1))
  }

  /// The sum of an element's scores, in order.
  private func sum(_ e: Emitter, _ f: Frame, _ element: LLVMValue) -> LLVMValue {
    let start = e.mul(element, granularity)
    let end = e.minimum(f.length, e.add(start, granularity))
    return e.loop(start, end, carried: [LLVMConstReal(e.f64, 0)]) { position, sum in
      let score = e.load(e.f32, e.at(f.signal, e.mul(position, 4)))
      return [e.fadd(sum[0], LLVMBuildFPExt(e.builder, score, e.f64, ""))]
    }[0]
  }

  /// The sums of the scores of all marked elements, and of all.
  private func sums(_ e: Emitter, _ f: Frame) -> (marked: LLVMValue, all: LLVMValue) {
    let doubles = e.vector(e.f64, 16)
    let floats = e.vector(e.f32, 16)
    let zero = LLVMConstNull(doubles)!
    let sums = e.loop(e.int(0), e.div(e.add(f.length, 15), 16), carried: [zero, zero]) { vector, sums in
      let left = e.splat(e.truncate(e.sub(f.length, e.mul(vector, 16))), 16)
      let inside = e.compare(e.iota(16), LLVMIntSLT, left)
      let loaded = e.load(floats, e.at(f.signal, e.mul(vector, 64)))
      let scores = e.select(inside, loaded, LLVMConstNull(floats))
      let marked: LLVMValue
      if granularity > 1 {
        let word = e.loadInt(e.at(f.bits, e.mul(e.div(vector, 64), 8)))
        let bit = e.and(LLVMBuildLShr(e.builder, word, e.and(vector, 63), ""), 1)
        marked = e.splat(e.compare(bit, LLVMIntNE, e.int(0)), 16)
      } else {
        marked = e.lanes(e.load(e.i16, e.at(f.bits, e.mul(vector, 2)), align: 2))
      }
      func wide(_ v: LLVMValue) -> LLVMValue { LLVMBuildFPExt(e.builder, v, doubles, "") }
      return [
        e.fadd(sums[0], wide(e.select(marked, scores, LLVMConstNull(floats)))), e.fadd(sums[1], wide(scores)),
      ]
    }
    return (e.reduce(sums[0], e.fadd), e.reduce(sums[1], e.fadd))
  }
}
