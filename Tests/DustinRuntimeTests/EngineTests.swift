import DustinSupport
import XCTest

@testable import DustinRuntime

func identifier(_ error: any Error) -> String? { (error as? DiagnosticError)?.diagnostics.first?.id }

final class EngineTests: XCTestCase {
  /// Logits behind each position of one sequence, one row a step.
  private func rowByRow(_ engine: Engine, _ tokens: [Int32]) throws -> [[Float]] {
    let cache = try KVCache(engine.model, positions: tokens.count)
    return try tokens.map { token in
      let step = try engine.step("verify", [StepRows(cache, [token])])
      try cache.commit(1)
      return Array(try step.logits(sequence: 0, row: 0))
    }
  }

  func testRowsSequencesAndThreadsDoNotMatter() throws {
    let prompts = [
      fakePrompt(1, count: 5), fakePrompt(2, count: 30), fakePrompt(3, count: 1), fakePrompt(4, count: 12),
    ]
    let expected = try prompts.map { try rowByRow(fakeEngine(), $0) }
    for threads in [1, 2, 3] {
      for maxRows in [1, 3, 12, 64] {
        let engine = try fakeEngine(FakeModel(maxRows: maxRows), threads: threads)
        let rows = try prompts.map { StepRows(try KVCache(engine.model, positions: 40), $0) }
        let step = try engine.step("verify", rows)
        for (sequence, prompt) in prompts.enumerated() {
          for row in prompt.indices {
            XCTAssertEqual(Array(try step.logits(sequence: sequence, row: row)), expected[sequence][row])
          }
          XCTAssertEqual(Array(try step.lastLogits(sequence: sequence)), expected[sequence].last)
        }
        let last = try engine.step("draft", rows)
        for sequence in prompts.indices {
          XCTAssertEqual(Array(try last.lastLogits(sequence: sequence)), expected[sequence].last)
        }
      }
    }
  }

  func testUncommittedRowsAreOverwritten() throws {
    let engine = try fakeEngine()
    let tokens = fakePrompt(5, count: 20)
    let expected = try rowByRow(engine, tokens)
    let cache = try KVCache(engine.model, positions: 20)
    _ = try engine.step("verify", [StepRows(cache, fakePrompt(6, count: 9))])
    _ = try engine.step("verify", [StepRows(cache, Array(tokens[..<4]))])
    try cache.commit(4)
    _ = try engine.step("verify", [StepRows(cache, fakePrompt(7, count: 12))])
    let step = try engine.step("verify", [StepRows(cache, tokens[4..<10])])
    XCTAssertEqual(Array(try step.lastLogits(sequence: 0)), expected[9])
  }

  func testPrefillTilesDoNotMatter() throws {
    let prompts = [fakePrompt(1, count: 33), fakePrompt(2, count: 1), fakePrompt(3, count: 20)]
    let expected = try prompts.map { try rowByRow(fakeEngine(), $0).last }
    for tile in [1, 2, 7, 16, 100] {
      let engine = try fakeEngine(FakeModel(prefillRows: tile), threads: 2)
      let caches = try prompts.map { _ in try KVCache(engine.model, positions: 33) }
      var progress: [Int] = []
      let prefilled = try engine.prefill(
        zip(caches, prompts).map { StepRows($0, $1) },
        progress: { done, total in
          progress.append(done)
          XCTAssertEqual(total, 54)
        })
      XCTAssertTrue(prefilled.isComplete)
      XCTAssertEqual(prefilled.logits, expected)
      XCTAssertEqual(caches.map(\.length), [33, 1, 20])
      XCTAssertEqual(progress.last, 54)
      XCTAssertEqual(progress, progress.sorted())
      XCTAssertEqual(progress.count, (54 + tile - 1) / tile)
    }
  }

  func testCancelledPrefillKeepsWholeTiles() throws {
    let engine = try fakeEngine()
    let tokens = fakePrompt(1, count: 40)
    let cache = try KVCache(engine.model, positions: 40)
    let flag = CancelFlag()
    let part = try engine.prefill(
      [StepRows(cache, tokens)], cancel: flag, progress: { done, _ in if done >= 21 { flag.cancel() } })
    XCTAssertFalse(part.isComplete)
    XCTAssertEqual(cache.length, 21)
    flag.reset()
    let rest = try engine.prefill([StepRows(cache, tokens[21...])], cancel: flag)
    XCTAssertEqual(rest.logits.first, try rowByRow(engine, tokens).last)
  }

  func testForkTruncateAndBits() throws {
    let engine = try fakeEngine()
    let tokens = fakePrompt(8, count: 70)
    let cache = try KVCache(engine.model, positions: 100)
    _ = try engine.prefill([StepRows(cache, tokens)])
    let bits = try cache.bits(ofPositions: 0..<70)
    XCTAssertEqual(bits.count, 70 * engine.model.program.cacheBytesPerPosition)
    for limit in [70, 100, 200] {
      let fork = try cache.fork(positions: limit)
      XCTAssertEqual(fork.length, 70)
      XCTAssertEqual(try fork.bits(ofPositions: 0..<70), bits)
      fork.truncate(to: 33)
      fork.truncate(to: 50)
      XCTAssertEqual(fork.length, 33)
      _ = try engine.prefill([StepRows(fork, fakePrompt(9, count: 20))])
      // The original has not changed, and the fork's first part is its own.
      XCTAssertEqual(try cache.bits(ofPositions: 0..<70), bits)
      XCTAssertEqual(try fork.bits(ofPositions: 0..<33), try cache.bits(ofPositions: 0..<33))
      XCTAssertNotEqual(try fork.bits(ofPositions: 33..<53), try cache.bits(ofPositions: 33..<53))
      let fresh = try KVCache(engine.model, positions: 64)
      _ = try engine.prefill([StepRows(fresh, tokens[..<33] + fakePrompt(9, count: 20))])
      XCTAssertEqual(try fork.bits(ofPositions: 0..<53), try fresh.bits(ofPositions: 0..<53))
    }
    XCTAssertThrowsError(try cache.fork(positions: 69)) { XCTAssertEqual(identifier($0), "context") }
    XCTAssertThrowsError(try cache.bits(ofPositions: 0..<71)) { XCTAssertEqual(identifier($0), "context") }
  }

  func testErrorsAreDiagnosticsAndChangeNothing() throws {
    let engine = try fakeEngine()
    let cache = try KVCache(engine.model, positions: 10)
    let foreign = try KVCache(FakeModel().compiled(), positions: 10)
    let bad: [(String, String, [StepRows])] = [
      ("context", "verify", [StepRows(cache, fakePrompt(1, count: 11))]),
      ("token", "verify", [StepRows(cache, [3, 32])]),
      ("token", "verify", [StepRows(cache, [-1])]),
      ("function", "verfy", [StepRows(cache, [1])]),
      ("step", "verify", []),
      ("step", "verify", [StepRows(cache, [Int32]())]),
      ("step", "verify", [StepRows(cache, [1]), StepRows(cache, [1])]),
      ("step", "verify", [StepRows(foreign, [1])]),
    ]
    for (id, function, rows) in bad {
      XCTAssertThrowsError(try engine.step(function, rows), id) { XCTAssertEqual(identifier($0), id) }
      XCTAssertThrowsError(try engine.prefill(rows, function: function), id) { XCTAssertEqual(identifier($0), id) }
    }
    XCTAssertEqual(cache.length, 0)
    XCTAssertThrowsError(try engine.step("verfy", [])) {
      XCTAssertTrue("\($0)".contains("did you mean 'verify'?"), "\($0)")
    }
    XCTAssertThrowsError(try cache.commit(11)) { XCTAssertEqual(identifier($0), "context") }
    // The last position can be used, and then none.
    _ = try engine.prefill([StepRows(cache, fakePrompt(1, count: 10))])
    XCTAssertThrowsError(try engine.step("verify", [StepRows(cache, [1])])) {
      XCTAssertEqual(identifier($0), "context")
    }
    for positions in [0, -5, Int.max, Int(Int32.max)] {
      XCTAssertThrowsError(try KVCache(engine.model, positions: positions)) {
        XCTAssertEqual(identifier($0), "context")
      }
    }
  }

  func testResultsExpireAndAreChecked() throws {
    let engine = try fakeEngine()
    let cache = try KVCache(engine.model, positions: 10)
    let first = try engine.step("verify", [StepRows(cache, [1, 2])])
    XCTAssertThrowsError(try first.logits(sequence: 0, row: 2)) { XCTAssertEqual(identifier($0), "port") }
    XCTAssertThrowsError(try first.logits(sequence: 1, row: 0)) { XCTAssertEqual(identifier($0), "port") }
    XCTAssertThrowsError(try first.floats("logit", sequence: 0, row: 0)) { XCTAssertEqual(identifier($0), "port") }
    let second = try engine.step("draft", [StepRows(cache, [1, 2])])
    XCTAssertThrowsError(try first.logits(sequence: 0, row: 0)) { XCTAssertEqual(identifier($0), "port") }
    XCTAssertThrowsError(try second.logits(sequence: 0, row: 0)) { XCTAssertEqual(identifier($0), "port") }
    XCTAssertEqual(try second.logits(sequence: 0, row: 1).count, 32)
  }

  func testDamagedProgramsAreRefused() throws {
    typealias Change = (inout Program) -> Void
    func port(_ offset: Int, _ rowBytes: Int, _ count: Int, _ element: Program.Element = .i32) -> Program.Port {
      .init(
        name: "ids", role: "plain",
        place: .arena(offset: offset, rowBytes: rowBytes, count: count, element: element, perSequence: false))
    }
    let changes: [(String, Change)] = [
      ("rows", { $0.functions[0].maxRows = 0 }),
      ("too many rows", { $0.functions[0].maxRows = Int.max }),
      ("arena", { $0.arenaBytes = 100 }),
      ("negative size", { $0.scratchBytesPerThread = -1 }),
      ("no ids", { $0.functions[1].arguments.removeFirst() }),
      ("offset", { $0.functions[1].arguments[0] = port(-64, 64, 1) }),
      ("far offset", { $0.functions[1].arguments[0] = port(Int.max - 3, 64, 1) }),
      ("row bytes", { $0.functions[1].arguments[0] = port(0, Int.max / 2, 1) }),
      ("overlap", { $0.functions[1].arguments[0] = port(0, 0, 1) }),
      ("count", { $0.functions[1].arguments[0] = port(0, 64, 2) }),
      ("element", { $0.functions[1].arguments[0] = port(0, 64, 1, .f32) }),
      ("argument", { $0.functions[1].arguments[1].name = "acc" }),
      ("region", { $0.functions[1].results[1].place = .cache(region: 4) }),
      ("heads", { $0.cacheRegions[0].heads = 0 }),
      ("dim", { $0.cacheRegions[0].dim = Int.max - 1 }),
      ("cache element", { $0.cacheRegions[0].element = .i32 }),
      ("weights", { $0.weightBytes = 64 }),
      ("no kernels", { $0.kernelCount = 0 }),
      ("unknown kernel", { $0.functions[2].table[0] = 1 }),
      ("negative kernel", { $0.functions[2].table[0] = -1 }),
      ("flag", { $0.functions[2].table[1] = 2 }),
      ("negative flag", { $0.functions[2].table[1] = -1 }),
      ("negative argument count", { $0.functions[2].table[2] = -1 }),
      ("argument count beyond the table", { $0.functions[2].table[2] = 9 }),
      ("huge argument count", { $0.functions[2].table[2] = .max }),
      ("truncated call", { $0.functions[2].table.removeLast() }),
      ("truncated head", { $0.functions[2].table += [0, 0] }),
      ("broken second call", { $0.functions[2].table += [0, 1, 2, 5] }),
    ]
    for (name, change) in changes {
      var program = FakeModel().program
      change(&program)
      XCTAssertThrowsError(try CompiledModel(program: program, entry: fakeEntry, weights: nil), name) {
        XCTAssertTrue(["program", "memory"].contains(identifier($0)), "\(name): \($0)")
      }
    }
  }

  /// Emitted code looks tokens up unchecked: none may lie behind the smallest table, however many logits there are.
  func testTokensBehindATableAreRefused() throws {
    var program = FakeModel().program
    for index in program.functions.indices { program.functions[index].tokenLimit = 20 }
    let model = try CompiledModel(program: program, entry: fakeEntry, weights: nil)
    let engine = try Engine(model: model, team: ThreadTeam(threads: 1))
    let cache = try KVCache(model, positions: 10)
    for token in [Int32(20), 21, 31, .max, -1, .min] {
      for function in ["prefill", "draft", "verify"] {
        XCTAssertThrowsError(try engine.step(function, [StepRows(cache, [3, token])]), "\(token)") {
          XCTAssertEqual(identifier($0), "token")
          XCTAssertTrue("\($0)".contains("token \(token) is not in the vocabulary of 20 tokens"), "\($0)")
        }
      }
      XCTAssertThrowsError(try engine.prefill([StepRows(cache, [token])])) { XCTAssertEqual(identifier($0), "token") }
    }
    _ = try engine.step("verify", [StepRows(cache, [0, 19])])
  }

  func testRowsAreDealtWithoutCuttingSequences() {
    typealias Piece = Engine.Piece
    XCTAssertEqual(
      Engine.split([3, 5, 1], maxRows: 8),
      [[Piece(sequence: 0, rows: 0..<3), Piece(sequence: 1, rows: 0..<5)], [Piece(sequence: 2, rows: 0..<1)]])
    XCTAssertEqual(
      Engine.split([3, 6], maxRows: 8), [[Piece(sequence: 0, rows: 0..<3)], [Piece(sequence: 1, rows: 0..<6)]])
    XCTAssertEqual(
      Engine.split([1, 9, 2], maxRows: 4),
      [
        [Piece(sequence: 0, rows: 0..<1), Piece(sequence: 1, rows: 0..<3)], [Piece(sequence: 1, rows: 3..<7)],
        [Piece(sequence: 1, rows: 7..<9), Piece(sequence: 2, rows: 0..<2)],
      ])
  }

  func testTrafficCountsThePositionsOfEveryStep() throws {
    let engine = try fakeEngine()
    let bytes = engine.model.program.cacheBytesPerPosition
    let a = try KVCache(engine.model, positions: 40)
    let b = try KVCache(engine.model, positions: 40)
    _ = try engine.prefill([StepRows(a, fakePrompt(1, count: 7))])
    XCTAssertEqual(engine.traffic.bytesRead, 7 * bytes)
    let before = engine.traffic
    _ = try engine.step("verify", [StepRows(a, [1, 2, 3]), StepRows(b, [4])])
    XCTAssertEqual((engine.traffic - before).bytesRead, (10 + 1) * bytes)
    XCTAssertEqual((engine.traffic - before).denseBytes, (10 + 1) * bytes)
  }
}
