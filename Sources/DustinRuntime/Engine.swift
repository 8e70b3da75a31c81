import CDustin
import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// One sequence's share of a step: tokens that go to the positions behind the committed ones of its cache, or, for a
/// function without token ids, the rows that earlier steps left with the cache.
public struct StepRows {
  public var cache: KVCache
  /// Empty for a function without token ids.
  public var tokens: ArraySlice<Int32>
  /// Committed positions that the step sees, and behind which its rows go; nil: all of the cache's. Rows behind fewer
  /// are written over committed ones.
  public var length: Int?
  /// Positions that the step's signals are made of, no more than come before its last row; nil: the committed ones.
  public var scored: Int?

  public init(_ cache: KVCache, _ tokens: ArraySlice<Int32>, length: Int? = nil, scored: Int? = nil) {
    self.cache = cache
    self.tokens = tokens
    self.length = length
    self.scored = scored
  }

  public init(_ cache: KVCache, _ tokens: [Int32] = [], length: Int? = nil, scored: Int? = nil) {
    self.init(cache, tokens[...], length: length, scored: scored)
  }

  var start: Int { length ?? cache.length }
}

/// Bytes of KV cache that steps read, as the functions state it: every row of a sequence shares one read.
public struct CacheTraffic: Sendable, Equatable {
  public var bytesRead = 0
  /// What the same steps read if every function reads all positions.
  public var denseBytes = 0
  /// The part of `bytesRead` that went into functions which only score: `look`, `select`.
  public var scoringBytes = 0

  public init() {}

  public static func - (a: CacheTraffic, b: CacheTraffic) -> CacheTraffic {
    var difference = CacheTraffic()
    difference.bytesRead = a.bytesRead - b.bytesRead
    difference.denseBytes = a.denseBytes - b.denseBytes
    difference.scoringBytes = a.scoringBytes - b.scoringBytes
    return difference
  }

  /// One sequence's share of a step that has run. Figures only: they may wrap, but never trap.
  mutating func add(
    _ function: CompiledFunction, _ cache: KVCache, _ share: dustin_sequence, _ program: Program
  ) {
    let reads = function.reads
    let end = Int(share.length) + (function.ids == nil ? 0 : Int(share.rows))
    bytesRead &+= reads.perPosition &* end
    denseBytes &+= reads.densePerPosition &* end
    if reads.densePerPosition == 0 { scoringBytes &+= reads.perPosition &* end }
    for selected in reads.perSelected {
      let planes = program.sequenceValues[selected.set].planes
      let positions = (0..<planes).reduce(0) { sum, plane in
        let set = cache.positions(ofSet: selected.set, plane: plane)
        return sum + set.count + max(0, end - 1 - Int(set.last ?? -1))
      }
      bytesRead &+= selected.bytes &* positions / planes
    }
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
  ///   `rows` when rows that earlier steps should have left are missing, `step` for rows that make no step.
  public func step(_ function: String, _ rows: [StepRows]) throws -> StepResult {
    let function = try model.function(function)
    let counts = try check(rows, for: function)
    generation += 1
    let starts = counts.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1) }
    let plan = Self.split(counts, maxRows: function.maxRows)
    if plan.count == 1 {
      run(function, rows, plan[0])
      return StepResult(self, function, rows, starts: starts, bases: function.results.map(address))
    }
    try makeRoom(for: function, rows: starts[rows.count], sequences: rows.count)
    for pieces in plan {
      run(function, rows, pieces)
      gather(function, pieces, starts)
    }
    return StepResult(self, function, rows, starts: starts, bases: gathered.map { UnsafeRawPointer($0.base) })
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

  /// Rows of each sequence. Afterwards nothing can fail half-way.
  @discardableResult
  func check(_ rows: [StepRows], for function: CompiledFunction) throws -> [Int] {
    guard !rows.isEmpty else { throw DiagnosticError("step", "a step of '\(function.name)' needs at least one row") }
    let vocabulary = function.vocabulary
    var seen: Set<ObjectIdentifier> = []
    var counts: [Int] = []
    for share in rows {
      guard share.cache.model === model else {
        throw DiagnosticError("step", "a cache of another model was given to '\(function.name)'")
      }
      guard seen.insert(ObjectIdentifier(share.cache)).inserted else {
        throw DiagnosticError("step", "the same cache stands twice in a step of '\(function.name)'")
      }
      guard 0...share.cache.length ~= share.start else {
        throw DiagnosticError(
          "step", "a step of '\(function.name)' behind \(share.start) positions: the cache holds \(share.cache.length)")
      }
      let count = try function.rowCount(of: share)
      guard count > 0 else {
        throw DiagnosticError("step", "a sequence without rows in a step of '\(function.name)'")
      }
      // Rows that write nothing need no room.
      guard function.ids == nil || count <= share.cache.limit - share.start else { throw share.cache.full(by: count) }
      guard count <= function.maxRows || function.mayBeCut else {
        throw DiagnosticError(
          "step", "function '\(function.name)' takes up to \(function.maxRows) rows of a sequence, not \(count)")
      }
      for token in share.tokens where token < 0 || Int(token) >= vocabulary {
        throw DiagnosticError("token", "token \(token) is not in the vocabulary of \(vocabulary) tokens")
      }
      counts.append(count)
    }
    // The scratch of the largest step this call can make.
    let most = min(function.maxRows, counts.reduce(0, +))
    let positions = zip(rows, counts).reduce(0) { max($0, $1.0.start + $1.1) }
    try makePartials(bytes: function.partialBytes, rows: most, positions: positions)
    return counts
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
    for (place, piece) in pieces.enumerated() {
      let share = rows[piece.sequence]
      let cache = share.cache
      let start = share.start + (function.ids == nil ? 0 : piece.rows.lowerBound)
      // In bounds: behind the last row there are no keys.
      let scored = min(max(share.scored ?? start, 0), start + (function.ids == nil ? 0 : piece.rows.count - 1))
      sequences.append(
        dustin_sequence(
          values: cache.values?.base.assumingMemoryBound(to: UInt8.self),
          cache: cache.memory.base.assumingMemoryBound(to: UInt8.self), capacity: Int64(cache.capacity),
          row0: Int32(row), rows: Int32(piece.rows.count), length: Int32(start), scored: Int32(scored)))
      loadKeptRows(of: cache, for: function, piece, row: row, place: place)
      for r in piece.rows {
        if let ids = function.ids { store(share.tokens[share.tokens.startIndex + r], ids, row) }
        if let positions = function.positions { store(Int32(share.start + r), positions, row) }
        row += 1
      }
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
    for (place, piece) in pieces.enumerated() {
      traffic.add(function, rows[piece.sequence].cache, sequences[place], model.program)
    }
  }

  /// Rows that earlier steps left become the rows of this one. In bounds: `check` saw that they fit, `ArenaPort` that
  /// `maxRows` rows lie in the arena.
  private func loadKeptRows(
    of cache: KVCache, for function: CompiledFunction, _ piece: Piece, row: Int, place: Int
  ) {
    for port in function.rowArguments {
      guard let kept = cache.keptRows[port.name] else { continue }
      kept.bytes.withUnsafeBytes { bytes in
        guard let base = bytes.baseAddress else { return }
        let first = port.perSequence ? kept.count - 1 : piece.rows.lowerBound
        for r in 0..<(port.perSequence ? 1 : piece.rows.count) {
          let target = (port.perSequence ? place : row) + r
          memcpy(arena.base + port.offset + target * port.rowBytes, base + (first + r) * port.width, port.width)
        }
      }
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
      let width = port.width
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
