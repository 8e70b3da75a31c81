import DustinIR
import DustinRunner
import DustinRuntime
import DustinSupport

extension LoadedModel {
  /// The model with every call of the given functions as one more function, `verify#12`, whose result `rows` are those
  /// of the call's op. Run one behind the other in one engine they compute what the functions compute. `verify#` calls
  /// nothing: what it takes is the step's own.
  func callByCall(_ functions: [String]) throws -> CompiledModel {
    var program = compiled.program
    var single: [Program.Function] = []
    for name in functions {
      guard let function = program.function(name), let calls = plan.calls(of: name) else {
        throw DiagnosticError("function", "'\(path)' was compiled without the function '\(name)'")
      }
      for (index, call) in calls.enumerated() {
        // Everything else is the function's: scratch, bounds and what it is given.
        var part = function
        part.name = "\(name)#\(index)"
        part.table = call.words
        part.results = Self.rowPort(of: call.operation).map { [$0] } ?? []
        single.append(part)
      }
      var nothing = function
      nothing.name = "\(name)#"
      nothing.table = []
      nothing.results = []
      single.append(nothing)
    }
    program.functions += single
    return try compiled.running(program)
  }

  /// Seconds of each call of a step, in an engine of `callByCall`'s program: the best of a few runs of all calls, without
  /// what any step takes.
  func callSeconds(of function: String, in engine: Engine, _ rows: [StepRows], runs: Int) throws -> [Double] {
    let names = ["\(function)#"] + (plan.calls(of: function) ?? []).indices.map { "\(function)#\($0)" }
    var best = [Double](repeating: .infinity, count: names.count)
    for _ in 0..<max(1, runs) {
      for (index, name) in names.enumerated() {
        try checkInterruption()
        best[index] = min(best[index], try timed { _ = try engine.step(name, rows) })
      }
    }
    return best.dropFirst().map { max(0, $0 - best[0]) }
  }

  /// The same summed by kernel family.
  ///
  /// - Returns: Families and seconds, the longest first.
  func kernelSeconds(
    of function: String, in engine: Engine, _ rows: [StepRows], runs: Int
  ) throws -> [(name: String, seconds: Double)] {
    let times = try callSeconds(of: function, in: engine, rows, runs: runs)
    var sums: [(name: String, seconds: Double)] = []
    for (call, time) in zip(plan.calls(of: function) ?? [], times) {
      // The output matrix is a family of its own: its size does not follow the layers.
      let isOutput = call.operation.results.first.map { $0.name.hasPrefix("logits") } ?? false
      let name = isOutput ? "\(call.family) of the logits" : call.family
      if let index = sums.firstIndex(where: { $0.name == name }) {
        sums[index].seconds += time
      } else {
        sums.append((name, time))
      }
    }
    return sums.sorted { $0.seconds > $1.seconds }
  }

  /// Where an op's first row result lies; nil for ops without.
  static func rowPort(of operation: Operation) -> Program.Port? {
    guard case .array(let places)? = operation.attributes["at"], case .int(let offset)? = places.first,
      let type = operation.results.first?.type
    else { return nil }
    let count = type.shape.dropFirst().reduce(1) { $0 * ($1.fixedValue ?? 0) }
    let element: Program.Element = type.element == .bf16 ? .bf16 : type.element == .i32 ? .i32 : .f32
    return Program.Port(
      name: "rows", role: "round",
      place: .arena(
        offset: offset, rowBytes: Arena.rowBytes(type), count: count, element: element,
        perSequence: type.shape.first == .fixed(1)))
  }
}

extension Program.Function {
  /// Whether a step of it is fed tokens; others read what earlier steps left.
  var takesTokens: Bool { arguments.contains { $0.name == "ids" } }
}
