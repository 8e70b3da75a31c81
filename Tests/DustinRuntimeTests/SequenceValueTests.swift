import DustinSupport
import XCTest

@testable import DustinRuntime

/// Signals, sets, kept rows and copies in rows: what a sequence holds beside its packed keys and values.
final class SequenceValueTests: XCTestCase {
  override func tearDown() { XCTAssertEqual(FakeLog.shared.takeFaults(), []) }

  /// A target cache with a prompt, a set and a signal.
  private func sequence(_ pair: FakePair, _ engine: Engine, seed: Int = 1, count: Int = 40) throws -> KVCache {
    let cache = try KVCache(engine.model, positions: 100)
    _ = try engine.prefill([StepRows(cache, fakePrompt(seed, count: count))])
    _ = try engine.step("select", [StepRows(cache)])
    return cache
  }

  func testDamagedProgramsAreRefused() throws {
    typealias Change = (inout Program) -> Void
    func changePort(_ function: String, _ name: String, _ place: Program.Port.Place? = nil, role: String? = nil)
      -> Change
    {
      { program in
        for index in program.functions.indices where program.functions[index].name == function {
          guard let port = program.functions[index].arguments.firstIndex(where: { $0.name == name }) else { continue }
          if let place { program.functions[index].arguments[port].place = place }
          if let role { program.functions[index].arguments[port].role = role }
        }
      }
    }
    func rows(_ count: Int, _ element: Program.Element = .i32, offset: Int = 0) -> Program.Port.Place {
      .arena(offset: offset, rowBytes: 64, count: count, element: element, perSequence: false)
    }
    let changes: [(String, Change)] = [
      ("no positions", { $0.sequenceValues[0].kind = .set(bound: 0) }),
      ("negative bound", { $0.sequenceValues[0].kind = .set(bound: -5) }),
      ("huge bound", { $0.sequenceValues[0].kind = .set(bound: .max) }),
      ("no planes", { $0.sequenceValues[0].planes = 0 }),
      ("huge planes", { $0.sequenceValues[1].planes = .max }),
      ("negative planes", { $0.sequenceValues[1].planes = -1 }),
      ("twice", { $0.sequenceValues.append($0.sequenceValues[0]) }),
      ("other name", { $0.sequenceValues[0].name = "sat" }),
      ("value number", changePort("verify", "set", .sequence(value: 2))),
      ("negative value number", changePort("select", "look", .sequence(value: -1))),
      ("other value", changePort("verify", "set", .sequence(value: 1))),
      ("negative reads", { $0.functions[1].reads.perPosition = -1 }),
      ("absurd reads", { $0.functions[1].reads.densePerPosition = .max }),
      ("negative set bytes", { $0.functions[1].reads.perSelected[0].bytes = -1 }),
      ("absurd set bytes", { $0.functions[1].reads.perSelected[0].bytes = .max / 2 }),
      ("reads of no set", { $0.functions[1].reads.perSelected[0].set = 9 }),
      ("reads of a signal", { $0.functions[1].reads.perSelected[0].set = 1 }),
      ("partials", { $0.functions[2].partialBytes = -1 }),
      ("rows that nobody leaves", { $0.functions[3].arguments[0].name = "history.1" }),
      ("wide rows", changePort("select", "history.0", rows(4))),
      ("rows of another type", changePort("select", "history.0", rows(3, .f32))),
      ("rows of another role", changePort("select", "history.0", role: "rows")),
      ("rows outside", changePort("select", "history.0", rows(3, offset: .max - 10))),
      ("an unknown argument", changePort("select", "history.0", role: "plain")),
      ("ids are missing", { $0.functions[1].arguments.removeFirst() }),
      ("refresh", { $0.policy.refresh = 0 }),
      ("dense", { $0.policy.denseEvery = -1 }),
      ("observe", { $0.policy.observe = -1 }),
      ("copies of another shape", { $0.cacheRegions[5].dim += 2 }),
      ("copies of another type", { $0.cacheRegions[5].element = .f32 }),
      ("copies in another order", { $0.cacheRegions.swapAt(4, 5) }),
      ("too few copies", { $0.cacheRegions.removeLast() }),
      ("mixed copies", { $0.cacheRegions.swapAt(3, 4) }),
      ("only copies", { $0.cacheRegions.removeFirst(4) }),
    ]
    let pair = FakePair(copies: true)
    _ = try pair.target()
    for (name, change) in changes {
      var program = pair.targetProgram
      change(&program)
      XCTAssertNotEqual(program, pair.targetProgram, name)
      XCTAssertThrowsError(try CompiledModel(program: program, entry: fakeSparseEntry, weights: nil), name) {
        XCTAssertTrue(["program", "memory"].contains(identifier($0)), "\(name): \($0)")
      }
    }
    var large = pair.targetProgram
    large.sequenceValues[1].planes = 65_536
    let model = try CompiledModel(program: large, entry: fakeSparseEntry, weights: nil)
    XCTAssertThrowsError(try KVCache(model, positions: Int(Int32.max) - 5_000)) {
      XCTAssertEqual(identifier($0), "memory")
    }
  }

  func testForksAndTruncationKeepAllOfIt() throws {
    for planes in [1, 2] {
      let pair = FakePair(planes: planes, historyRole: "rows", copies: true)
      let engines = try pair.engines(threads: 2)
      let cache = try sequence(pair, engines.target)
      let step = try engines.target.step("dense", [StepRows(cache, [1, 2, 3, 4])])
      try step.keep(sequence: 0, rows: 0..<3)
      try cache.commit(3)
      let set = try cache.set(named: "set")
      XCTAssertEqual(set.map(\.count), Array(repeating: 6, count: planes))
      XCTAssertTrue(try cache.rowCopiesMatch(inPositions: 0..<43))
      let rows = try XCTUnwrap(cache.keptRows["history.0"])
      XCTAssertEqual(rows.count, 3)
      for limit in [43, 100, 200] {
        let fork = try cache.fork(positions: limit)
        XCTAssertEqual(try fork.bits(ofPositions: 0..<43), try cache.bits(ofPositions: 0..<43))
        XCTAssertTrue(try fork.rowCopiesMatch(inPositions: 0..<43))
        XCTAssertEqual(try fork.set(named: "set"), set)
        XCTAssertEqual(fork.keptRows, cache.keptRows)
        // Positions 0 … 40 stay; the set's last one was 39, and of the rows 40, 41, 42 one is left.
        fork.truncate(to: 41)
        XCTAssertEqual(try fork.set(named: "set"), set)
        XCTAssertEqual(fork.keptRows["history.0"]?.bytes, Array(rows.bytes.prefix(12)))
        fork.truncate(to: 20)
        XCTAssertEqual(try fork.set(named: "set"), set.map { $0.filter { $0 < 20 } })
        XCTAssertNil(fork.keptRows["history.0"])
        XCTAssertEqual(try cache.set(named: "set"), set)
        XCTAssertEqual(cache.keptRows["history.0"], rows)
      }
    }
    let forgetful = FakePair(copies: true, forgetsCopies: true)
    let cache = try sequence(forgetful, forgetful.engines().target)
    XCTAssertFalse(try cache.rowCopiesMatch(inPositions: 3..<4))
    XCTAssertThrowsError(try cache.rowCopiesMatch(inPositions: 3..<41)) { XCTAssertEqual(identifier($0), "context") }
  }

  func testSignalsAreOfCommittedPositionsAlone() throws {
    let pair = FakePair()
    let engine = try pair.engines().draft
    let cache = try KVCache(engine.model, positions: 100)
    _ = try engine.prefill([StepRows(cache, fakePrompt(1, count: 30))])
    _ = try engine.step("look", [StepRows(cache, length: 25)])
    let signal = try cache.signal(named: "look")[0]
    XCTAssertEqual(signal.count, 30)
    XCTAssertTrue(signal[..<25].allSatisfy { $0 > 0 } && signal[25...].allSatisfy { $0 == 0 })
    let fork = try cache.fork(positions: 64)
    XCTAssertEqual(try fork.signal(named: "look")[0], signal)
    fork.truncate(to: 10)
    try fork.commit(20)
    XCTAssertEqual(try fork.signal(named: "look")[0], Array(signal[..<10]) + Array(repeating: 0, count: 20))
    XCTAssertEqual(try cache.signal(named: "look")[0], signal)
  }

  func testValuesOfEqualNamesGoFromDraftToTarget() throws {
    let pair = FakePair(near: true)
    let engines = try pair.engines()
    let prompt = fakePrompt(3, count: 30)
    let draft = try KVCache(engines.draft.model, positions: 200)
    _ = try engines.draft.prefill([StepRows(draft, prompt)])
    _ = try engines.draft.step("look", [StepRows(draft)])
    let target = try KVCache(engines.target.model, positions: 100)
    _ = try engines.target.prefill([StepRows(target, prompt)])
    XCTAssertEqual(try target.copyValues(from: draft, positions: 20), ["look"])
    let signal = try draft.signal(named: "look")[0]
    XCTAssertEqual(try target.signal(named: "look")[0], signal[..<20] + Array(repeating: 0, count: 10))
    XCTAssertEqual(try target.copyValues(from: draft, positions: 30, names: ["near"]), [])
    XCTAssertThrowsError(try target.copyValues(from: draft, positions: 31)) {
      XCTAssertEqual(identifier($0), "context")
    }
    // Sets of equal bounds are copied too, without positions that are not meant.
    let other = try KVCache(engines.draft.model, positions: 60)
    _ = try engines.draft.prefill([StepRows(other, prompt)])
    XCTAssertEqual(try other.copyValues(from: draft, positions: 25), ["look", "near"])
    let near = try draft.set(named: "near")[0]
    XCTAssertEqual(near.last, 29)
    XCTAssertEqual(try other.set(named: "near")[0], near.filter { $0 < 25 })

    for name in ["nears", "look"] {
      XCTAssertThrowsError(try draft.set(named: name)) { XCTAssertEqual(identifier($0), "value") }
    }
    XCTAssertThrowsError(try draft.signal(named: "loop")) {
      XCTAssertTrue("\($0)".contains("did you mean 'look'?"), "\($0)")
    }
  }

  func testStepsBehindFewerPositionsSeeNoMore() throws {
    let pair = FakePair()
    let engine = try pair.engines(threads: 2).target
    let tokens = fakePrompt(5, count: 30)
    let cache = try sequence(pair, engine, seed: 5, count: 30)
    let short = try KVCache(engine.model, positions: 40)
    _ = try engine.prefill([StepRows(short, tokens[..<20])])
    let expected = Array(
      try engine.step("dense", [StepRows(short, tokens[20..<26])]).lastLogits(sequence: 0))
    let step = try engine.step("dense", [StepRows(cache, tokens[20..<26], length: 20)])
    XCTAssertEqual(Array(try step.lastLogits(sequence: 0)), expected)
    XCTAssertEqual(cache.length, 30)
    try step.keep(sequence: 0, rows: 2..<6)
    XCTAssertEqual(cache.keptRows["history.0"]?.end, 26)
    // The same tokens: the same bits.
    let fresh = try sequence(pair, engine, seed: 5, count: 30)
    XCTAssertEqual(try cache.bits(ofPositions: 0..<30), try fresh.bits(ofPositions: 0..<30))
  }

  func testStepsWithoutTokensAreChecked() throws {
    var pair = FakePair(historyRole: "rows")
    pair.maxRows = 8
    let engine = try pair.engines().target
    let empty = try KVCache(engine.model, positions: 30)
    func expect(_ id: String, _ function: String, _ rows: StepRows, _ line: UInt = #line) {
      XCTAssertThrowsError(try engine.step(function, [rows]), line: line) {
        XCTAssertEqual(identifier($0), id, "\($0)", line: line)
      }
    }
    expect("rows", "select", StepRows(empty))
    let cache = try sequence(pair, engine, count: 25)
    expect("step", "select", StepRows(cache, [1]))
    expect("step", "select", StepRows(cache, length: 26))
    expect("step", "select", StepRows(cache, length: -1))
    expect("step", "dense", StepRows(cache, [1], length: 26))
    expect("step", "dense", StepRows(cache))
    XCTAssertThrowsError(try engine.prefill([StepRows(cache, [1], length: 2)])) {
      XCTAssertEqual(identifier($0), "step")
    }
    // Nine rows make one set: they cannot be cut into steps of eight.
    let step = try engine.step("dense", [StepRows(cache, fakePrompt(2, count: 9))])
    XCTAssertThrowsError(try step.keep(sequence: 0, rows: 0..<10)) { XCTAssertEqual(identifier($0), "port") }
    try step.keep(sequence: 0, rows: 0..<9)
    expect("step", "select", StepRows(cache))
    // A full context can still choose.
    try cache.commit(5)
    let again = try engine.step("dense", [StepRows(cache, [1, 2], length: 28)])
    try again.keep(sequence: 0, rows: 0..<2)
    let full = try KVCache(engine.model, positions: 30)
    _ = try engine.prefill([StepRows(full, fakePrompt(1, count: 30))])
    _ = try engine.step("select", [StepRows(full)])
    XCTAssertEqual(try full.set(named: "set")[0].last, 29)
  }

  func testCopiesOfResultsOutliveTheNextStep() throws {
    let engine = try FakePair().engines().target
    let a = try KVCache(engine.model, positions: 50)
    let b = try KVCache(engine.model, positions: 50)
    for count in [3, 45] {  // one step, and two
      let step = try engine.step("dense", [StepRows(a, fakePrompt(1, count: count))])
      let row = Array(try step.logits(sequence: 0, row: 2))
      let copy = try step.copy()
      _ = try engine.step("dense", [StepRows(b, fakePrompt(2, count: 7))])
      XCTAssertEqual(Array(try copy.logits(sequence: 0, row: 2)), row)
      XCTAssertThrowsError(try step.copy()) { XCTAssertEqual(identifier($0), "port") }
    }
  }

  func testTrafficIsWhatFunctionsState() throws {
    for planes in [1, 2] {
      let pair = FakePair(planes: planes)
      let engine = try pair.engines().target
      let cache = try sequence(pair, engine, count: 40)
      func traffic(_ function: String, _ rows: StepRows) throws -> [Int] {
        let before = engine.traffic
        _ = try engine.step(function, [rows])
        let difference = engine.traffic - before
        return [difference.bytesRead, difference.denseBytes]
      }
      // Six positions of each plane, the last one the 40th, and the three rows.
      XCTAssertEqual(try traffic("verify", StepRows(cache, [1, 2, 3])), [100 * (6 + 3), 100 * 43])
      try cache.commit(3)
      // A set of the round before: the three rows since are read too.
      XCTAssertEqual(try traffic("verify", StepRows(cache, [1, 2])), [100 * (6 + 5), 100 * 45])
      XCTAssertEqual(try traffic("dense", StepRows(cache, [1, 2])), [100 * 45, 100 * 45])
      XCTAssertEqual(try traffic("dense", StepRows(cache, [1, 2], length: 10)), [1200, 1200])
      XCTAssertEqual(try traffic("select", StepRows(cache)), [7 * 43, 0])
    }
  }
}
