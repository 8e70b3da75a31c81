import DustinSupport

/// Walks one function from the top and applies every rule to every operation.
struct FunctionVerifier {
  let function: Function
  var context: ModuleContext
  private(set) var diagnostics: [Diagnostic] = []
  /// Arguments and results above the current operation.
  private var visible: Set<Value> = []
  /// Cache versions that have been appended to, versions of running signals that have been added to, and the op that did
  /// it: their memory holds the next version now.
  private var overwritten: [Value: String] = [:]
  /// What gathered views show.
  private var sources: [Value: Value] = [:]
  /// The whole function is shown once, below its first error without a place.
  private var hasShownFunction = false
  private lazy var lines = function.lines()

  init(_ function: Function, _ context: ModuleContext) {
    self.function = function
    self.context = context
  }

  mutating func check() {
    checkSignature()
    for (index, operation) in function.body.enumerated() { check(operation, index) }
    checkReturns()
    // Bytes are followed through the whole function: only where every operation has its places.
    if context.module.stage == .planned, diagnostics.isEmpty { checkArena() }
  }

  // MARK: Reports

  private var title: String { Lexical.symbol(function.name) }

  private mutating func report(_ id: String, _ message: String) {
    diagnostics.append(Diagnostic(id, "in '\(title)': \(message)", at: function.location))
  }

  private mutating func report(_ id: String, _ message: String, _ operation: Operation, _ index: Int) {
    let message = "\(operation.name): \(message)"
    if let location = operation.location {
      return diagnostics.append(Diagnostic(id, message, at: location))
    }
    diagnostics.append(Diagnostic(id, message, notes: [show(index)]))
  }

  /// The function's text with an arrow under the line of `body[index]`.
  private mutating func show(_ index: Int) -> Diagnostic {
    let line = lines[index + 1]
    let content = line.drop { $0 == " " }
    let arrow =
      String(repeating: " ", count: line.count - content.count) + "^"
      + String(repeating: "~", count: max(0, content.count - 1))
    if hasShownFunction { return .note("here in '\(title)':\n\(line)\n\(arrow)") }
    hasShownFunction = true
    var shown = lines
    shown.insert(arrow, at: index + 2)
    return .note("here:\n" + shown.joined(separator: "\n"))
  }

  /// How messages call a value: its name in the function's text need not be the same, but nearly always is.
  private func show(_ value: Value) -> String {
    value.global.map { "'\(Lexical.symbol($0.name))'" } ?? "'%\(Lexical.valueName(value.name))'"
  }

  // MARK: Signature and returns

  private mutating func checkSignature() {
    if function.argumentRoles.count != function.arguments.count {
      report(
        "role-count", "there are \(function.argumentRoles.count) roles for \(function.arguments.count) arguments")
    }
    for (argument, role) in zip(function.arguments, function.argumentRoles) {
      visible.insert(argument)
      if let (id, message) = context.problem(argument.type) {
        report(id, "the argument \(show(argument)): \(message)")
      } else if role == .cache {
        checkCacheType(argument)
      } else if let (isType, message) = SequenceRules.roleProblem(argument, role) {
        report(isType ? "sequence-type" : "argument-role", "the argument \(show(argument)) \(message)")
      }
    }
  }

  private mutating func checkCacheType(_ argument: Value) {
    let type = argument.type
    let isCacheType =
      type.rank == 3 && type.element.isFloat && type.shape[0].fixedValue == nil
      && type.shape.dropFirst().allSatisfy { $0.fixedValue != nil }
    if !isCacheType {
      report("argument-role", "the cache \(show(argument)) must be a float [L, KV, D] with a dim L, not \(type)")
    }
  }

  private mutating func checkReturns() {
    if function.returns.count != function.returnRoles.count {
      report("role-count", "there are \(function.returnRoles.count) roles for \(function.returns.count) results")
    }
    for (value, role) in zip(function.returns, function.returnRoles) {
      if let (id, message) = accessProblem(value) {
        report(id, "return: \(message)")
      } else if let source = sources[value] {
        report("return-role", "\(show(value)) is a view of \(show(source)): only attention can read it")
      } else if let op = overwritten[value] {
        report(
          value.isCache ? "cache-order" : "running-order",
          "\(show(value)) is returned although '\(op)' has written its next version")
      } else if role == .cache, !value.isCache {
        report("return-role", "\(show(value)) is returned with role cache but is no cache")
      } else if role != .cache, value.isCache {
        report("return-role", "the cache \(show(value)) must be returned with role cache")
      } else if let (isType, message) = SequenceRules.roleProblem(value, role) {
        report(isType ? "sequence-type" : "return-role", "\(show(value)) \(message)")
      } else if role != .running, value.runningArgument != nil {
        report("return-role", "\(show(value)) is a running signal and must be returned with role running")
      }
    }
    checkRunningReturns()
  }

  /// A function gives the last versions of all its running signals, or only reads them.
  private mutating func checkRunningReturns() {
    let taken = zip(function.arguments, function.argumentRoles).filter { $1 == .running }.map(\.0)
    let given = zip(function.returns, function.returnRoles).filter { $1 == .running }.map(\.0)
    if given.isEmpty && !taken.contains(where: { overwritten[$0] != nil }) { return }
    if given.map(\.runningArgument) != taken {
      report(
        "return-role",
        "the results with role running must be the arguments with that role, or what they became, in order")
    }
  }

  /// Why a value may not be used here; nil when it may.
  private func accessProblem(_ value: Value) -> (id: String, message: String)? {
    if visible.contains(value) { return nil }
    switch value.definition {
    case .global(let global):
      if context.globals.contains(ObjectIdentifier(global)) { return nil }
      return ("foreign-value", "the global \(show(value)) is not declared in this module")
    case .argument(let owner, _):
      return ("foreign-value", "\(show(value)) is an argument of '\(Lexical.symbol(owner.name))'")
    case .result(let operation, _):
      guard let owner = operation.function else {
        return ("foreign-value", "\(show(value)) belongs to an operation that stands in no function")
      }
      if owner !== function {
        return ("foreign-value", "\(show(value)) belongs to the function '\(Lexical.symbol(owner.name))'")
      }
      return ("use-before-definition", "\(show(value)) is used before its definition")
    case .detached: return ("foreign-value", "the operation that defines \(show(value)) is gone")
    }
  }

  // MARK: Operations

  private mutating func check(_ operation: Operation, _ index: Int) {
    let errorsBefore = diagnostics.count
    let stage = context.module.stage
    if !operation.definition.stages.contains(stage) {
      let stages = Stage.allCases.filter { operation.definition.stages.contains($0) }.map(\.rawValue)
      report("stage", "stands in stage \(stages.joined(separator: " or ")), not \(stage.rawValue)", operation, index)
    }
    for value in operation.allOperands {
      if let (id, message) = accessProblem(value) { report(id, message, operation, index) }
    }
    for (id, message) in OperationRules.problems(operation, stage) { report(id, message, operation, index) }
    for result in operation.results {
      if let (id, message) = context.problem(result.type) { report(id, message, operation, index) }
    }
    // The rules below read operands, attributes and types without asking whether they are there.
    if diagnostics.count == errorsBefore {
      checkTypes(operation, index)
      if diagnostics.count == errorsBefore { checkSequenceValues(operation, index) }
      checkCaches(operation, index)
      if stage == .planned { checkPlaces(operation, index) }
    }
    for result in operation.results where !visible.insert(result).inserted {
      report("duplicate-operation", "stands in the function twice", operation, index)
    }
  }

  private mutating func checkTypes(_ operation: Operation, _ index: Int) {
    let written = operation.results.map(\.type)
    let inferred: [TensorType]
    do {
      inferred = try operation.definition.inferTypes(operation, written)
    } catch {
      let message = (error as? TypeRuleError)?.message ?? "\(error)"
      return report("type-rule", message, operation, index)
    }
    guard inferred.count == written.count else {
      return report("result-count", "infers \(inferred.count) results, not \(written.count)", operation, index)
    }
    for (result, type) in zip(operation.results, inferred) where result.type != type {
      report("result-type", "\(show(result)) is \(type), not \(result.type)", operation, index)
    }
  }

  /// A version may be read until it is appended to: the next version lies in the same memory. So may a view of it.
  private mutating func checkCaches(_ operation: Operation, _ index: Int) {
    let appends = operation.resultCacheStart != nil
    let takesViews = operation.name == "attend"
    for value in operation[group: "cache"] {
      if let source = sources[value], !takesViews {
        report(
          "cache-role", "\(show(value)) is a view of \(show(source)): only attention can read it", operation, index)
      } else if !value.isCache {
        report(
          "cache-role", "\(show(value)) must be an argument with role cache or a later version of one", operation, index
        )
      } else if let op = overwritten[sources[value] ?? value] {
        report("cache-order", staleness(value, op, appends ? "appended to" : "read"), operation, index)
      }
      if appends { overwritten[value] = operation.name }
    }
    for value in operation[group: "tail"] where value.isCache {
      guard let op = overwritten[value], !operation[group: "cache"].contains(where: { sources[$0] == value }) else {
        continue
      }
      report("cache-order", staleness(value, op, "read"), operation, index)
    }
    for group in operation.groups where group.label != "cache" && !(group.label == "tail" && takesViews) {
      for value in group.values where value.isCache {
        report("cache-role", "the cache \(show(value)) may stand in the group 'cache' only", operation, index)
      }
    }
    if operation.name == "gather" {
      for (view, source) in zip(operation.results, operation[group: "cache"]) { sources[view] = source }
    }
  }

  private func staleness(_ value: Value, _ op: String, _ what: String) -> String {
    if let source = sources[value] {
      return "\(show(value)) is \(what) although '\(op)' has written the next version of \(show(source))"
    }
    return "\(show(value)) is \(what) although '\(op)' has written its next version"
  }

  private mutating func checkSequenceValues(_ operation: Operation, _ index: Int) {
    if let value = SequenceRules.misplacedValue(operation) {
      report(
        "sequence-value", "\(show(value)) is \(value.type), which lies with the sequence: the op works on rows",
        operation, index)
    }
    for value in operation.allOperands where !value.isCache && sources[value] == nil {
      guard let op = overwritten[value] else { continue }
      report("running-order", staleness(value, op, "read"), operation, index)
    }
    if operation.isBesideAttention, let sum = operation[group: "onto"].first {
      if sum.runningArgument == nil {
        report(
          "running-role", "\(show(sum)) must be an argument with role running or a later version of one", operation,
          index
        )
      }
      overwritten[sum] = operation.name
    }
    if operation.name == "select", let message = SequenceRules.setProblem(operation, context.module) {
      report("set-bound", message, operation, index)
    }
  }

  private mutating func checkArena() {
    var plan = ArenaPlan(function, maxRows: context.module.bound(of: .named("T")) ?? 1)
    for (index, operation) in function.body.enumerated() {
      if let (id, message) = plan.problem(operation, index) { report(id, message, operation, index) }
    }
  }

  /// Every result that is rows has a place in the arena, and scratch rows where the kernels need them.
  private mutating func checkPlaces(_ operation: Operation, _ index: Int) {
    func isPlace(_ offset: Int) -> Bool {
      0..<Arena.largestByteCount ~= offset && offset % Arena.alignment == 0
    }
    let rows = operation.results.count { $0.isRows }
    var places: [Int]?
    if case .array(let values)? = operation.attributes["at"] {
      places = values.map { if case .int(let offset) = $0 { offset } else { -1 } }
    }
    if (places?.count ?? 0) != rows || (rows == 0 && places != nil) {
      let found = places.map { "\($0.count)" } ?? "none"
      report(
        "arena-place", "'at' must give one offset for each of the \(rows) results that are rows, not \(found)",
        operation,
        index)
    } else if let offset = places?.first(where: { !isPlace($0) }) {
      report(
        "arena-place",
        offset < Arena.largestByteCount
          ? "'at' must hold multiples of \(Arena.alignment) from 0, not \(offset)"
          : "no machine has the memory for a place at \(offset) in 'at'",
        operation, index)
    }
    let scratch = operation.attributes.int("scratch")
    if let type = Arena.scratchType(of: operation) {
      if let scratch, isPlace(scratch) { return }
      let found = scratch.map { "\($0)" } ?? "none"
      report(
        "arena-place", "'scratch' must be the offset of \(type), a multiple of \(Arena.alignment), not \(found)",
        operation,
        index)
    } else if scratch != nil {
      report("arena-place", "'scratch' is for operations that need scratch rows", operation, index)
    }
  }
}
