import DustinIR
import DustinSupport

/// Gives every row tensor a place in the arena: `at = [bytes]`, one per result that is rows, and `scratch = bytes` for
/// ops whose kernels need scratch rows. Stage kernel → stage planned.
///
///     %y = linear %x, norm(@g), weight(@w) {…}   →   %y = linear %x, norm(@g), weight(@w) {…, at = [4096], scratch = 0}
///
/// Two tensors share bytes only if one is dead before the other is made:
/// * arguments that are rows lie first and keep their place for the whole function, results until its end;
/// * a reshape is its operand under another shape: same place, longer life;
/// * a linear's residual that dies there may be the result's place: element by element it is read, then written;
/// * caches live with the sequence and weights with the model, neither has a place here.
/// Every place has room for the rows of the largest step, the bound of `T`.
public struct PlanMemory: Pass {
  public let name = "plan-memory"
  public let summary = "Gives every row tensor its place in the arena, reusing what is dead."

  public init() {}

  public func run(on module: Module, context: PassContext) throws {
    try context.require(.kernel, of: module)
    guard let maxRows = module.bound(of: .named("T")) else {
      throw DiagnosticError("no-row-bound", "plan-memory: the module has no dim T, the rows of a step")
    }
    for function in module.functions {
      var planner = try MemoryPlanner(function, maxRows: maxRows)
      try planner.run()
      context.count("arena-bytes.\(function.name)", planner.arenaBytes)
      context.count("arena-bytes-without-reuse.\(function.name)", planner.bytesWithoutReuse)
    }
    module.stage = .planned
    context.noteChange()
  }
}

/// First fit in the order of the body: every new buffer takes the lowest place that no living one touches.
private struct MemoryPlanner {
  private struct Buffer {
    let size: Int
    let offset: Int
    /// Number of the last operation that needs it.
    var end: Int
  }
  /// More bytes than any machine has; keeps all sums far from overflow.
  private static let limit = 1 << 48

  let function: Function
  let maxRows: Int
  private(set) var arenaBytes: Int
  private(set) var bytesWithoutReuse: Int
  private var buffers: [Buffer] = []
  /// Numbers of the buffers that are not yet dead.
  private var living: [Int] = []
  private var bufferOf: [Value: Int] = [:]
  private var argumentOffset: [Value: Int] = [:]
  private var lastUse: [Value: Int] = [:]

  init(_ function: Function, maxRows: Int) throws {
    self.function = function
    self.maxRows = maxRows
    var total = 0
    for argument in function.arguments where argument.isRows {
      total += try Self.byteCount(argument.type, maxRows, argument.name, function)
      if total > Self.limit { throw Self.tooLarge(function, maxRows) }
    }
    let (offsets, end) = Arena.argumentOffsets(of: function, maxRows: maxRows)
    for (index, offset) in offsets { argumentOffset[function.arguments[index]] = offset }
    arenaBytes = end
    bytesWithoutReuse = end
    base = end
    for (index, operation) in function.body.enumerated() {
      for operand in operation.allOperands { lastUse[operand] = index }
    }
    for value in function.returns { lastUse[value] = function.body.count }
  }
  private let base: Int

  mutating func run() throws {
    for (index, operation) in function.body.enumerated() {
      living.removeAll { buffers[$0].end < index }
      var places: [Attribute] = []
      for result in operation.results where result.isRows {
        places.append(.int(try place(result, of: operation, at: index)))
      }
      if !places.isEmpty { operation.attributes["at"] = .array(places) }
      if let type = Arena.scratchType(of: operation) {
        let size = try Self.byteCount(type, maxRows, operation.results.first?.name ?? operation.name, function)
        operation.attributes["scratch"] = .int(buffers[try allocate(size, from: index, to: index)].offset)
      }
    }
  }

  /// The offset of a result of operation number `index`.
  private mutating func place(_ result: Value, of operation: Operation, at index: Int) throws -> Int {
    let end = lastUse[result] ?? index
    let size = try Self.byteCount(result.type, maxRows, result.name, function)
    if operation.name == "reshape" {
      let operand = operation.operands[0]
      // The same bytes only if rows lie equally far apart; they do not between a vector and a one-column matrix.
      if Arena.rowBytes(operand.type) == Arena.rowBytes(result.type) {
        if let offset = argumentOffset[operand] {
          argumentOffset[result] = offset
          return offset
        }
        if let buffer = bufferOf[operand] { return join(result, buffer, until: end) }
      }
    }
    if operation.name == "linear", let residual = operation[group: "residual"].first,
      let buffer = bufferOf[residual], buffers[buffer].end == index, residual.type == result.type,
      bufferOf[operation.operands[0]] != buffer
    {
      bytesWithoutReuse += size
      return join(result, buffer, until: end)
    }
    let buffer = try allocate(size, from: index, to: end)
    bufferOf[result] = buffer
    return buffers[buffer].offset
  }

  private mutating func join(_ result: Value, _ buffer: Int, until end: Int) -> Int {
    buffers[buffer].end = max(buffers[buffer].end, end)
    bufferOf[result] = buffer
    return buffers[buffer].offset
  }

  private mutating func allocate(_ size: Int, from start: Int, to end: Int) throws -> Int {
    bytesWithoutReuse += size
    if bytesWithoutReuse > Self.limit { throw Self.tooLarge(function, maxRows) }
    var offset = base
    for other in living.map({ buffers[$0] }).sorted(by: { $0.offset < $1.offset }) {
      if offset + size <= other.offset { break }
      offset = max(offset, other.offset + other.size)
    }
    buffers.append(Buffer(size: size, offset: offset, end: end))
    living.append(buffers.count - 1)
    arenaBytes = max(arenaBytes, offset + size)
    return buffers.count - 1
  }

  /// Bytes of rows; throws for what has no place in the arena.
  private static func byteCount(_ type: TensorType, _ maxRows: Int, _ name: String, _ function: Function) throws -> Int
  {
    func unplaceable(_ reason: String) -> DiagnosticError {
      DiagnosticError(
        "unplaceable", "plan-memory: %\(name) : \(type) in @\(function.name) has no place in the arena: \(reason)",
        at: function.location)
    }
    guard let rows = type.shape.first, rows == .named("T") || rows == .fixed(1) else {
      throw unplaceable("rows are one per token (T) or one per sequence (1)")
    }
    for extent in type.shape.dropFirst() where extent.fixedValue == nil {
      throw unplaceable("the extent \(extent) is not a number")
    }
    let size = Arena.byteCount(type, maxRows: maxRows)
    if size > limit { throw unplaceable("it is too large at \(maxRows) rows a step") }
    return size
  }

  private static func tooLarge(_ function: Function, _ maxRows: Int) -> DiagnosticError {
    DiagnosticError(
      "arena-too-large", "plan-memory: the rows of @\(function.name) need more than 256 TiB at \(maxRows) rows a step",
      at: function.location)
  }
}
