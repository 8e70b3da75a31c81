import CDustin
import DustinSupport
import Synchronization

@testable import DustinRuntime

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A model without weights that keeps the contract of emitted code: it writes something of every token into the cache,
/// and its logits are a hash of the cached bytes of all positions up to the row's. A wrong position, a lost or stale slot,
/// a wrong fork all change the logits.
struct FakeModel {
  var vocabulary = 32
  /// Percent of positions at which two models of different `voice` say the same.
  var agreement = 100
  var voice = 0
  /// Levels of the logits; few make ties.
  var levels = 64
  /// Greatest logit.
  var height: Float = 6
  var maxRows = 12
  var prefillRows = 7

  static let regions = [
    Program.CacheRegion(isKeys: true, heads: 2, dim: 4, element: .bf16),
    Program.CacheRegion(isKeys: false, heads: 2, dim: 2, element: .bf16),
    Program.CacheRegion(isKeys: true, heads: 1, dim: 2, element: .f32),
    Program.CacheRegion(isKeys: false, heads: 1, dim: 2, element: .f32),
  ]

  func compiled() throws -> CompiledModel {
    try CompiledModel(program: program, entry: fakeEntry, weights: nil)
  }

  var program: Program {
    let rows = max(maxRows, prefillRows)
    let logitsAt = 2 * rows * 64
    func function(_ name: String, _ maxRows: Int, perSequence: Bool) -> Program.Function {
      Program.Function(
        name: name, maxRows: maxRows,
        table: [
          0, 0, 8,  // one call of the only kernel, with eight arguments
          Int64(vocabulary), Int64(rows * 64), Int64(logitsAt), Int64(agreement), Int64(voice), Int64(levels),
          Int64(height.bitPattern), perSequence ? 1 : 0,
        ],
        arguments: [
          .init(
            name: "ids", role: "plain",
            place: .arena(offset: 0, rowBytes: 64, count: 1, element: .i32, perSequence: false)),
          .init(
            name: "pos", role: "plain",
            place: .arena(offset: rows * 64, rowBytes: 64, count: 1, element: .i32, perSequence: false)),
          .init(name: "k0", role: "cache", place: .cache(region: 0)),
        ],
        results: [
          .init(
            name: "logits", role: "plain",
            place: .arena(
              offset: logitsAt, rowBytes: vocabulary * 4, count: vocabulary, element: .f32, perSequence: perSequence)),
          .init(name: "k1", role: "cache", place: .cache(region: 0)),
        ], isExact: true)
    }
    return Program(
      functions: [
        function("prefill", prefillRows, perSequence: true), function("draft", maxRows, perSequence: true),
        function("verify", maxRows, perSequence: false),
      ],
      kernelCount: 1, cacheRegions: Self.regions, arenaBytes: logitsAt + rows * vocabulary * 4, weightBytes: 0,
      scratchBytesPerThread: 64)
  }
}

func mixed(_ a: UInt64, _ b: UInt64) -> UInt64 {
  var x = (a ^ b) &* 0x9E37_79B9_7F4A_7C15
  x ^= x >> 29
  x = x &* 0xBF58_476D_1CE4_E5B9
  return x ^ (x >> 32)
}

private typealias Word = UnsafeMutablePointer<Atomic<Int64>>

private func words(_ step: UnsafeMutablePointer<dustin_step>) -> (arrived: Word, phase: Word)? {
  let raw = UnsafeMutableRawPointer(step)
  guard let a = MemoryLayout<dustin_step>.offset(of: \.arrived), let p = MemoryLayout<dustin_step>.offset(of: \.phase)
  else { return nil }
  return ((raw + a).assumingMemoryBound(to: Atomic<Int64>.self), (raw + p).assumingMemoryBound(to: Atomic<Int64>.self))
}

/// All threads meet here, with the words of the step, as emitted code does.
func fakeBarrier(_ step: UnsafeMutablePointer<dustin_step>) {
  guard let (arrived, phase) = words(step) else { return }
  let now = phase.pointee.load(ordering: .acquiring)
  if arrived.pointee.wrappingAdd(1, ordering: .acquiringAndReleasing).newValue == Int64(step.pointee.threads) {
    arrived.pointee.store(0, ordering: .relaxed)
    phase.pointee.store(now + 1, ordering: .releasing)
  } else {
    while phase.pointee.load(ordering: .acquiring) == now { step.pointee.wait?() }
  }
}

private func leaveWords(_ step: UnsafeMutablePointer<dustin_step>) {
  guard let (arrived, phase) = words(step) else { return }
  arrived.pointee.store(1, ordering: .relaxed)
  phase.pointee.store(7, ordering: .relaxed)
}

let fakeEntry: dustin_entry = { step, thread in
  guard let step else { return }
  let table = step.pointee.table! + 3
  let arena = UnsafeMutableRawPointer(step.pointee.arena!)
  let (vocabulary, posAt, logitsAt) = (Int(table[0]), Int(table[1]), Int(table[2]))
  let (agreement, voice, levels) = (UInt64(table[3]), UInt64(table[4]), UInt64(table[5]))
  let height = Float(bitPattern: UInt32(table[6]))
  let perSequence = table[7] == 1
  let threads = Int64(step.pointee.threads)
  let count = Int(step.pointee.sequence_count)
  precondition(Int(step.pointee.table_count) == 11 && Int64(step.pointee.threads) > thread)

  for index in 0..<count where Int64(index) % threads == thread {
    let s = step.pointee.sequences[index]
    for r in 0..<Int(s.rows) {
      let row = Int(s.row0) + r
      let id = arena.load(fromByteOffset: row * 64, as: Int32.self)
      let position = arena.load(fromByteOffset: posAt + row * 64, as: Int32.self)
      writeFake(s, slot: Int(s.length) + r, hash: mixed(UInt64(id) &+ 1, UInt64(position) &+ 77))
    }
  }
  fakeBarrier(step)
  // The threads are shifted, so that each reads what another one wrote.
  for index in 0..<count where Int64(index + 1) % threads == thread {
    let s = step.pointee.sequences[index]
    var hash: UInt64 = 12345
    for position in 0..<Int(s.length + s.rows) {
      hash = readFake(s, slot: position, hash)
      let r = position - Int(s.length)
      if r < 0 || (perSequence && r != Int(s.rows) - 1) { continue }
      let agrees = mixed(hash, 99) % 100 < agreement
      let salt = mixed(agrees ? 1 : voice &+ 1, 5)
      let place = perSequence ? index : Int(s.row0) + r
      let out = (arena + logitsAt + place * vocabulary * 4).assumingMemoryBound(to: Float.self)
      for token in 0..<vocabulary {
        let level = mixed(hash, salt &+ UInt64(token)) % levels
        out[token] = height * Float(level) / Float(levels)
      }
    }
  }
  fakeBarrier(step)
  // Emitted code may leave its words as it likes; nobody reads them any more, and each step starts with zeros.
  if thread == 0 { leaveWords(step) }
}

private func writeFake(_ s: dustin_sequence, slot: Int, hash: UInt64) {
  var hash = hash
  eachElement(s, slot: slot) { address, bytes in
    hash = mixed(hash, 3)
    if bytes == 2 {
      address.storeBytes(of: UInt16(truncatingIfNeeded: hash), as: UInt16.self)
    } else {
      address.storeBytes(of: UInt32(truncatingIfNeeded: hash), as: UInt32.self)
    }
  }
}

private func readFake(_ s: dustin_sequence, slot: Int, _ hash: UInt64) -> UInt64 {
  var hash = hash
  eachElement(s, slot: slot) { address, bytes in
    hash = mixed(hash, bytes == 2 ? UInt64(address.load(as: UInt16.self)) : UInt64(address.load(as: UInt32.self)))
  }
  return hash
}

/// Written from the layout's description in Program.swift, not with the code under test.
private func eachElement(_ s: dustin_sequence, slot: Int, _ body: (UnsafeMutableRawPointer, Int) -> Void) {
  let capacity = Int(s.capacity)
  var start = UnsafeMutableRawPointer(s.cache!)
  for region in FakeModel.regions {
    let bytes = region.elementBytes
    let u = bytes == 2 ? 2 : 1
    for head in 0..<region.heads {
      let block = start + head * region.dim * bytes * capacity + slot / 16 * (16 * region.dim * bytes)
      let p = slot % 16
      for d in 0..<region.dim {
        // keys [dim/u][16][u], values [16/u][dim][u]
        let element = region.isKeys ? ((d / u) * 16 + p) * u + d % u : ((p / u) * region.dim + d) * u + p % u
        body(block + element * bytes, bytes)
      }
    }
    start += region.heads * region.dim * bytes * capacity
  }
}

/// Ids that depend on a number only.
func fakePrompt(_ seed: Int, count: Int, vocabulary: Int = 32) -> [Int32] {
  (0..<count).map { Int32(mixed(UInt64(seed), UInt64($0)) % UInt64(vocabulary)) }
}

func fakeEngine(_ model: FakeModel = FakeModel(), threads: Int = 1) throws -> Engine {
  try Engine(model: model.compiled(), team: ThreadTeam(threads: threads))
}
