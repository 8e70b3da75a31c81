import DustinIR
import DustinInterpreter
import DustinPasses
import DustinSupport
import XCTest

/// Whole rounds of a target and a draft: values go from function to function, and from model to model, by name.
final class RoundTests: XCTestCase {
  private static func sparsity(_ change: (inout RandomModule.Sparsity) -> Void) -> RandomModule.Sparsity {
    var sparsity = RandomModule.Sparsity()
    change(&sparsity)
    return sparsity
  }

  /// A random model as the pipelines leave it before fusion, with the functions of a sparse round.
  private func session(
    _ seed: UInt64, pipeline: String = "target,numerics{mode=fast}", _ sparsity: RandomModule.Sparsity,
    like name: String = "verify", kernels: Bool = false
  ) throws -> (InterpreterSession, RandomModule) {
    var shape = RandomModule.Shape(seed: seed)
    shape.vocab = 97
    let random = try RandomModule(shape, seed: seed)
    try PassManager().run(PassPipeline.parse(pipeline, registry: .standard), on: random.module)
    try RandomModule.addSparseFunctions(to: random.module, sparsity, like: name)
    if kernels { try PassManager().run(PassPipeline.parse("kernels", registry: .standard), on: random.module) }
    return (try InterpreterSession(try random.interpreter()), random)
  }

  private func positions(_ session: InterpreterSession, _ name: String = "set") throws -> [[Int]] {
    SparseHarness.planes(try XCTUnwrap(session.values[name]))
  }

  /// Draft, look, select, verify, accept, commit.
  func testRoundsOfTargetAndDraft() throws {
    let gamma = 4
    let (target, random) = try session(61, Self.sparsity { $0.budget = 40 })
    let (draft, _) = try session(
      62, pipeline: "draft,numerics{mode=fast}", Self.sparsity { $0.pool = 5 }, like: "draft")
    let prompt = random.tokens(60, seed: 1)
    var next = argMax(try target.prefill(function: "prefill", tokens: prompt))
    _ = try draft.prefill(function: "prefill", tokens: prompt)
    var tokens = prompt
    for round in 0..<4 {
      tokens.append(next)
      // γ + 1 steps: the last one gives the bonus token's row.
      var rows = [next]
      for step in 0...gamma {
        let logits = try XCTUnwrap(try draft.step(function: "draft", tokens: [rows[step]]).last)
        try draft.commit(1, joining: step > 0)
        if step < gamma { rows.append(argMax(logits)) }
      }
      XCTAssertEqual(draft.values["rows.0"]?.rows, gamma + 1)
      XCTAssertEqual(draft.length, target.length + gamma + 1)
      // Only what the target has committed is scored.
      let look = try XCTUnwrap(try draft.call(function: "look", length: target.length)["look"])
      XCTAssertEqual(look.shape, [target.length])
      target.setValue("look", look)
      try target.call(function: "select")
      let set = try positions(target)[0]
      XCTAssertEqual(set.count, 40)
      XCTAssertEqual(set.last, target.length - 1)
      XCTAssertEqual(set, set.sorted())
      XCTAssertEqual(Array(set.prefix(4)), [0, 1, 2, 3])

      let logits = try target.step(function: "sparse", tokens: rows)
      let accepted = round % 3
      try target.commit(accepted + 1)
      for (name, values) in target.values where name.hasPrefix("rows.") {
        XCTAssertEqual(values.rows, accepted + 1, name)
      }
      tokens += rows[1..<accepted + 1]
      next = argMax(logits[accepted])
      try draft.truncate(to: target.length)
      XCTAssertEqual(target.length, tokens.count)
    }
  }

  /// A context as long as the budget: the sparse reader gives what the dense one gives, bit for bit.
  func testABudgetOfEverythingIsDense() throws {
    for (seed, sets) in zip(UInt64(63)..., RandomModule.Sparsity.Sets.allCases + RandomModule.Sparsity.Sets.allCases) {
      let sparsity = Self.sparsity {
        $0.sets = sets
        $0.isPerHead = seed % 2 == 0
        $0.granularity = seed % 3 == 0 ? 16 : 1
        $0.budget = 128
      }
      for kernels in [false, true] {
        let (session, random) = try session(seed, sparsity, kernels: kernels)
        _ = try session.prefill(function: "prefill", tokens: random.tokens(80, seed: 2))
        for (step, accepted) in [(5, 3), (5, 5), (1, 1), (5, 1)].enumerated().map({ ($0.offset, $0.element) }) {
          let tokens = random.tokens(accepted.0, seed: UInt64(step))
          let dense = try session.fork().step(function: "verify", tokens: tokens)
          try session.call(function: "look")
          if sets != .own { try session.call(function: "select") }
          XCTAssertEqual(
            try session.step(function: "sparse", tokens: tokens), dense, "seed \(seed), \(sparsity), step \(step)")
          try session.commit(accepted.1)
        }
      }
    }
  }

  /// A set reads less, and what it does not hold does not count: neither in this round nor in the committed rows.
  func testWhatASetLacksDoesNotCount() throws {
    let (session, random) = try session(64, Self.sparsity { $0.budget = 24 })
    let tokens = random.tokens(80, seed: 3)
    _ = try session.prefill(function: "prefill", tokens: tokens)
    try session.call(function: "look")
    try session.call(function: "select")
    let dense = try session.fork().step(function: "verify", tokens: [1, 2, 3])
    let sparse = try session.step(function: "sparse", tokens: [1, 2, 3])
    XCTAssertGreaterThan(largestDifference(sparse.flatMap { $0 }, dense.flatMap { $0 }), 1e-3)
  }

  /// Rejected rows are neither scored nor selected, and leave nothing behind.
  func testRejectedRowsAreNeverSelected() throws {
    let (session, random) = try session(65, Self.sparsity { $0.budget = 60 })
    _ = try session.prefill(function: "prefill", tokens: random.tokens(50, seed: 4))
    try session.call(function: "look")
    try session.call(function: "select")
    let fork = try session.fork()
    // Five rows in flight, two of them accepted; the fork never sees the others.
    for (one, tokens) in [(session, [1, 2, 3, 4, 5]), (fork, [1, 2])] as [(InterpreterSession, [Int32])] {
      _ = try one.step(function: "sparse", tokens: tokens)
      try one.call(function: "look")
      try one.call(function: "select")
      XCTAssertEqual(try positions(one), [Array(0..<50)], "rows in flight are not committed")
      try one.commit(2)
      try one.call(function: "look")
      try one.call(function: "select")
      XCTAssertEqual(try positions(one), [Array(0..<52)])
    }
    assertClose(
      try XCTUnwrap(session.values["look"]).floats, try XCTUnwrap(fork.values["look"]).doubles, within: 1e-4)
  }

  /// Of role `rows` the accepted ones are kept, of role `row` the last accepted one; what only reads changes neither.
  func testCommitsKeepRows() throws {
    for keepsLastRow in [false, true] {
      let (session, random) = try session(70, Self.sparsity { $0.keepsLastRow = keepsLastRow })
      _ = try session.prefill(function: "prefill", tokens: random.tokens(30, seed: 8))
      let made = try session.call(function: "verify", tokens: random.tokens(5, seed: 9))
      try session.call(function: "look")
      try session.commit(3)
      let rows = try XCTUnwrap(made["rows.0"])
      XCTAssertEqual(rows.rows, 5)
      XCTAssertEqual(session.values["rows.0"], try rows.rows(keepsLastRow ? 2..<3 : 0..<3))
      // Nothing is accepted: what is kept stays.
      _ = try session.step(function: "verify", tokens: [1, 2])
      try session.commit(0)
      XCTAssertEqual(session.values["rows.0"], try rows.rows(keepsLastRow ? 2..<3 : 0..<3))
    }
  }

  func testTruncationCutsSignalsAndSets() throws {
    let sparsity = Self.sparsity {
      $0.budget = 40
      $0.isPerHead = true
    }
    let (session, random) = try session(66, sparsity)
    _ = try session.prefill(function: "prefill", tokens: random.tokens(60, seed: 5))
    try session.call(function: "look")
    try session.call(function: "select")
    let fork = try session.fork()
    let before = try positions(session)
    try session.truncate(to: 30)
    XCTAssertEqual(try positions(session), before.map { $0.filter { $0 < 30 } })
    XCTAssertEqual(session.values["look"]?.shape.last, 30)
    XCTAssertEqual(try positions(fork), before)
    // An older set still serves: what came behind it is read.
    _ = try session.step(function: "sparse", tokens: [1, 2, 3])
    try session.commit(3)
    _ = try session.step(function: "sparse", tokens: [4])
  }

  /// The prompt has one token.
  func testAContextOfOneToken() throws {
    for sets in RandomModule.Sparsity.Sets.allCases {
      let (session, _) = try session(67, Self.sparsity { $0.sets = sets })
      _ = try session.prefill(function: "prefill", tokens: [5])
      try session.call(function: "look")
      if sets != .own { try session.call(function: "select") }
      let dense = try session.fork().step(function: "verify", tokens: [6, 7])
      XCTAssertEqual(try session.step(function: "sparse", tokens: [6, 7]), dense)
    }
  }

  /// The recovery of the sets of a model's own attention against the best sets, and against larger ones.
  func testRecoveryOfAModel() throws {
    var last = 0.0
    for budget in [24, 32, 48, 64, 96] {
      let (session, random) = try session(
        68, pipeline: "target,numerics{mode=f32}", Self.sparsity { $0.budget = budget })
      _ = try session.prefill(function: "prefill", tokens: random.tokens(80, seed: 6))
      try session.call(function: "look")
      try session.call(function: "select")
      // The mass of the last layer's rows that look ahead.
      let mass = try XCTUnwrap(session.values["look"]).doubles
      let set = try positions(session)[0]
      let recovered = set.reduce(0) { $0 + mass[$1] }
      let best = mass.sorted(by: >).prefix(set.count).reduce(0, +)
      XCTAssertLessThanOrEqual(recovered, best + 1e-9)
      XCTAssertLessThanOrEqual(best, 1 + 1e-5)
      XCTAssertGreaterThanOrEqual(recovered, last)
      last = recovered
    }
    XCTAssertEqual(last, 1, accuracy: 1e-5)
  }

  func testErrorsNameTheThing() throws {
    let (session, random) = try session(69, Self.sparsity { _ in })
    assertDiagnostic("a session cannot give '%rows.0' of '@select' a value") { try session.call(function: "select") }
    _ = try session.prefill(function: "prefill", tokens: random.tokens(30, seed: 7))
    assertDiagnostic("a session cannot give '%look' of '@select' a value") { try session.call(function: "select") }
    assertDiagnostic("'@look' cannot see 31 positions: 30 are committed") {
      try session.call(function: "look", length: 31)
    }
    assertDiagnostic("cannot work behind speculated rows") {
      try session.call(function: "verify", tokens: [1], length: 20)
    }
    try session.call(function: "look", length: 20)
    assertDiagnostic("has L = ") { try session.call(function: "select") }
    try session.call(function: "look")
    try session.call(function: "select")
    session.setValue("set", try Tensor([1], ints: [30]))
    assertDiagnostic("the set holds position 30, but only 30 are committed") {
      try session.step(function: "sparse", tokens: [1])
    }
    session.setValue("set", nil)
    assertDiagnostic("a session cannot give '%set' of '@sparse' a value") {
      try session.step(function: "sparse", tokens: [1])
    }
  }

  private func argMax(_ logits: [Float]) -> Int32 {
    Int32(logits.indices.max { (logits[$0], $1) < (logits[$1], $0) } ?? 0)
  }
}
