import DustinCodegen
import DustinIR
import DustinInterpreter
import DustinModels
import DustinRunner
import DustinRuntime
import DustinSupport

/// Runs a prompt through compiled code and through the interpreter and compares the result of every op.
///
/// Compiled code runs one call of the table at a time, so that every op's rows can be read before something overwrites
/// them. Half of the prompt is read first, so that the rest finds committed positions. The error of an op is the
/// root-mean-square of the difference over that of the interpreter's result. Errors of earlier ops are in it: the first
/// op out of bound is the one to look at.
struct InterpreterComparison {
  private let pair: ModelPair
  private let team: ThreadTeam
  /// One step's share at most: what fits into a tile.
  private static let mostRows = 128

  init(_ pair: ModelPair, team: ThreadTeam) {
    self.pair = pair
    self.team = team
  }

  /// Prints a table; throws a diagnostic that names the first op out of bound.
  func run(_ tokens: [Int32]) throws {
    let tokens = Array(tokens.prefix(2 * Self.mostRows))
    try compare(pair.target, "verify", tokens)
    if let draft = pair.draft { try compare(draft, "draft", tokens) }
  }

  private struct Line {
    var label: String
    var kernel: String
    var difference: Difference
  }

  private func compare(_ model: LoadedModel, _ function: String, _ tokens: [Int32]) throws {
    let store = try ModelDirectory(path: model.path).weights()
    let interpreter = try Interpreter(module: model.module, weights: StoredWeights(store))
    let session = try InterpreterSession(interpreter, capacity: tokens.count)
    let engine = try Engine(model: try model.callByCall(["prefill", function]), team: team)
    let cache = try KVCache(engine.model, positions: tokens.count)

    var lines: [Line] = []
    let middle = tokens.count / 2
    let parts = [("prefill", tokens[..<middle]), (function, tokens[middle...])].filter { !$0.1.isEmpty }
    for (name, part) in parts {
      try checkInterruption()
      lines += try step(name, part, model, interpreter, session, engine, cache)
    }
    lines += try caches(session, cache, model)
    try report(lines, model)
  }

  /// One step in both, compared op by op, then committed in both.
  private func step(
    _ name: String, _ tokens: ArraySlice<Int32>, _ model: LoadedModel, _ interpreter: Interpreter,
    _ session: InterpreterSession, _ engine: Engine, _ cache: KVCache
  ) throws -> [Line] {
    var expected: [ObjectIdentifier: Tensor] = [:]
    interpreter.onOperation = { operation, results in expected[ObjectIdentifier(operation)] = results.first }
    _ = try session.step(function: name, tokens: Array(tokens))
    interpreter.onOperation = nil
    try session.commit(tokens.count)

    var lines: [Line] = []
    let calls = model.plan.calls(of: name) ?? []
    for (index, call) in calls.enumerated() {
      try checkInterruption()
      let result = try engine.step("\(name)#\(index)", [StepRows(cache, tokens)])
      // The result of an op that takes several calls is there after the last one.
      let isLast = index + 1 == calls.count || calls[index + 1].operation !== call.operation
      guard isLast, LoadedModel.rowPort(of: call.operation) != nil,
        let tensor = expected[ObjectIdentifier(call.operation)]
      else { continue }
      var difference = Difference()
      for row in 0..<tensor.rows {
        let isBF16 = tensor.element == .bf16
        let bytes = try result.bytes("rows", sequence: 0, row: tensor.rows == 1 ? nil : row)
        for column in 0..<tensor.width {
          let value =
            isBF16
            ? BF16.float(bytes.loadUnaligned(fromByteOffset: 2 * column, as: UInt16.self))
            : bytes.loadUnaligned(fromByteOffset: 4 * column, as: Float.self)
          difference.add(value, tensor.floats[row * tensor.width + column])
        }
      }
      let label = "@\(name) %\(call.operation.results.first?.name ?? "") = \(call.operation.name)"
      lines.append(Line(label: label, kernel: call.kernel, difference: difference))
    }
    try cache.commit(tokens.count)
    return lines
  }

  private func caches(_ session: InterpreterSession, _ cache: KVCache, _ model: LoadedModel) throws -> [Line] {
    let bytes = try cache.bits(ofPositions: 0..<cache.length)
    let regions = model.compiled.program.cacheRegions
    let stride = model.compiled.program.cacheBytesPerPosition
    var offset = 0
    return try zip(regions, session.cacheContents()).enumerated().map { index, pair in
      let (region, tensor) = pair
      var difference = Difference()
      bytes.withUnsafeBytes { memory in
        for position in 0..<cache.length {
          for column in 0..<tensor.width {
            let place = position * stride + offset + column * region.elementBytes
            let value =
              region.element == .bf16
              ? BF16.float(memory.loadUnaligned(fromByteOffset: place, as: UInt16.self))
              : memory.loadUnaligned(fromByteOffset: place, as: Float.self)
            difference.add(value, tensor.floats[position * tensor.width + column])
          }
        }
      }
      offset += region.bytesPerPosition
      return Line(
        label: "cache \(index), \(region.isKeys ? "keys" : "values") of layer \(index / 2)", kernel: "",
        difference: difference)
    }
  }

  private func report(_ lines: [Line], _ model: LoadedModel) throws {
    var table = TextTable(["op of \(model.path)", "max |difference|", "error / rms", "kernel"])
    var first: (line: Line, bound: Double)?
    // A bf16 result that lies near a tie rounds either way; f32 differs by the order of sums only.
    let bound = model.module.functions.first?.numerics == .f32 ? 2e-4 : 3e-2
    for line in lines {
      let relative = line.difference.relative
      // A NaN is out of bound too.
      if !(relative <= bound), first == nil { first = (line, bound) }
      table.add([line.label, scientific(line.difference.largest), scientific(relative), line.kernel])
    }
    try Console.current.write(table.text)
    if let first {
      throw DiagnosticError(
        "comparison",
        "\(first.line.label): the compiled result differs from the interpreter's by "
          + "\(scientific(first.line.difference.relative)) of its size, more than \(scientific(first.bound))",
        notes: first.line.kernel.isEmpty ? [] : [.note("in kernel \(first.line.kernel)")])
    }
    try Console.current.write("\(lines.count) results agree within \(scientific(bound)) of their size\n\n")
  }
}

/// How far two lists of numbers are apart.
struct Difference {
  private(set) var largest = 0.0
  private var squares = 0.0
  private var referenceSquares = 0.0

  mutating func add(_ value: Float, _ reference: Float) {
    let difference = Double(value) - Double(reference)
    // max() would lose a NaN.
    if !(abs(difference) <= largest) { largest = abs(difference) }
    squares += difference * difference
    referenceSquares += Double(reference) * Double(reference)
  }

  /// Root-mean-square of the difference over that of the reference.
  var relative: Double { squares == 0 ? 0 : (squares / max(referenceSquares, .leastNormalMagnitude)).squareRoot() }
}

/// `1.2e-05`
func scientific(_ value: Double) -> String {
  guard value.isFinite, value != 0 else { return value == 0 ? "0" : "\(value)" }
  var exponent = 0
  var mantissa = abs(value)
  while mantissa >= 9.95 {
    mantissa /= 10
    exponent += 1
  }
  while mantissa < 0.995 {
    mantissa *= 10
    exponent -= 1
  }
  let sign = value < 0 ? "-" : ""
  return "\(sign)\(fixed(mantissa, 1))e\(exponent < 0 ? "-" : "+")\(abs(exponent) < 10 ? "0" : "")\(abs(exponent))"
}

/// A model directory's tensors for the interpreter.
struct StoredWeights: WeightSource {
  private let store: WeightStore

  init(_ store: WeightStore) { self.store = store }

  func tensor(named name: String) throws -> Tensor {
    let view = try store.tensor(name)
    return view.element == .i32
      ? try Tensor(view.shape, ints: view.ints()) : try Tensor(view.element, view.shape, view.floats())
  }
}
