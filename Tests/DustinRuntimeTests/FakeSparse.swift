import CDustin
import DustinSupport
import Synchronization

@testable import DustinRuntime

/// A target that verifies through sets and a draft that looks ahead, without weights.
///
/// Keys and values hold the token, and bits that depend on it, its position, and, where a set left positions out, on the
/// set: what a sparse pass wrote differs from what a dense one writes. Dense logits are a hash of all cached bytes.
/// Sparse logits are the right ones at some positions and a hash of what the set shows elsewhere. Kept rows are
/// (token, position, function). Signals are hashes of the kept rows, so that sets depend on every proposal.
struct FakePair {
  var vocabulary = 32
  var levels = 64
  var height: Float = 6
  /// Percent of rows at which sparse verification says what dense verification says, and the draft what the target says.
  var agreement = 80
  var draftAgreement = 70
  var budget = 6
  var planes = 1
  var historyRole = "row"
  /// `select` takes the draft's signal.
  var takesLook = true
  /// The draft makes it.
  var looks = true
  /// The draft reads through a set that it makes.
  var near = false
  var hasDense = true
  var observe: String?
  var policy = Program.Policy()
  /// Copies of the cache in rows; appends write them, unless told to forget.
  var copies = false
  var forgetsCopies = false
  /// The draft looks at position 1 + (its first proposal), and sparse logits favour the token of the second position
  /// of the set: then they say what was proposed.
  var echoes = false
  var maxRows = 40
  var prefillRows = 16

  enum Function: Int { case prefill, verify, dense, select, observe, draft, look }

  private static let rowWords = 3
  private static let stride = 64

  var regions: [Program.CacheRegion] {
    FakeModel.regions
      + (copies
        ? FakeModel.regions.map { region in
          var copy = region
          copy.layout = .rows
          return copy
        } : [])
  }

  func target() throws -> CompiledModel {
    try CompiledModel(program: targetProgram, entry: fakeSparseEntry, weights: nil)
  }
  func draft() throws -> CompiledModel {
    try CompiledModel(program: draftProgram, entry: fakeSparseEntry, weights: nil)
  }

  func engines(threads: Int = 1) throws -> (target: Engine, draft: Engine) {
    let team = try ThreadTeam(threads: threads)
    return (try Engine(model: target(), team: team), try Engine(model: draft(), team: team))
  }

  // MARK: Programs

  private var rows: Int { max(maxRows, prefillRows) }
  private var logitsAt: Int { 4 * rows * Self.stride }

  private var arenaBytes: Int { logitsAt + rows * vocabulary * 4 }

  private func port(_ number: Int, _ name: String, _ role: String = "plain", words: Int = 1) -> Program.Port {
    .init(
      name: name, role: role,
      place: .arena(
        offset: number * rows * Self.stride, rowBytes: Self.stride, count: words, element: .i32, perSequence: false))
  }

  var targetProgram: Program {
    let set = Program.SequenceValue(name: "set", kind: .set(bound: budget), planes: planes)
    let look = Program.SequenceValue(name: "look", kind: .signal, planes: 1)
    var program = program(policy: policy, values: [set, look])
    let history = port(3, "history.0", historyRole, words: Self.rowWords)
    func add(_ function: Function, _ name: String, set: Bool = false, isExact: Bool = true) {
      program.functions.append(
        feed(function, name, set: set ? ("set", observe ?? "round") : nil, history, isExact, program))
    }
    add(.prefill, "prefill")
    add(.verify, "verify", set: true, isExact: false)
    if hasDense { add(.dense, "dense") }
    if let observe {
      program.functions.append(
        Program.Function(
          name: "observe", maxRows: prefillRows, table: table(.observe, program, set: "set"),
          arguments: [port(0, "ids"), port(1, "pos"), cachePort("k0")],
          results: [valuePort("set", observe, program), cachePort("k1")], isExact: true))
    } else {
      program.functions.append(
        Program.Function(
          name: "select", maxRows: maxRows,
          table: table(.select, program, set: "set", signal: takesLook ? "look" : nil),
          arguments: [port(2, "history.0", historyRole, words: Self.rowWords)]
            + (takesLook ? [valuePort("look", "round", program)] : []) + [cachePort("k0")],
          results: [valuePort("set", "round", program)], isExact: true))
    }
    return stated(program)
  }

  var draftProgram: Program {
    var program = program(
      policy: Program.Policy(refresh: policy.refresh),
      values: [
        Program.SequenceValue(name: "look", kind: .signal, planes: 1),
        Program.SequenceValue(name: "near", kind: .set(bound: budget), planes: 1),
      ])
    let ahead = port(3, "ahead.0", "rows", words: Self.rowWords)
    program.functions.append(feed(.prefill, "prefill", set: nil, ahead, true, program))
    program.functions.append(feed(.draft, "draft", set: near ? ("near", "round") : nil, ahead, !near, program))
    if looks {
      program.functions.append(
        Program.Function(
          name: "look", maxRows: maxRows, table: table(.look, program, set: near ? "near" : nil, signal: "look"),
          arguments: [port(2, "ahead.0", "rows", words: Self.rowWords), cachePort("k0")],
          results: [valuePort("look", "round", program)] + (near ? [valuePort("near", "round", program)] : []),
          isExact: true))
    }
    return stated(program)
  }

  private func program(policy: Program.Policy, values: [Program.SequenceValue]) -> Program {
    var program = Program(
      functions: [], kernelCount: 1, cacheRegions: regions, arenaBytes: arenaBytes, weightBytes: 0,
      scratchBytesPerThread: 64)
    program.sequenceValues = values
    program.policy = policy
    return program
  }

  private func cachePort(_ name: String) -> Program.Port { .init(name: name, role: "cache", place: .cache(region: 0)) }

  private func valuePort(_ name: String, _ role: String, _ program: Program) -> Program.Port {
    .init(
      name: name, role: role,
      place: .sequence(value: program.sequenceValues.firstIndex { $0.name == name } ?? -1))
  }

  private func feed(
    _ function: Function, _ name: String, set: (name: String, role: String)?, _ kept: Program.Port, _ isExact: Bool,
    _ program: Program
  ) -> Program.Function {
    let perSequence = function == .prefill || function == .draft
    return Program.Function(
      name: name, maxRows: function == .prefill ? prefillRows : maxRows,
      table: table(function, program, set: set?.name),
      arguments: [port(0, "ids"), port(1, "pos"), cachePort("k0")]
        + (set.map { [valuePort($0.name, $0.role, program)] } ?? []),
      results: [
        .init(
          name: "logits", role: "plain",
          place: .arena(
            offset: logitsAt, rowBytes: vocabulary * 4, count: vocabulary, element: .f32, perSequence: perSequence)),
        kept, cachePort("k1"),
      ], isExact: isExact)
  }

  /// Every function reads as the fake does: 100 bytes of each position that it sees, 7 for scoring one.
  private func stated(_ program: Program) -> Program {
    var program = program
    for index in program.functions.indices {
      var reads = Program.CacheReads()
      let function = program.functions[index]
      let set = function.arguments.compactMap { port in
        if case .sequence(let value) = port.place, case .set = program.sequenceValues[value].kind { value } else { nil }
      }.first
      if function.name == "select" || function.name == "look" {
        reads.perPosition = 7
      } else if let set {
        reads.perSelected = [.init(set: set, bytes: 100)]
        reads.densePerPosition = 100
      } else {
        (reads.perPosition, reads.densePerPosition) = (100, 100)
      }
      program.functions[index].reads = reads
    }
    return program
  }

  private func table(
    _ function: Function, _ program: Program, set: String? = nil, signal: String? = nil
  ) -> [Int64] {
    func place(_ name: String?) -> [Int] {
      guard let name, let index = program.sequenceValues.firstIndex(where: { $0.name == name }) else {
        return [-1, 0, 0]
      }
      let place = program.place(ofValue: index)
      return [place.fixed, place.perPosition, program.sequenceValues[index].setBytes]
    }
    let words =
      [
        function.rawValue, vocabulary, rows * Self.stride, logitsAt,
        function == .draft ? draftAgreement : agreement, levels, Int(height.bitPattern),
        function == .prefill || function == .draft ? 1 : 0, budget, planes, (copies ? 1 : 0) - (forgetsCopies ? 1 : 0),
        historyRole == "rows" || function == .look ? 1 : 0,
      ] + place(set) + place(signal) + [echoes ? 1 : 0]
    return [0, 0, Int64(words.count)] + words.map(Int64.init)
  }
}

/// What the fake functions were called with, while `isOn`.
final class FakeLog: Sendable {
  struct Share: Equatable {
    var length = 0
    var ids: [Int32] = []
    var positions: [Int32] = []
    /// The set that is read through, plane by plane.
    var set: [[Int32]] = []
    /// Rows that were kept.
    var kept: [[Int32]] = []
  }
  struct Call {
    var function: FakePair.Function
    var shares: [Share]
  }
  static let shared = FakeLog()
  private let state = Mutex<(isOn: Bool, calls: [Call], faults: [String])>((false, [], []))

  /// The calls that `body` makes.
  func calls(during body: () throws -> Void) rethrows -> [Call] {
    state.withLock { $0 = (true, [], $0.faults) }
    defer { state.withLock { $0.isOn = false } }
    try body()
    return state.withLock { $0.calls }
  }
  func add(_ call: Call) { state.withLock { if $0.isOn { $0.calls.append(call) } } }
  func fault(_ text: String) { state.withLock { $0.faults.append(text) } }
  /// What no function may ever be given, and was.
  func takeFaults() -> [String] {
    state.withLock { state in
      defer { state.faults = [] }
      return state.faults
    }
  }
}
