import CDustin
import DustinCodegen
import DustinIR
import DustinInterpreter
import DustinRuntime
import DustinSupport

/// Attention of one layer, dense and through a set, compiled by itself: queries, keys and values come as rows.
final class GatherModel {
  struct Shape: CustomStringConvertible {
    var queryHeads = 4
    var heads = 2
    var dim = 32
    var isBF16 = true
    /// One set per KV head.
    var perHead = false
    var bound = 512
    var keepsRows = true
    var maxRows = 64
    var maxLength = 8192

    var description: String {
      "\(queryHeads)/\(heads)x\(dim) \(isBF16 ? "bf16" : "f32")\(perHead ? " per head" : "")"
        + " \(keepsRows ? "both" : "packed")"
    }
  }

  let shape: Shape
  let program: Program
  private let code: MappedCode

  /// Scratch and partial results start as NaNs: what a kernel reads before it writes shows.
  private static let garbage: UInt8 = 0xff

  init(_ shape: Shape, target: CPUTarget) throws {
    self.shape = shape
    let element = shape.isBF16 ? "bf16" : "f32"
    let cache = "\(element)[L, \(shape.heads), \(shape.dim)]"
    let rows = "f32[T, \(shape.heads), \(shape.dim)]"
    let caches = "%k0: \(cache) {role = cache}, %v0: \(cache) {role = cache}"
    let results = "\(cache) {role = cache}, \(cache) {role = cache}"
    let append = "%k1, %v1 = append %k, %v, cache(%k0, %v0) : \(cache), \(cache)"
    let q = "\(element)[T, \(shape.queryHeads), \(shape.dim)]"
    let y = "f32[T, \(shape.queryHeads), \(shape.dim)]"
    let set = "i32[\(shape.perHead ? "\(shape.heads), " : "")S]"
    // Behind all arguments; rows are padded to 64 values.
    let rowValues = ((shape.queryHeads * shape.dim + 63) / 64 + (shape.heads * shape.dim + 63) / 64 * 2) * 64
    let attributes = "scale = 0.4\(shape.isBF16 ? ", probs = bf16" : ""), at = [\(rowValues * 4 * shape.maxRows)]"
    let text = """
      dustin 1
      stage planned {kv_layout = \(shape.keepsRows ? "both" : "packed")}
      dim T <= \(shape.maxRows)
      dim L <= \(shape.maxLength)
      dim S = min(\(shape.bound), L)
      func @fill(%k: \(rows), %v: \(rows), \(caches)) -> (\(results)) {fidelity = exact, numerics = f32} {
        \(append)
        return %k1, %v1
      }
      func @dense(%q: \(q), %k: \(rows), %v: \(rows), \(caches)) -> (\(y), \(results)) {fidelity = exact, numerics = f32} {
        \(append)
        %y = attend %q, cache(%k1, %v1) {\(attributes)} : \(y)
        return %y, %k1, %v1
      }
      func @sparse(%q: \(q), %k: \(rows), %v: \(rows), %i: \(set) {role = round}, \(caches)) -> (\(y), \(results)) {fidelity = approximate("test"), numerics = f32} {
        \(append)
        %ks, %vs = gather %i, cache(%k1, %v1) : \(element)[S, \(shape.heads), \(shape.dim)], \(element)[S, \(shape.heads), \(shape.dim)]
        %y = attend %q, cache(%ks, %vs), tail(%k1, %v1), after(%i) {\(attributes)} : \(y)
        return %y, %k1, %v1
      }
      """
    let module = try ModuleParser.parseVerified(SourceBuffer(name: "\(shape)", text: text))
    let output = try Compiler.compile(module, for: target)
    program = output.program
    code = try MappedCode(output.code)
  }

  /// A sequence's memory of caches and values; `k` and `v` are what was appended, [position][head][dim].
  final class Sequence {
    let model: GatherModel
    let cache, values: Memory
    let capacity: Int
    var length = 0
    var k: [Float] = []
    var v: [Float] = []
    var sets: [[Int32]] = []

    init(_ model: GatherModel, positions: Int) throws {
      self.model = model
      capacity = (positions + 63) / 64 * 64
      let program = model.program
      cache = try Memory(count: program.cacheBytesPerPosition * capacity, for: "the cache")
      values = try Memory(count: program.fixedValueBytes + program.valueBytesPerPosition * capacity, for: "values")
    }

    /// One plane for all heads, or one for each.
    func set(_ planes: [[Int32]]) {
      sets = planes
      for (index, positions) in planes.enumerated() {
        let plane = values.base + index * model.program.sequenceValues[0].setBytes
        plane.storeBytes(of: Int32(positions.count), as: Int32.self)
        for (place, position) in positions.enumerated() {
          plane.storeBytes(of: position, toByteOffset: 64 + place * 4, as: Int32.self)
        }
      }
    }
    func set(ofHead head: Int) -> [Int32] { sets[sets.count == 1 ? 0 : head] }
  }

  /// Rows of a sequence, [token][head][dim] each.
  struct Rows {
    let sequence: Sequence
    let count: Int
    var q: [Float] = []
    let k, v: [Float]

    init(_ sequence: Sequence, _ count: Int, _ random: inout SeededGenerator) {
      let shape = sequence.model.shape
      func floats(_ heads: Int) -> [Float] {
        (0..<count * heads * shape.dim).map { _ in
          let value = Float(Int32(truncatingIfNeeded: random.next() >> 40)) / Float(1 << 23) - 1
          return shape.isBF16 ? roundedToBF16(value * 1.5) : value * 1.5
        }
      }
      self.sequence = sequence
      self.count = count
      (k, v, q) = (floats(shape.heads), floats(shape.heads), floats(shape.queryHeads))
    }

    /// Some of the rows.
    func slice(_ range: Range<Int>) -> Rows {
      func part(_ values: [Float]) -> [Float] {
        let width = values.count / count
        return Array(values[(range.lowerBound * width)..<(range.upperBound * width)])
      }
      return Rows(sequence, range.count, part(q), part(k), part(v))
    }
    private init(_ sequence: Sequence, _ count: Int, _ q: [Float], _ k: [Float], _ v: [Float]) {
      (self.sequence, self.count, self.q, self.k, self.v) = (sequence, count, q, k, v)
    }
  }

  /// Appends the rows for good.
  func fill(_ rows: Rows) throws {
    let width = shape.heads * shape.dim
    for first in stride(from: 0, to: rows.count, by: shape.maxRows) {
      let piece = rows.slice(first..<min(first + shape.maxRows, rows.count))
      _ = try run("fill", [piece], threads: 1)
      rows.sequence.length += piece.count
    }
    rows.sequence.k = Array(rows.sequence.k.prefix((rows.sequence.length - rows.count) * width)) + rows.k
    rows.sequence.v = Array(rows.sequence.v.prefix((rows.sequence.length - rows.count) * width)) + rows.v
  }

  /// One step; the rows are in flight. Results of each sequence: [token][query head][dim].
  func run(_ name: String, _ rows: [Rows], threads: Int) throws -> [[Float]] {
    guard let function = program.function(name) else { throw DiagnosticError("test", "no function \(name)") }
    let arena = try Memory(count: program.arenaBytes, for: "the arena")
    let total = rows.reduce(0) { $0 + $1.count }
    precondition(total <= shape.maxRows)
    for port in function.arguments {
      guard case .arena(let offset, let rowBytes, let count, let element, _) = port.place else { continue }
      var row = 0
      for part in rows {
        let values = port.name == "q" ? part.q : port.name == "k" ? part.k : part.v
        for token in 0..<part.count {
          let target = arena.base + offset + row * rowBytes
          for column in 0..<count {
            let value = values[token * count + column]
            if element == .bf16 {
              target.storeBytes(of: UInt16(value.bitPattern >> 16), toByteOffset: column * 2, as: UInt16.self)
            } else {
              target.storeBytes(of: value, toByteOffset: column * 4, as: Float.self)
            }
          }
          row += 1
        }
      }
    }
    var sequences: [dustin_sequence] = []
    var row0 = 0
    for part in rows {
      let s = part.sequence
      sequences.append(
        dustin_sequence(
          values: s.values.base.assumingMemoryBound(to: UInt8.self),
          cache: s.cache.base.assumingMemoryBound(to: UInt8.self), capacity: Int64(s.capacity), row0: Int32(row0),
          rows: Int32(part.count), length: Int32(s.length), scored: Int32(s.length)))
      row0 += part.count
    }
    let chunks = rows.map { ($0.sequence.length + $0.count + 1023) / 1024 }.max() ?? 1
    let partials = try Memory(count: function.partialBytes * total * chunks, for: "partials")
    let scratchBytes = program.scratchBytesPerThread
    let scratch = try Memory(count: scratchBytes * threads, for: "scratch")
    for memory in [partials, scratch] {
      memory.base.initializeMemory(as: UInt8.self, repeating: Self.garbage, count: memory.count)
    }
    let raw = UnsafeMutableRawPointer.allocate(byteCount: MemoryLayout<dustin_step>.size, alignment: 64)
    defer { raw.deallocate() }
    let step = raw.bindMemory(to: dustin_step.self, capacity: 1)
    step.initialize(to: dustin_step())
    try function.table.withUnsafeBufferPointer { table in
      try sequences.withUnsafeBufferPointer { sequences in
        step.pointee.arena = arena.base.assumingMemoryBound(to: UInt8.self)
        step.pointee.weights = UnsafePointer(step.pointee.arena)
        step.pointee.partials = partials.base.assumingMemoryBound(to: UInt8.self)
        step.pointee.table = table.baseAddress
        step.pointee.table_count = Int64(table.count)
        step.pointee.sequences = sequences.baseAddress
        step.pointee.sequence_count = Int32(sequences.count)
        step.pointee.rows = Int32(total)
        step.pointee.threads = Int32(threads)
        step.pointee.wait = {}
        step.pointee.thread_scratch = scratch.base.assumingMemoryBound(to: UInt8.self)
        step.pointee.scratch_bytes = Int64(scratchBytes)
        let (shared, entry) = (SharedStep(step), code.entry)
        try ThreadTeam(threads: threads).run { thread in entry(shared.pointer, Int64(thread)) }
      }
    }
    guard case .arena(let offset, let rowBytes, let count, _, _)? = function.results.first?.place else { return [] }
    var row = 0
    return rows.map { part in
      (0..<part.count).flatMap { _ -> [Float] in
        defer { row += 1 }
        let source = arena.base + offset + row * rowBytes
        return (0..<count).map { source.load(fromByteOffset: $0 * 4, as: Float.self) }
      }
    }
  }

  /// The step is the threads' to share; its barrier orders what they do.
  private struct SharedStep: @unchecked Sendable {
    let pointer: UnsafeMutablePointer<dustin_step>
    init(_ pointer: UnsafeMutablePointer<dustin_step>) { self.pointer = pointer }
  }
}
