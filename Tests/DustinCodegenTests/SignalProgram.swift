import CDustin
import DustinCodegen
import DustinIR
import DustinRuntime
import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A module of functions without linears, compiled for one CPU path and called with memory of the test's own: rows, keys,
/// signals and sets can be put in and looked at one by one.
final class SignalProgram {
  let module: Module
  let program: Program
  private let code: MappedCode
  private let arena: AlignedBytes
  private var partials = AlignedBytes(64)

  init(_ text: String, _ name: String, target: CPUTarget) throws {
    module = try ModuleParser.parseVerified(SourceBuffer(name: name, text: text))
    let output = try Compiler.compile(module, for: target)
    program = output.program
    code = try MappedCode(output.code)
    arena = AlignedBytes(program.arenaBytes)
  }

  /// One sequence: its caches, signals and sets.
  final class Sequence {
    /// Committed positions.
    var length: Int
    /// Positions that signals are made of; nil: the committed ones.
    var scored: Int?
    let capacity: Int
    fileprivate let program: Program
    fileprivate let cache, values: AlignedBytes

    init(_ program: Program, length: Int, capacity: Int) {
      self.program = program
      self.length = length
      self.capacity = (capacity + 63) / 64 * 64
      cache = AlignedBytes(program.cacheBytesPerPosition * self.capacity)
      // Garbage, such as other steps leave behind.
      values = AlignedBytes(program.fixedValueBytes + program.valueBytesPerPosition * self.capacity, fill: 0xa5)
    }

    /// Puts [position][head][dim] into a packed region of keys; also beyond the committed positions.
    func setKeys(_ floats: [Float], region number: Int) {
      let region = program.cacheRegions[number]
      let start = program.cacheRegions[..<number].reduce(0) { $0 + $1.bytesPerPosition } * capacity
      let (heads, dim, size) = (region.heads, region.dim, region.elementBytes)
      let unit = 4 / size
      for (index, value) in floats.enumerated() {
        let (position, head, d) = (index / (heads * dim), index / dim % heads, index % dim)
        let block = start + head * dim * size * capacity + position / 16 * 16 * dim * size
        let place = block + d / unit * 64 + position % 16 * 4 + d % unit * size
        if size == 4 {
          cache.base.storeBytes(of: value, toByteOffset: place, as: Float.self)
        } else {
          cache.base.storeBytes(of: UInt16(value.bitPattern >> 16), toByteOffset: place, as: UInt16.self)
        }
      }
    }

    private func place(_ name: String, plane: Int) -> (offset: Int, isSignal: Bool)? {
      guard let number = program.sequenceValues.firstIndex(where: { $0.name == name }) else { return nil }
      let (value, place) = (program.sequenceValues[number], program.place(ofValue: number))
      let start = place.fixed + place.perPosition * capacity
      return (start + plane * (value.kind == .signal ? capacity * 4 : value.setBytes), value.kind == .signal)
    }

    /// A plane of a signal with its padding to whole groups of 64.
    func signal(_ name: String, plane: Int = 0) -> [Float] {
      guard case (let offset, true)? = place(name, plane: plane) else { return [] }
      return (0..<((scored ?? length) + 63) / 64 * 64).map {
        values.base.load(fromByteOffset: offset + $0 * 4, as: Float.self)
      }
    }
    func setSignal(_ name: String, plane: Int = 0, _ floats: [Float]) {
      guard case (let offset, true)? = place(name, plane: plane) else { return }
      let padding = [Float](repeating: 0, count: (64 - floats.count % 64) % 64)
      for (index, value) in (floats + padding).enumerated() {
        values.base.storeBytes(of: value, toByteOffset: offset + index * 4, as: Float.self)
      }
    }
    func set(_ name: String, plane: Int = 0) -> [Int32] {
      guard case (let offset, false)? = place(name, plane: plane) else { return [] }
      let count = Int(values.base.load(fromByteOffset: offset, as: Int32.self))
      guard count >= 0, offset + 64 + count * 4 <= values.count else { return [-1] }
      return (0..<count).map { values.base.load(fromByteOffset: offset + 64 + $0 * 4, as: Int32.self) }
    }
  }

  func sequence(length: Int, capacity: Int? = nil) -> Sequence {
    Sequence(program, length: length, capacity: capacity ?? length + 16)
  }

  /// Runs a function over sequences with so many rows each; `rows` are the numbers of each row argument, sequence behind
  /// sequence.
  func run(_ name: String, _ sequences: [(Sequence, rows: Int)], rows: [String: [Float]] = [:], threads: Int = 1) throws
  {
    guard let function = program.function(name) else { throw DiagnosticError("test", "no function \(name)") }
    let count = sequences.reduce(0) { $0 + $1.rows }
    for port in function.arguments {
      guard case .arena(let offset, let stride, let width, let element, _) = port.place, let floats = rows[port.name]
      else { continue }
      for row in 0..<count {
        for column in 0..<width {
          let value = floats[row * width + column]
          if element == .f32 {
            arena.base.storeBytes(of: value, toByteOffset: offset + row * stride + column * 4, as: Float.self)
          } else {
            let half = UInt16(value.bitPattern >> 16)
            arena.base.storeBytes(of: half, toByteOffset: offset + row * stride + column * 2, as: UInt16.self)
          }
        }
      }
    }
    var row0 = 0
    var entries: [dustin_sequence] = []
    for (sequence, rows) in sequences {
      entries.append(
        dustin_sequence(
          values: sequence.values.base.assumingMemoryBound(to: UInt8.self),
          cache: sequence.cache.base.assumingMemoryBound(to: UInt8.self), capacity: Int64(sequence.capacity),
          row0: Int32(row0), rows: Int32(rows), length: Int32(sequence.length),
          scored: Int32(sequence.scored ?? sequence.length)))
      row0 += rows
    }
    let chunk = Int(DUSTIN_CHUNK)
    let chunks = sequences.map { ($0.0.length + $0.rows + chunk - 1) / chunk }.max() ?? 0
    let needed = function.partialBytes * count * chunks
    // Its own memory each time: what is read must have been written in the same step.
    partials = AlignedBytes(needed, fill: 0xff)
    let scratch = AlignedBytes(program.scratchBytesPerThread * threads, fill: 0xff)
    let memory = AlignedBytes(MemoryLayout<dustin_step>.size)
    let step = memory.base.bindMemory(to: dustin_step.self, capacity: 1)
    let team = try ThreadTeam(threads: threads)
    function.table.withUnsafeBufferPointer { table in
      entries.withUnsafeBufferPointer { entries in
        step.pointee.arena = arena.base.assumingMemoryBound(to: UInt8.self)
        step.pointee.partials = partials.base.assumingMemoryBound(to: UInt8.self)
        step.pointee.table = table.baseAddress
        step.pointee.table_count = Int64(table.count)
        step.pointee.sequences = entries.baseAddress
        step.pointee.sequence_count = Int32(entries.count)
        step.pointee.rows = Int32(count)
        step.pointee.threads = Int32(threads)
        step.pointee.wait = { _ = sched_yield() }
        step.pointee.thread_scratch = scratch.base.assumingMemoryBound(to: UInt8.self)
        step.pointee.scratch_bytes = Int64(program.scratchBytesPerThread)
        nonisolated(unsafe) let step = step
        let entry = code.entry
        team.run { entry(step, Int64($0)) }
      }
    }
    guard partials.isIntact, scratch.isIntact, arena.isIntact, sequences.allSatisfy({ $0.0.values.isIntact }) else {
      throw DiagnosticError("test", "'\(name)' wrote behind the memory that it was given")
    }
  }
}

/// Zeroed or filled memory on a cache line, with a guard behind it.
final class AlignedBytes {
  let base: UnsafeMutableRawPointer
  let count: Int
  private static let guardBytes = 256

  init(_ count: Int, fill: UInt8 = 0) {
    self.count = count
    base = .allocate(byteCount: count + Self.guardBytes, alignment: 64)
    base.initializeMemory(as: UInt8.self, repeating: fill, count: count)
    (base + count).initializeMemory(as: UInt8.self, repeating: 0x5c, count: Self.guardBytes)
  }
  deinit { base.deallocate() }

  var isIntact: Bool {
    UnsafeRawBufferPointer(start: base + count, count: Self.guardBytes).allSatisfy { $0 == 0x5c }
  }
}
