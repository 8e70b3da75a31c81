import CDustin
import DustinSupport

/// A model as the compiler leaves it: call tables, machine code and packed weights. Immutable; one serves any number of
/// engines and caches.
public final class CompiledModel: @unchecked Sendable {
  // Sendable: nothing changes after init; the pointers lead to memory that only reads are made of.
  public let program: Program
  let entry: dustin_entry
  let weights: UnsafeRawPointer?
  /// What keeps the code and the weights alive.
  private let owners: [AnyObject]
  private let functions: [CompiledFunction]

  /// - Parameters:
  ///   - weights: `program.weightBytes` bytes, 64-byte aligned; may be nil for a program without weights.
  ///   - owners: Objects that own the code and the weights; they live as long as the model.
  /// - Throws: `DiagnosticError` with id `program` when a table, port or region does not hold together: a damaged
  ///   executable must not become a wild write.
  public init(
    program: Program, entry: @escaping dustin_entry, weights: UnsafeRawPointer?, owners: [AnyObject] = []
  ) throws {
    try program.validateSizes()
    if program.weightBytes > 0 {
      guard let weights, Int(bitPattern: weights) % 64 == 0 else {
        throw DiagnosticError("program", "the packed weights are missing or not 64-byte aligned")
      }
    }
    self.program = program
    self.entry = entry
    self.weights = weights
    self.owners = owners
    functions = try program.functions.map { try CompiledFunction($0, of: program) }
  }

  /// - Throws: `DiagnosticError` with id `function` that names the functions there are.
  func function(_ name: String) throws -> CompiledFunction {
    if let function = functions.first(where: { $0.name == name }) { return function }
    let names = functions.map(\.name)
    let hint = closestName(to: name, in: names).map { "; did you mean '\($0)'?" } ?? ""
    throw DiagnosticError(
      "function", "the program has no function '\(name)', only \(names.joined(separator: ", "))\(hint)")
  }
}

/// A function's table at a fixed address, and its checked ports.
final class CompiledFunction {
  let name: String
  let maxRows: Int
  let table: UnsafeMutableBufferPointer<Int64>
  let tableCount: Int
  let ids: ArenaPort
  let positions: ArenaPort?
  let results: [ArenaPort]
  let isExact: Bool
  let partialBytes: Int
  private let tokenLimit: Int

  fileprivate init(_ function: Program.Function, of program: Program) throws {
    guard 1...Int(Int32.max) ~= function.maxRows else {
      throw DiagnosticError("program", "function '\(function.name)' takes \(function.maxRows) rows a step")
    }
    name = function.name
    maxRows = function.maxRows
    isExact = function.isExact
    partialBytes = function.partialBytes
    tokenLimit = function.tokenLimit
    var ids: ArenaPort?
    var positions: ArenaPort?
    for port in function.arguments {
      guard let place = try ArenaPort(port, in: function, of: program) else { continue }
      switch port.name {
      case "ids": ids = place
      case "pos": positions = place
      default:
        throw DiagnosticError(
          "program", "argument '\(port.name)' of function '\(function.name)' is none that the runtime can provide")
      }
      guard place.element == .i32, place.count == 1, !place.perSequence else {
        throw DiagnosticError(
          "program", "argument '\(port.name)' of function '\(function.name)' must be one i32 a row")
      }
    }
    guard let ids else { throw DiagnosticError("program", "function '\(function.name)' has no argument 'ids'") }
    self.ids = ids
    self.positions = positions
    results = try function.results.compactMap { try ArenaPort($0, in: function, of: program) }
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
}

/// A port whose rows are known to lie inside the arena.
struct ArenaPort {
  let name: String
  let offset: Int
  let rowBytes: Int
  /// Values a row.
  let count: Int
  let element: Program.Element
  let perSequence: Bool

  /// Nil for a port that lies with the sequence.
  fileprivate init?(_ port: Program.Port, in function: Program.Function, of program: Program) throws {
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
      self.offset = offset
      self.rowBytes = rowBytes
      self.count = count
      self.element = element
      self.perSequence = perSequence
    }
  }
}

extension Program.Function {
  /// Calls one behind the other, each of a kernel that exists, and the last ends with the table: emitted code trusts that.
  fileprivate func validateTable(kernels: Int) throws {
    var next = 0
    while next < table.count {
      guard table.count - next >= 3, table[next] >= 0, table[next] < kernels, 0...1 ~= table[next + 1],
        table[next + 2] >= 0, table[next + 2] <= table.count - next - 3
      else { throw DiagnosticError("program", "the call table of function '\(name)' is damaged at word \(next)") }
      next += 3 + Int(table[next + 2])
    }
  }
}

extension Program {
  fileprivate func validateSizes() throws {
    for size in [arenaBytes, weightBytes, scratchBytesPerThread] + functions.map(\.partialBytes) where size < 0 {
      throw DiagnosticError("program", "a size of the program is negative: \(size)")
    }
    var total = 0
    for (index, region) in cacheRegions.enumerated() {
      guard region.element != .i32, region.heads > 0, region.dim > 0, region.dim % 2 == 0 else {
        throw DiagnosticError("program", "cache region \(index) has no valid shape")
      }
      let bytes = try product(region.heads, region.dim, region.elementBytes, of: "cache region \(index)")
      let (sum, overflow) = total.addingReportingOverflow(bytes)
      guard !overflow else { throw DiagnosticError("program", "the size of the cache overflows") }
      total = sum
    }
  }
}
