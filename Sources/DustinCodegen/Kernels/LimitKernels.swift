import CLLVM

// What the machine can do at best, free of any model: the yardstick for the other kernels.

/// Reads this thread's part of the weights once, as four streams side by side: one alone does not keep enough reads under
/// way.
///
///     for 128 bytes in a quarter of my part: in every quarter, two accumulators += 64 bytes each; out[thread] = their sum
struct ReadKernel: Kernel, Hashable {
  static let blockBytes = 512
  private static let streams = 4

  let blocks: Int
  var name: String { "read_\(blocks)" }
  let argumentNames = ["weights", "out"]

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let lanes = e.vector(e.i32, 16)
    let (low, high) = k.share(of: e.int(blocks))
    let memory = e.at(k.weights(0), e.mul(low, Self.blockBytes))
    let bytes = Self.blockBytes / Self.streams
    let count = e.sub(high, low)
    let distance = e.mul(count, bytes)
    let start = [LLVMValue](repeating: e.splatConstant(int: 0, lanes), count: 2 * Self.streams)
    let sums = e.loop(e.int(0), count, carried: start) { index, sums in
      sums.enumerated().map { place, sum in
        let stream = e.at(memory, e.add(e.mul(distance, place / 2), e.mul(index, bytes)))
        return e.add(sum, e.load(lanes, e.at(stream, place % 2 * 64)))
      }
    }
    e.store(sums.dropFirst().reduce(sums[0]) { e.add($0, $1) }, e.at(k.arena(1), e.mul(k.thread, 64)))
  }
}

/// Multiplies and adds in registers only: as many independent sums as hide the latency.
struct PeakKernel: Kernel, Hashable {
  let dot: Dot
  let sums: Int
  let repetitions: Int
  var name: String { "peak_\(dot.rawValue)_\(sums)x\(repetitions)" }
  let argumentNames = ["out"]

  /// Floating-point operations of one thread in one call.
  var operations: Double { Double(repetitions) * Double(sums) * 16 * Double(dot.unit) * 2 }

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let out = e.at(k.arena(0), e.mul(k.thread, 256))
    // From memory, so that nothing can be folded.
    let packed = dot.packed(e, out)
    let row = dot.broadcast(e, e.at(out, 64))
    let start = (0..<sums).map { _ in e.load(e.vector(e.f32, 16), e.at(out, 128)) }
    let ends = e.loop(e.int(0), e.int(repetitions), carried: start, atLeastOnce: true) { _, sums in
      sums.map { dot.accumulate(e, $0, packed, row) }
    }
    e.store(ends.dropFirst().reduce(ends[0]) { e.fadd($0, $1) }, e.at(out, 192))
  }
}
