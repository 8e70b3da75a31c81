import DustinSupport

/// A function's table at a fixed address, and its checked ports.
final class CompiledFunction {
  let name: String
  let maxRows: Int
  let table: UnsafeMutableBufferPointer<Int64>
  let tableCount: Int
  /// Token ids; nil: the function's rows are those that earlier steps left (`rowArguments`), or none.
  let ids: ArenaPort?
  let positions: ArenaPort?
  /// Rows that earlier steps left with the sequence under these names.
  let rowArguments: [ArenaPort]
  let results: [ArenaPort]
  /// Signals and sets that it takes and makes: numbers in `Program.sequenceValues`, and their roles.
  let valueArguments: [Int]
  let valueResults: [(value: Int, role: String)]
  /// Signals that its steps add to over a round.
  var runningValues: [Int] { valueResults.filter { $0.role == "running" }.map(\.value) }
  /// It writes keys and values of its rows into the caches.
  let appends: Bool
  let isExact: Bool
  let partialBytes: Int
  let reads: Program.CacheReads
  /// A sequence with more rows than a step takes may go in several: not where all its rows make one signal or set.
  let mayBeCut: Bool
  private let tokenLimit: Int

  init(_ function: Program.Function, of program: Program) throws {
    guard 1...Int(Int32.max) ~= function.maxRows else {
      throw DiagnosticError("program", "function '\(function.name)' takes \(function.maxRows) rows a step")
    }
    name = function.name
    maxRows = function.maxRows
    isExact = function.isExact
    partialBytes = function.partialBytes
    tokenLimit = function.tokenLimit
    reads = try program.checkedReads(of: function)
    var ids: ArenaPort?
    var positions: ArenaPort?
    var rows: [ArenaPort] = []
    for port in function.arguments {
      guard let place = try ArenaPort(port, in: function, of: program) else { continue }
      guard place.isKept || port.name == "ids" || port.name == "pos" else {
        throw DiagnosticError(
          "program", "argument '\(port.name)' of function '\(function.name)' is none that the runtime can provide")
      }
      if place.isKept {
        try program.checkSource(of: place, in: function)
        rows.append(place)
        continue
      }
      guard place.element == .i32, place.count == 1, !place.perSequence else {
        throw DiagnosticError(
          "program", "argument '\(port.name)' of function '\(function.name)' must be one i32 a row")
      }
      if port.name == "ids" { ids = place } else { positions = place }
    }
    self.ids = ids
    self.positions = positions
    rowArguments = rows
    results = try function.results.compactMap { try ArenaPort($0, in: function, of: program) }
    valueArguments = function.arguments.compactMap { port in
      if case .sequence(let value) = port.place { value } else { nil }
    }
    valueResults = function.results.compactMap { port in
      if case .sequence(let value) = port.place { (value, port.role) } else { nil }
    }
    appends = function.results.contains { port in
      if case .cache = port.place { true } else { false }
    }
    if ids == nil, appends {
      throw DiagnosticError("program", "function '\(function.name)' extends the caches, but has no argument 'ids'")
    }
    // Those that it makes for itself go by its name (`verify/set`).
    mayBeCut =
      ids != nil && valueResults.isEmpty && !program.sequenceValues.contains { $0.name.hasPrefix("\(function.name)/") }
    try function.validateTable(kernels: program.kernelCount)
    table = .allocate(capacity: max(function.table.count, 1))
    table.initialize(repeating: 0)
    for (index, word) in function.table.enumerated() { table[index] = word }
    tableCount = function.table.count
  }

  deinit { table.deallocate() }

  /// Tokens that the function can be given: as many as its table holds, and no more than it has logits for.
  var vocabulary: Int { min(tokenLimit, results.first { $0.name == "logits" }?.count ?? Int(Int32.max)) }

  /// - Throws: `DiagnosticError` with id `port` that names the results there are.
  func result(_ name: String) throws -> (index: Int, port: ArenaPort) {
    if let index = results.firstIndex(where: { $0.name == name }) { return (index, results[index]) }
    let names = results.map(\.name).joined(separator: ", ")
    throw DiagnosticError("port", "function '\(self.name)' has no result '\(name)', only \(names)")
  }

  /// Rows that a sequence has in a step.
  /// - Throws: `DiagnosticError` with id `rows` when kept rows are missing or do not fit together.
  func rowCount(of share: StepRows) throws -> Int {
    var count = ids == nil ? nil : share.tokens.count
    for port in rowArguments {
      guard let rows = share.cache.keptRows[port.name], rows.count > 0 else {
        throw DiagnosticError("rows", "function '\(name)' reads the rows '\(port.name)', but no step has left them")
      }
      guard rows.width == port.width, rows.element == port.element else {
        throw DiagnosticError("rows", "the rows '\(port.name)' that were kept do not fit function '\(name)'")
      }
      if port.perSequence { continue }
      guard count ?? rows.count == rows.count else {
        throw DiagnosticError(
          "rows",
          "function '\(name)' needs equally many rows of all: '\(port.name)' has \(rows.count), not \(count ?? 0)")
      }
      count = rows.count
    }
    if ids == nil, !share.tokens.isEmpty {
      throw DiagnosticError("step", "function '\(name)' takes no tokens")
    }
    return count ?? 1
  }
}

/// A port whose rows are known to lie inside the arena.
struct ArenaPort {
  let name: String
  let role: String
  let offset: Int
  let rowBytes: Int
  /// Values a row.
  let count: Int
  let element: Program.Element
  let perSequence: Bool

  /// Bytes of a row's values.
  var width: Int { count * (element == .bf16 ? 2 : 4) }
  /// Its rows stay with the sequence at commit: the last accepted one, or all accepted ones.
  var isKept: Bool { role == "row" || role == "rows" }

  /// Nil for a port that lies with the sequence.
  init?(_ port: Program.Port, in function: Program.Function, of program: Program) throws {
    let what = "port '\(port.name)' of function '\(function.name)'"
    switch port.place {
    case .cache(let region):
      guard program.cacheRegions.indices.contains(region) else {
        throw DiagnosticError("program", "\(what) is cache region \(region) of \(program.cacheRegions.count)")
      }
      return nil
    case .sequence(let value):
      guard program.sequenceValues.indices.contains(value) else {
        throw DiagnosticError("program", "\(what) is sequence value \(value) of \(program.sequenceValues.count)")
      }
      guard program.sequenceValues[value].name == port.name else {
        throw DiagnosticError("program", "\(what) goes by the name '\(program.sequenceValues[value].name)' elsewhere")
      }
      return nil
    case .arena(let offset, let rowBytes, let count, let element, let perSequence):
      let elementBytes = element == .bf16 ? 2 : 4
      let width = try product(count, elementBytes, of: what)
      let extent = try product(rowBytes, function.maxRows - 1, of: what)
      let (end, overflow) = extent.addingReportingOverflow(width)
      guard
        offset >= 0, offset % elementBytes == 0, rowBytes % elementBytes == 0,
        rowBytes >= width || function.maxRows == 1, !overflow, end <= program.arenaBytes - offset
      else { throw DiagnosticError("program", "\(what) does not lie inside the arena") }
      name = port.name
      role = port.role
      self.offset = offset
      self.rowBytes = rowBytes
      self.count = count
      self.element = element
      self.perSequence = perSequence
    }
  }
}
