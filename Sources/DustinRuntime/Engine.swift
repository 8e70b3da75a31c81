import CDustin
import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// One sequence's share of a step: tokens that go to the positions behind the committed ones of its cache.
public struct StepRows {
  public var cache: KVCache
  public var tokens: ArraySlice<Int32>

  public init(_ cache: KVCache, _ tokens: ArraySlice<Int32>) {
    self.cache = cache
    self.tokens = tokens
  }

  public init(_ cache: KVCache, _ tokens: [Int32]) { self.init(cache, tokens[...]) }
}

/// Bytes of KV cache that steps read, from the regions of the program and the lengths of the sequences: every row of a
/// sequence shares one read.
public struct CacheTraffic: Sendable, Equatable {
  public var bytesRead = 0
  /// What the same steps read if every function reads all positions.
  public var denseBytes = 0

  public init() {}

  public static func - (a: CacheTraffic, b: CacheTraffic) -> CacheTraffic {
    var difference = CacheTraffic()
    difference.bytesRead = a.bytesRead - b.bytesRead
    difference.denseBytes = a.denseBytes - b.denseBytes
    return difference
  }
}

/// Runs the functions of a compiled model on a thread team: one arena, one scratch, any number of caches.
///
/// Not Sendable: one thread at a time.
public final class Engine {
  public let model: CompiledModel
  public let team: ThreadTeam
  /// Of all steps so far.
  public private(set) var traffic = CacheTraffic()

  private let arena: Memory
  private let scratch: Memory
  private let scratchBytes: Int
  private var partials: Memory
  /// 64-byte aligned: the barrier's words have cache lines of their own.
  private let step: UnsafeMutablePointer<dustin_step>
  private var sequences: [dustin_sequence] = []
  /// Results of a call that took several steps, one block per result port.
  private var gathered: [Memory] = []
  /// Number of the last call: results of earlier ones are gone.
  private(set) var generation = 0

  /// - Throws: `DiagnosticError` with id `memory`.
  public init(model: CompiledModel, team: ThreadTeam) throws {
    let program = model.program
    self.model = model
    self.team = team
    arena = try Memory(count: program.arenaBytes, for: "the activations")
    scratchBytes = (program.scratchBytesPerThread + 63) / 64 * 64
    scratch = try Memory(count: product(scratchBytes, team.count, of: "the scratch"), for: "the scratch")
    partials = try Memory(count: 0, for: "partial results")
    let raw = UnsafeMutableRawPointer.allocate(byteCount: MemoryLayout<dustin_step>.size, alignment: 64)
    step = raw.bindMemory(to: dustin_step.self, capacity: 1)
    step.initialize(to: dustin_step())
  }

  deinit { step.deallocate() }

  /// Runs a function over the rows of several sequences; they share the reading of the weights. More rows than one step
  /// takes go in several. Nothing is committed: the rows take the positions `length …` of their caches until
  /// `KVCache.commit`.
  ///
  /// - Returns: The results, valid until the engine's next call.
  /// - Throws: `DiagnosticError` with id `context` when rows do not fit behind a cache's positions, `token` for a token
  ///   that is not in the vocabulary, `function` for an unknown name.
  public func step(_ function: String, _ rows: [StepRows]) throws -> StepResult {
    let function = try model.function(function)
    try check(rows, for: function)
    generation += 1
    let starts = rows.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.tokens.count) }
    let plan = Self.split(rows.map(\.tokens.count), maxRows: function.maxRows)
    if plan.count == 1 {
      run(function, rows, plan[0])
      return StepResult(engine: self, function: function, starts: starts, bases: function.results.map(address))
    }
    try makeRoom(for: function, rows: starts[rows.count], sequences: rows.count)
    for pieces in plan {
      run(function, rows, pieces)
      gather(function, pieces, starts)
    }
    return StepResult(
      engine: self, function: function, starts: starts, bases: gathered.map { UnsafeRawPointer($0.base) })
  }

  // MARK: Splitting

  /// Rows `rows` of sequence `sequence` of a call.
  struct Piece: Equatable {
    var sequence: Int
    var rows: Range<Int>
  }

  /// Deals rows to steps in order. A sequence is cut only if it is longer than a step, or to fill every step.
  static func split(_ counts: [Int], maxRows: Int, fillsSteps: Bool = false) -> [[Piece]] {
    var steps: [[Piece]] = []
    var current: [Piece] = []
    var free = maxRows
    for (sequence, count) in counts.enumerated() {
      if !fillsSteps, count > free, count <= maxRows, !current.isEmpty {
        steps.append(current)
        (current, free) = ([], maxRows)
      }
      var done = 0
      while done < count {
        let take = min(free, count - done)
        current.append(Piece(sequence: sequence, rows: done..<done + take))
        done += take
        free -= take
        if free == 0 {
          steps.append(current)
          (current, free) = ([], maxRows)
        }
      }
    }
    if !current.isEmpty { steps.append(current) }
    return steps
  }

  func check(_ rows: [StepRows], for function: CompiledFunction) throws {
    guard !rows.isEmpty else { throw DiagnosticError("step", "a step of '\(function.name)' needs at least one row") }
    let vocabulary = function.vocabulary
    var seen: Set<ObjectIdentifier> = []
    for share in rows {
      guard share.cache.model === model else {
        throw DiagnosticError("step", "a cache of another model was given to '\(function.name)'")
      }
      guard seen.insert(ObjectIdentifier(share.cache)).inserted else {
        throw DiagnosticError("step", "the same cache stands twice in a step of '\(function.name)'")
      }
      guard !share.tokens.isEmpty else {
        throw DiagnosticError("step", "a sequence without rows in a step of '\(function.name)'")
      }
      guard share.tokens.count <= share.cache.free else { throw share.cache.full(by: share.tokens.count) }
      for token in share.tokens where token < 0 || Int(token) >= vocabulary {
        throw DiagnosticError("token", "token \(token) is not in the vocabulary of \(vocabulary) tokens")
      }
    }
    // The scratch of the largest step this call can make; afterwards nothing can fail half-way.
    let most = min(function.maxRows, rows.reduce(0) { $0 + $1.tokens.count })
    let positions = rows.reduce(0) { max($0, $1.cache.length + $1.tokens.count) }
    try makePartials(bytes: function.partialBytes, rows: most, positions: positions)
  }

  private func makePartials(bytes: Int, rows: Int, positions: Int) throws {
    let chunks = (positions + DUSTIN_CHUNK - 1) / DUSTIN_CHUNK
    let bytes = try product(bytes, rows, chunks, of: "partial results")
    if bytes > partials.count { partials = try Memory(count: bytes, for: "partial results") }
  }

  // MARK: One step

  func run(_ function: CompiledFunction, _ rows: [StepRows], _ pieces: [Piece]) {
    sequences.removeAll(keepingCapacity: true)
    var row = 0
    for piece in pieces {
      let share = rows[piece.sequence]
      let start = share.cache.length + piece.rows.lowerBound
      sequences.append(
        dustin_sequence(
          values: nil,
          cache: share.cache.memory.base.assumingMemoryBound(to: UInt8.self), capacity: Int64(share.cache.capacity),
          row0: Int32(row), rows: Int32(piece.rows.count), length: Int32(start), reserved: 0))
      for r in piece.rows {
        store(share.tokens[share.tokens.startIndex + r], function.ids, row)
        if let positions = function.positions { store(Int32(share.cache.length + r), positions, row) }
        row += 1
      }
      let bytes = (start + piece.rows.count) * model.program.cacheBytesPerPosition
      traffic.bytesRead += bytes
      traffic.denseBytes += bytes
    }
    step.pointee.arena = arena.base.assumingMemoryBound(to: UInt8.self)
    step.pointee.weights = model.weights?.assumingMemoryBound(to: UInt8.self)
    step.pointee.partials = partials.base.assumingMemoryBound(to: UInt8.self)
    step.pointee.table = UnsafePointer(function.table.baseAddress)
    step.pointee.table_count = Int64(function.tableCount)
    step.pointee.sequence_count = Int32(pieces.count)
    step.pointee.rows = Int32(row)
    step.pointee.threads = Int32(team.count)
    step.pointee.wait = { giveCoreAway() }
    step.pointee.thread_scratch = scratch.base.assumingMemoryBound(to: UInt8.self)
    step.pointee.scratch_bytes = Int64(scratchBytes)
    step.pointee.arrived = 0
    step.pointee.phase = 0
    sequences.withUnsafeBufferPointer { buffer in
      step.pointee.sequences = buffer.baseAddress
      var job = Job(entry: model.entry, step: step)
      withUnsafeMutablePointer(to: &job) { job in
        team.run(
          call: { context, thread in
            let job = context.assumingMemoryBound(to: Job.self).pointee
            job.entry(job.step, Int64(thread))
          }, context: UnsafeMutableRawPointer(job))
      }
      step.pointee.sequences = nil
    }
  }

  private struct Job {
    let entry: dustin_entry
    let step: UnsafeMutablePointer<dustin_step>
  }

  /// In bounds: `ArenaPort` was checked for `maxRows` rows.
  private func store(_ value: Int32, _ port: ArenaPort, _ row: Int) {
    arena.base.storeBytes(of: value, toByteOffset: port.offset + row * port.rowBytes, as: Int32.self)
  }

  private func address(_ port: ArenaPort) -> UnsafeRawPointer { UnsafeRawPointer(arena.base + port.offset) }

  // MARK: Results of several steps

  private func makeRoom(for function: CompiledFunction, rows: Int, sequences: Int) throws {
    for (index, port) in function.results.enumerated() {
      let bytes = try product(port.perSequence ? sequences : rows, port.rowBytes, of: "the results")
      if index == gathered.count { gathered.append(try Memory(count: bytes, for: "the results")) }
      if gathered[index].count < bytes { gathered[index] = try Memory(count: bytes, for: "the results") }
    }
  }

  private func gather(_ function: CompiledFunction, _ pieces: [Piece], _ starts: [Int]) {
    for (index, port) in function.results.enumerated() {
      let width = port.count * (port.element == .bf16 ? 2 : 4)
      var row = 0
      for (place, piece) in pieces.enumerated() {
        if port.perSequence {
          // A sequence that was cut is overwritten by its later pieces: the last row stays.
          memcpy(
            gathered[index].base + piece.sequence * port.rowBytes, address(port) + place * port.rowBytes, width)
        } else {
          for r in piece.rows {
            let target = starts[piece.sequence] + r
            memcpy(gathered[index].base + target * port.rowBytes, address(port) + row * port.rowBytes, width)
            row += 1
          }
        }
      }
    }
  }
}

/// What a step left, until the engine's next call.
public struct StepResult {
  let engine: Engine
  let function: CompiledFunction
  /// Row of the call at which each sequence starts, and the end.
  let starts: [Int]
  /// First row of each result port.
  let bases: [UnsafeRawPointer]
  private let generation: Int

  init(engine: Engine, function: CompiledFunction, starts: [Int], bases: [UnsafeRawPointer]) {
    self.engine = engine
    self.function = function
    self.starts = starts
    self.bases = bases
    generation = engine.generation
  }

  /// f32[vocabulary] after a row of a sequence (numbers as in the call).
  public func logits(sequence: Int, row: Int) throws -> UnsafeBufferPointer<Float> {
    try floats("logits", sequence: sequence, row: row)
  }

  /// f32[vocabulary] after a sequence's last row.
  public func lastLogits(sequence: Int) throws -> UnsafeBufferPointer<Float> {
    try floats("logits", sequence: sequence, row: nil)
  }

  /// One row of an f32 result; `row` nil means the sequence's last one.
  /// - Throws: `DiagnosticError` with id `port` when there is no such result, row or element type.
  public func floats(_ name: String, sequence: Int, row: Int?) throws -> UnsafeBufferPointer<Float> {
    let (memory, port) = try bytes(name, sequence: sequence, row: row)
    guard port.element == .f32, let base = memory.baseAddress else {
      throw DiagnosticError("port", "result '\(name)' of function '\(function.name)' is \(port.element), not f32")
    }
    return UnsafeBufferPointer(start: base.assumingMemoryBound(to: Float.self), count: port.count)
  }

  /// One row of any result as bytes.
  public func bytes(_ name: String, sequence: Int, row: Int? = nil) throws -> UnsafeRawBufferPointer {
    try bytes(name, sequence: sequence, row: row).memory
  }

  private func bytes(
    _ name: String, sequence: Int, row: Int?
  ) throws -> (memory: UnsafeRawBufferPointer, port: ArenaPort) {
    guard generation == engine.generation else {
      throw DiagnosticError("port", "the results of '\(function.name)' were read after the engine's next step")
    }
    let (index, port) = try function.result(name)
    guard sequence >= 0, sequence < starts.count - 1 else {
      throw DiagnosticError("port", "the step has \(starts.count - 1) sequences; there is no number \(sequence)")
    }
    let rows = starts[sequence + 1] - starts[sequence]
    let row = row ?? rows - 1
    guard 0..<rows ~= row, !port.perSequence || row == rows - 1 else {
      throw DiagnosticError("port", "result '\(name)' of function '\(function.name)' has no row \(row) of \(rows)")
    }
    let place = port.perSequence ? sequence : starts[sequence] + row
    let width = port.count * (port.element == .bf16 ? 2 : 4)
    return (UnsafeRawBufferPointer(start: bases[index] + place * port.rowBytes, count: width), port)
  }
}
