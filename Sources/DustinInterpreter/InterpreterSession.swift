import DustinIR
import DustinSupport

/// One sequence of a model module: its caches, steps through any of its functions, commit and truncate.
///
/// Functions share the caches by the order of their cache arguments. Of the other arguments, the i32 rows whose name
/// begins with `pos` take the positions, the remaining i32 rows the token ids; logits are the first f32 result of rank 2.
/// Signals, sets and kept rows go from function to function by name: see `values`.
public final class InterpreterSession {
  public let interpreter: Interpreter
  /// Committed positions.
  public private(set) var length = 0
  private var caches: [KVCacheTensor] = []
  /// What functions pass on by name: signals and sets, which results with role `round` or `static` set, and rows that
  /// commits have kept.
  public private(set) var values: [String: Tensor] = [:]
  /// Results of the last step with role `row` or `rows`; a commit keeps some of their rows.
  private var pending: [(name: String, role: ValueRole, rows: Tensor)] = []

  /// Caches are made for the first function that has any. `capacity`: most positions; the default is the bound of the
  /// caches' first dim.
  public init(_ interpreter: Interpreter, capacity: Int? = nil) throws {
    self.interpreter = interpreter
    guard let function = interpreter.module.functions.first(where: { $0.argumentRoles.contains(.cache) }) else {
      return
    }
    for (value, role) in zip(function.arguments, function.argumentRoles) where role == .cache {
      guard value.type.rank == 3, let heads = value.type.shape[1].fixedValue, let dim = value.type.shape[2].fixedValue,
        let bound = interpreter.module.bound(of: value.type.shape[0])
      else {
        throw DiagnosticError(
          "cache-shape", "the cache '%\(value.name)' must be [L, KV, D], not \(value.type)", at: function.location)
      }
      let cache = try KVCacheTensor(
        heads: heads, dim: dim, element: value.type.element, capacity: min(bound, capacity ?? bound))
      caches.append(cache)
    }
  }

  private init(copying other: InterpreterSession) throws {
    interpreter = other.interpreter
    length = other.length
    caches = try other.caches.map { try $0.copy() }
    values = other.values
    pending = other.pending
  }

  /// An independent sequence with the same context.
  public func fork() throws -> InterpreterSession { try InterpreterSession(copying: self) }

  /// Runs the tokens as the rows of one step at positions `length …`; the rows are in flight until `commit`, and the
  /// next step replaces them. Returns the logits of every row that the function gives, [rows][vocab].
  public func step(function name: String, tokens: [Int32]) throws -> [[Float]] {
    let results = try run(name, tokens, given: [:], length: nil)
    let candidates = results.filter { !$0.value.isSequenceValue }.map(\.tensor)
    guard let logits = candidates.first(where: { $0.element == .f32 && $0.shape.count == 2 }) else {
      throw DiagnosticError("no-logits", "'@\(name)' gives no f32 rows that could be logits")
    }
    let (floats, width) = (logits.floats, logits.width)
    return (0..<logits.rows).map { Array(floats[$0 * width..<($0 + 1) * width]) }
  }

  /// As `step`, and commits every row; tokens beyond the function's bound of rows go in as several steps.
  /// Returns the logits of the last row.
  public func prefill(function name: String, tokens: [Int32]) throws -> [Float] {
    let tile = max(1, try rowBound(of: name))
    var last: [Float] = []
    var start = 0
    while start < tokens.count {
      let end = min(tokens.count, start + tile)
      last = try step(function: name, tokens: Array(tokens[start..<end])).last ?? []
      try commit(end - start)
      start = end
    }
    return last
  }

  /// Runs any function and gives its results by name, without the caches.
  ///
  /// - Parameters:
  ///   - tokens: Rows of a function that takes token ids or positions; they are in flight until `commit`.
  ///   - given: Arguments by name; the session's `values` are what is not given.
  ///   - length: Committed positions that the function sees, for a function that appends nothing; nil: all of them. The
  ///     draft scores what the target has committed, while speculated rows stand behind it.
  @discardableResult
  public func call(
    function name: String, tokens: [Int32] = [], given: [String: Tensor] = [:], length: Int? = nil
  ) throws -> [String: Tensor] {
    let results = try run(name, tokens, given: given, length: length)
    return Dictionary(results.map { ($0.value.name, $0.tensor) }, uniquingKeysWith: { first, _ in first })
  }

  /// Sets a signal, a set or kept rows; nil drops the value.
  public func setValue(_ name: String, _ tensor: Tensor?) { values[name] = tensor }

  /// Begins a round of the model that proposes: what its steps add up starts at zero.
  public func beginRound() {
    for function in interpreter.module.functions {
      for (value, role) in zip(function.arguments, function.argumentRoles) where role == .running {
        values[value.name] = nil
      }
    }
  }

  /// Makes the first `count` rows of the last step part of the context, and keeps rows for the next round: of results
  /// with role `rows` the committed ones, of those with role `row` the last committed one.
  ///
  /// - Parameter joining: Whether rows with role `rows` go behind those that are kept already: the draft collects them
  ///   over the steps of a round.
  public func commit(_ count: Int, joining: Bool = false) throws {
    // All or none: a cache that took no rows leaves the others as they are.
    guard count >= 0, caches.allSatisfy({ count <= $0.written - $0.length }) else {
      throw DiagnosticError("cache-commit", "cannot commit \(count) positions: the last step had fewer rows")
    }
    for cache in caches { try cache.commit(count) }
    length += count
    defer { pending = [] }
    guard count > 0 else { return }
    for (name, role, rows) in pending where rows.rows > 0 {
      // A result of one row is the last one's.
      let last = min(count, rows.rows)
      var kept = try rows.rows(role == .row ? last - 1..<last : 0..<last)
      if joining, role == .rows, let before = values[name], before.shape.dropFirst() == kept.shape.dropFirst() {
        kept = try before.joined(kept)
      }
      values[name] = kept
    }
  }

  /// Forgets the positions from `newLength` on, in signals and sets too.
  public func truncate(to newLength: Int) throws {
    guard newLength >= 0, newLength <= length else {
      throw DiagnosticError("cache-truncate", "cannot truncate to \(newLength) positions: \(length) are committed")
    }
    for cache in caches { try cache.truncate(to: newLength) }
    length = newLength
    pending = []
    for (name, isSet) in sequenceValues {
      guard let value = values[name] else { continue }
      values[name] = try isSet ? value.positions(below: newLength) : value.columns(upTo: newLength)
    }
  }

  /// Committed keys and values, in the order of the caches: [L, KV, D] each.
  public func cacheContents() throws -> [Tensor] { try caches.map { try $0.tensor(0..<$0.length) } }

  /// The signals and sets of the module's functions, by name; true for sets.
  private var sequenceValues: [String: Bool] {
    let values = interpreter.module.functions.flatMap { $0.arguments + $0.returns }.filter(\.isSequenceValue)
    return Dictionary(values.map { ($0.name, $0.isSet) }, uniquingKeysWith: { first, _ in first })
  }

  private func run(
    _ name: String, _ tokens: [Int32], given: [String: Tensor], length limit: Int?
  ) throws -> [(value: Value, tensor: Tensor)] {
    let function = try self.function(name)
    guard length + tokens.count <= Int(Int32.max) else {
      throw DiagnosticError("context", "\(length) + \(tokens.count) positions are too many")
    }
    if let limit, !(0...length ~= limit) {
      throw DiagnosticError("context", "'@\(name)' cannot see \(limit) positions: \(length) are committed")
    }
    var nextCache = 0
    var arguments: [Interpreter.Argument] = []
    for (value, role) in zip(function.arguments, function.argumentRoles) {
      if role == .cache {
        guard nextCache < caches.count else {
          throw DiagnosticError("argument", "'@\(name)' has more caches than the session", at: function.location)
        }
        arguments.append(.cache(limit.map { caches[nextCache].current(upTo: $0) } ?? caches[nextCache].current))
        nextCache += 1
      } else if let tensor = given[value.name] ?? values[value.name] {
        arguments.append(.tensor(tensor))
      } else if role == .running {
        // The positions in front of the step's last row: what the other model has committed when a round begins.
        let count = limit ?? length + max(0, tokens.count - 1)
        let shape = value.type.shape.dropLast().map { $0.fixedValue ?? 0 } + [count]
        arguments.append(.tensor(try Tensor(shape, [Float](repeating: 0, count: shape.reduce(1, *)))))
      } else if value.type.element == .i32, value.type.rank == 1, value.isRows {
        let isPositions = value.name.hasPrefix("pos")
        let ids = isPositions ? tokens.indices.map { Int32(length + $0) } : tokens
        arguments.append(.tensor(try Tensor([tokens.count], ints: ids)))
      } else {
        throw DiagnosticError(
          "argument", "a session cannot give '%\(value.name)' of '@\(name)' a value: no function has made it",
          at: function.location)
      }
    }
    var results: [(value: Value, tensor: Tensor)] = []
    let made = try interpreter.call(name, arguments)
    var kept: [(name: String, role: ValueRole, rows: Tensor)] = []
    for (index, result) in made.enumerated() {
      guard case .tensor(let tensor) = result else { continue }
      let (value, role) = (function.returns[index], function.returnRoles[index])
      results.append((value, tensor))
      switch role {
      case .round, .static: values[value.name] = tensor
      case .running: values[(value.runningArgument ?? value).name] = tensor
      case .row, .rows: kept.append((value.name, role, tensor))
      case .plain, .cache: break
      }
    }
    // A function that only reads leaves the step in flight as it is.
    if !kept.isEmpty || function.returnRoles.contains(.cache) { pending = kept }
    return results
  }

  /// The bound of the rows that one step of the function may have: that of its token ids' extent.
  private func rowBound(of name: String) throws -> Int {
    let function = try self.function(name)
    let ids = function.arguments.first { $0.type.element == .i32 && $0.type.rank == 1 && $0.isRows }
    guard let dim = ids?.type.shape[0], let bound = interpreter.module.bound(of: dim) else {
      throw DiagnosticError("argument", "'@\(name)' takes no token ids", at: function.location)
    }
    return bound
  }

  private func function(_ name: String) throws -> Function {
    if let function = interpreter.module.function(name) { return function }
    let names = interpreter.module.functions.map(\.name)
    let notes = closestName(to: name, in: names).map { [Diagnostic.note("did you mean '@\($0)'?")] } ?? []
    throw DiagnosticError("unknown-function", "there is no function '@\(name)'", notes: notes)
  }
}
