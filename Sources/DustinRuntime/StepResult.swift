import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What a step left, until the engine's next call.
public struct StepResult {
  let engine: Engine
  let function: CompiledFunction
  /// Row of the call at which each sequence starts, and the end.
  let starts: [Int]
  /// First row of each result port.
  let bases: [UnsafeRawPointer]
  /// The caches of the call, and the positions behind which their rows went.
  private let caches: [(cache: KVCache, start: Int)]
  /// Nil for a copy, which outlives the engine's next call.
  private let generation: Int?
  private let memory: [Memory]

  init(
    _ engine: Engine, _ function: CompiledFunction, _ rows: [StepRows], starts: [Int], bases: [UnsafeRawPointer]
  ) {
    self.engine = engine
    self.function = function
    self.starts = starts
    self.bases = bases
    caches = rows.map { ($0.cache, $0.start) }
    generation = engine.generation
    memory = []
  }

  private init(copying result: StepResult) throws {
    engine = result.engine
    function = result.function
    starts = result.starts
    caches = result.caches
    generation = nil
    memory = try zip(function.results, result.bases).map { port, base in
      let rows = port.perSequence ? result.caches.count : result.starts[result.caches.count]
      let memory = try Memory(count: product(rows, port.rowBytes, of: "the results"), for: "the results")
      // The last row may end before its stride.
      memcpy(memory.base, base, (rows - 1) * port.rowBytes + port.width)
      return memory
    }
    bases = memory.map { UnsafeRawPointer($0.base) }
  }

  /// The same results, valid beyond the engine's next call.
  /// - Throws: `DiagnosticError` with id `port` when they are gone already, `memory`.
  public func copy() throws -> StepResult {
    try checkGeneration()
    return try StepResult(copying: self)
  }

  /// Leaves rows with their sequence, under the names of the results, for the functions that take them: of results with
  /// role `rows` all of them, with role `row` the last one. To be called before the next step of the engine.
  ///
  /// - Parameters:
  ///   - rows: Of the sequence (numbers as in the call), not empty.
  ///   - appending: Behind the rows that were kept before, not in their place. Rows of role `row` always take it.
  /// - Throws: `DiagnosticError` with id `port` for rows that there are not.
  public func keep(sequence: Int, rows: Range<Int>, appending: Bool = false) throws {
    for port in function.results where port.isKept {
      let (cache, start) = caches[min(max(sequence, 0), caches.count - 1)]
      let old = cache.keptRows[port.name]
      var kept = KeptRows(element: port.element, width: port.width, end: start + rows.upperBound)
      if appending, port.role == "rows", let old, old.width == port.width, old.element == port.element {
        kept.bytes = old.bytes
      }
      // A result of one row a sequence has only the last one.
      let wanted = port.role == "row" || port.perSequence ? rows.suffix(1) : rows
      for row in wanted { kept.bytes.append(contentsOf: try bytes(port.name, sequence: sequence, row: row)) }
      cache.keptRows[port.name] = kept
    }
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
    try checkGeneration()
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
    return (UnsafeRawBufferPointer(start: bases[index] + place * port.rowBytes, count: port.width), port)
  }

  private func checkGeneration() throws {
    guard generation == nil || generation == engine.generation else {
      throw DiagnosticError("port", "the results of '\(function.name)' were read after the engine's next step")
    }
  }
}
