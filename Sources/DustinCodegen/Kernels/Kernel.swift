import CDustin
import CLLVM

/// One kernel of a plan: its shape is all that its code depends on, so equal kernels are emitted once.
///
/// A kernel is `void kernel(step, arguments, thread)`; the arguments are 64-bit words of the call table, in the order
/// of `argumentNames`. All threads call it; each takes its share and touches only its own results.
protocol Kernel {
  /// Unique for the shape; also the symbol's name and what the plan prints.
  var name: String { get }
  var argumentNames: [String] { get }
  /// Bytes of scratch that one thread needs.
  var scratchBytes: Int { get }
  func emit(_ k: KernelBuilder)
}

extension Kernel {
  var scratchBytes: Int { 0 }
}

/// Which rows of the step a kernel works on.
enum RowDomain: String, Hashable, Sendable {
  /// One row per token in flight.
  case tokens
  /// One row per sequence.
  case sequences
}

/// The emitter inside one kernel, with the step's fields and the kernel's arguments at hand.
final class KernelBuilder {
  let e: Emitter
  let step: LLVMValue
  let arguments: LLVMValue
  let thread: LLVMValue

  init(_ emitter: Emitter, step: LLVMValue, arguments: LLVMValue, thread: LLVMValue) {
    e = emitter
    self.step = step
    self.arguments = arguments
    self.thread = thread
  }

  func argument(_ index: Int) -> LLVMValue { e.loadInt(arguments, index * 8) }
  /// Address of an arena offset that stands in the arguments.
  func arena(_ index: Int) -> LLVMValue { e.at(field(\.arena), argument(index)) }
  func weights(_ index: Int) -> LLVMValue { e.at(field(\.weights), argument(index)) }

  func field<T>(_ path: KeyPath<dustin_step, T>) -> LLVMValue { e.loadPointer(step, Self.offset(path)) }
  func count(_ path: KeyPath<dustin_step, Int32>) -> LLVMValue { e.loadInt32(step, Self.offset(path)) }
  static func offset<T>(_ path: KeyPath<dustin_step, T>) -> Int { MemoryLayout<dustin_step>.offset(of: path) ?? 0 }

  func rows(_ domain: RowDomain) -> LLVMValue { count(domain == .tokens ? \.rows : \.sequence_count) }

  /// This thread's part of 0 ..< n, contiguous.
  func share(of n: LLVMValue) -> (low: LLVMValue, high: LLVMValue) {
    let threads = count(\.threads)
    return (e.div(e.mul(n, thread), threads), e.div(e.mul(n, e.add(thread, 1)), threads))
  }

  /// This thread's scratch.
  func scratch() -> LLVMValue {
    let bytes = e.loadInt(step, Self.offset(\.scratch_bytes))
    return e.at(field(\.thread_scratch), e.mul(thread, bytes))
  }

  struct Sequence {
    let values, cache, capacity, row0, rows, length, scored: LLVMValue
  }
  func sequence(_ index: LLVMValue) -> Sequence {
    let p = e.at(field(\.sequences), e.mul(index, MemoryLayout<dustin_sequence>.stride))
    func offset<T>(_ path: KeyPath<dustin_sequence, T>) -> Int { MemoryLayout<dustin_sequence>.offset(of: path) ?? 0 }
    return Sequence(
      values: e.loadPointer(p, offset(\.values)), cache: e.loadPointer(p, offset(\.cache)),
      capacity: e.loadInt(p, offset(\.capacity)),
      row0: e.loadInt32(p, offset(\.row0)), rows: e.loadInt32(p, offset(\.rows)),
      length: e.loadInt32(p, offset(\.length)), scored: e.loadInt32(p, offset(\.scored)))
  }

  /// Runs `body` over `count` columns: 16 at a time, then one by one.
  func columns(_ count: Int, _ body: (_ column: LLVMValue, _ lanes: Int) -> Void) {
    let whole = count / 16 * 16
    e.each(e.int(0), e.int(whole), e.int(16)) { body($0, 16) }
    if whole < count { e.each(e.int(whole), e.int(count)) { body($0, 1) } }
  }

  /// Zeroes the column behind an odd number of columns: products take pairs, and 0 times garbage may be NaN.
  func zeroOddColumn(_ count: Int, _ element: FloatElement, _ row: LLVMValue) {
    if count % 2 == 1 { storeFloats(element, e.float(0), row, e.int(count)) }
  }

  /// Loads `lanes` values of an element type at a column as f32.
  func loadFloats(_ element: FloatElement, _ row: LLVMValue, _ column: LLVMValue, _ lanes: Int) -> LLVMValue {
    let p = e.at(row, e.mul(column, element.byteCount))
    switch element {
    case .f32: return e.load(e.vector(e.f32, lanes), p)
    case .bf16: return e.widenBF16(e.load(e.vector(e.i16, lanes), p, align: 2))
    }
  }
  /// Stores f32 values at a column, rounded to the element type.
  func storeFloats(_ element: FloatElement, _ value: LLVMValue, _ row: LLVMValue, _ column: LLVMValue) {
    let p = e.at(row, e.mul(column, element.byteCount))
    switch element {
    case .f32: e.store(value, p)
    case .bf16: e.store(e.roundToBF16(value), p, align: 2)
    }
  }
}

/// The element types that kernels compute with.
enum FloatElement: String, Hashable, Sendable {
  case f32, bf16
  var byteCount: Int { self == .f32 ? 4 : 2 }
}
