import DustinSupport

/// The functions of a target that make up a round, found by name, and the signals and sets that go between them, found
/// by name too. The rounds know nothing else of the method that they run.
///
/// | function | run | what it gives |
/// |---|---|---|
/// | `verify` (or another name) | every round | logits, and rows for the next round |
/// | `select` | before `verify`, if that takes what it makes | signals and sets |
/// | `select.128`, `select.2048`, … | in `select`'s place, by who runs the rounds | the same, of another budget |
/// | `observe`, results with role `round` | the same, over the rows that `verify` will see | signals and sets |
/// | `observe`, results with role `static` | once, over the last prompt tokens (`Policy.observe`) | signals and sets |
/// | `dense` | in `verify`'s place: by policy, or for want of signals | as `verify` |
struct RoundFunctions {
  let verify: CompiledFunction
  let select: CompiledFunction?
  /// `select` in several sizes, ascending by budget.
  let selects: [(budget: Int, function: CompiledFunction)]
  let observe: CompiledFunction?
  let observeOnce: CompiledFunction?
  let dense: CompiledFunction?
  let policy: Program.Policy
  /// Sets that `verify` is given; empty: it reads everything, or chooses for itself.
  let sets: [Int]
  /// Signals and sets that these functions take and no function of the program makes: the drafter's, or zero and empty.
  let foreign: [Int]
  /// Those that these functions make.
  let made: [Int]
  /// Those that a drafter offers.
  let offered: [Int]

  /// - Parameter mayReadAll: `dense` may take `verify`'s place.
  /// - Throws: `DiagnosticError` with id `function` or `port` when the program lacks what a round needs, `value` when
  ///   target and drafter mean different things by a name.
  init(
    _ model: CompiledModel, verify name: String, offers: [Program.SequenceValue], mayReadAll: Bool = true
  ) throws {
    let program = model.program
    verify = try model.function(name)
    _ = try verify.result("logits")
    let taken = verify.valueArguments
    sets = taken.filter { program.sequenceValues[$0].kind != .signal }
    func maker(_ name: String, role: String? = nil, of values: [Int]) throws -> CompiledFunction? {
      guard program.function(name) != nil else { return nil }
      let function = try model.function(name)
      let made = function.valueResults.filter { role == nil || ($0.role == "static") == (role == "static") }
      return made.contains { values.contains($0.value) } ? function : nil
    }
    let select = try maker("select", of: taken)
    let wanted = taken + (select?.valueArguments ?? [])
    self.select = select
    var selects: [(budget: Int, function: CompiledFunction)] = []
    for other in program.functions where select != nil && other.name.hasPrefix("select.") {
      guard let budget = Int(other.name.dropFirst("select.".count)), budget > 0 else { continue }
      let function = try model.function(other.name)
      guard function.valueResults.map(\.value) == select?.valueResults.map(\.value),
        function.valueArguments == select?.valueArguments,
        function.rowArguments.map(\.name) == select?.rowArguments.map(\.name)
      else {
        throw DiagnosticError(
          "function", "function '\(other.name)' takes or makes other values than function 'select' does")
      }
      selects.append((budget, function))
    }
    self.selects = selects.sorted { $0.budget < $1.budget }
    observe = try maker("observe", role: "round", of: wanted)
    observeOnce = try maker("observe", role: "static", of: wanted)
    policy = program.policy
    let makers = [select, observe, observeOnce].compactMap { $0 }
    made = Set(makers.flatMap { $0.valueResults.map(\.value) }).sorted()
    let anywhere = program.functions.flatMap(\.results).map(\.name)
    let needed = Set(wanted + makers.flatMap(\.valueArguments))
    foreign = needed.filter { !anywhere.contains(program.sequenceValues[$0].name) }.sorted()
    for value in foreign.map({ program.sequenceValues[$0] }) {
      if let offer = offers.first(where: { $0.name == value.name }), offer != value {
        throw DiagnosticError(
          "value", "draft and target mean different things by '\(value.name)': they were not compiled for each other")
      }
    }
    offered = foreign.filter { offers.contains(program.sequenceValues[$0]) }
    let full = verify.isExact || program.function("dense") == nil ? nil : try model.function("dense")
    _ = try full?.result("logits")
    dense = mayReadAll ? full : nil
    if !verify.isExact, mayReadAll, policy.denseEvery > 0, dense == nil {
      throw DiagnosticError(
        "function",
        "the program reads everything once every \(policy.denseEvery) tokens, but it has no function 'dense' for it")
    }
    for port in select?.rowArguments ?? [] {
      for function in [verify, full].compactMap({ $0 })
      where !function.results.contains(where: { $0.name == port.name }) {
        throw DiagnosticError(
          "function", "function '\(function.name)' does not leave the rows '\(port.name)' that function 'select' reads")
      }
    }
    if let observeOnce, policy.observe == 0 {
      throw DiagnosticError(
        "function", "function '\(observeOnce.name)' chooses positions over prompt tokens, but the program says of none")
    }
    if observe != nil, observeOnce != nil {
      throw DiagnosticError("function", "the results of function 'observe' must be all static or none")
    }
  }

  /// Whether a new choice of positions waits for the drafter.
  var needsOffer: Bool { !offered.isEmpty }
  var choosesPositions: Bool { select != nil || observe != nil || needsOffer }
}
