import DustinIR
import DustinInterpreter
import XCTest

final class SessionTests: XCTestCase {
  /// Logits of f32 modules agree within this: BLAS sums in another order for another number of rows.
  private let bound = 1e-4

  private func assertEqual(
    _ a: [[Float]], _ b: [[Float]], _ message: String = "", file: StaticString = #filePath, line: UInt = #line
  ) {
    let expected = b.flatMap { $0 }.map(Double.init)
    assertClose(a.flatMap { $0 }, expected, within: bound, message, file: file, line: line)
  }

  func testTilesChunksAndStepsGiveTheSameLogits() throws {
    for seed in UInt64(1)...8 {
      let random = try RandomModule(seed: seed)
      let interpreter = try random.interpreter()
      let tokens = random.tokens(40, seed: seed)
      let what = "seed \(seed): \(random.shape)"

      let whole = try InterpreterSession(interpreter)
      let rows =
        try whole.step(function: "forward", tokens: Array(tokens[..<32]))
        + {
          try whole.commit(32)
          return try whole.step(function: "forward", tokens: Array(tokens[32...]))
        }()
      try whole.commit(8)
      XCTAssertEqual(rows.count, 40)
      XCTAssertTrue(rows.allSatisfy { $0.count == random.shape.vocab && $0.allSatisfy(\.isFinite) }, what)

      // Tiles of the bound (32), then ragged steps, then token by token.
      let tiled = try InterpreterSession(interpreter)
      assertEqual([try tiled.prefill(function: "forward", tokens: tokens)], [rows[39]], what)
      XCTAssertEqual(tiled.length, 40)
      let ragged = try InterpreterSession(interpreter)
      var start = 0
      for count in [1, 2, 5, 17, 15] {
        let logits = try ragged.step(function: "forward", tokens: Array(tokens[start..<start + count]))
        assertEqual(logits, Array(rows[start..<start + count]), what)
        try ragged.commit(count)
        start += count
      }
      for (a, b) in zip(try ragged.cacheContents(), try whole.cacheContents()) {
        XCTAssertEqual(a.shape, [40, random.shape.kvHeads, random.shape.headDim])
        assertClose(a.floats, b.doubles, within: bound, what)
      }
    }
  }

  func testEveryTokenCounts() throws {
    let random = try RandomModule(seed: 9)
    let session = try InterpreterSession(try random.interpreter())
    let tokens = random.tokens(12, seed: 1)
    let plain = try session.prefill(function: "forward", tokens: tokens)
    for index in tokens.indices {
      var changed = tokens
      changed[index] = (changed[index] + 1) % Int32(random.shape.vocab)
      try session.truncate(to: 0)
      XCTAssertNotEqual(try session.prefill(function: "forward", tokens: changed), plain, "token \(index)")
    }
  }

  func testRejectedRowsLeaveNoTrace() throws {
    let random = try RandomModule(seed: 10)
    let interpreter = try random.interpreter()
    let tokens = random.tokens(20, seed: 2)
    let session = try InterpreterSession(interpreter)
    _ = try session.prefill(function: "forward", tokens: Array(tokens[..<11]))
    let expected = try session.step(function: "forward", tokens: Array(tokens[11..<14]))

    // A step of which nothing is committed, one of which one row is, then back.
    _ = try session.step(function: "forward", tokens: random.tokens(7, seed: 3))
    XCTAssertEqual(try session.step(function: "forward", tokens: Array(tokens[11..<14])), expected)
    try session.commit(1)
    _ = try session.step(function: "forward", tokens: random.tokens(5, seed: 4))
    try session.commit(5)
    XCTAssertEqual(session.length, 17)
    try session.truncate(to: 11)
    XCTAssertEqual(try session.step(function: "forward", tokens: Array(tokens[11..<14])), expected)
    XCTAssertEqual(session.length, 11)
  }

  func testForksAreIndependent() throws {
    let random = try RandomModule(seed: 11)
    let session = try InterpreterSession(try random.interpreter())
    let tokens = random.tokens(10, seed: 5)
    _ = try session.prefill(function: "forward", tokens: tokens)
    let expected = try session.step(function: "forward", tokens: [1, 2])
    let fork = try session.fork()
    _ = try fork.prefill(function: "forward", tokens: [3, 4, 5])
    XCTAssertEqual([session.length, fork.length], [10, 13])
    XCTAssertEqual(try session.step(function: "forward", tokens: [1, 2]), expected)
    try fork.truncate(to: 10)
    XCTAssertEqual(try fork.step(function: "forward", tokens: [1, 2]), expected)
  }

  func testErrorsNameTheThing() throws {
    let random = try RandomModule(seed: 12)
    let session = try InterpreterSession(try random.interpreter(), capacity: 10)
    assertDiagnostic("did you mean '@forward'?") { try session.step(function: "foward", tokens: [1]) }
    assertDiagnostic("outside the table's \(random.shape.vocab) rows") {
      try session.step(function: "forward", tokens: [Int32(random.shape.vocab)])
    }
    assertDiagnostic("above its bound 32") { try session.step(function: "forward", tokens: random.tokens(33, seed: 1)) }
    XCTAssertEqual(try session.step(function: "forward", tokens: []), [])
    assertDiagnostic("the cache is full: 0 positions and 11 more exceed its 10") {
      try session.step(function: "forward", tokens: random.tokens(11, seed: 1))
    }
    _ = try session.prefill(function: "forward", tokens: random.tokens(9, seed: 1))
    assertDiagnostic("the cache is full: 9 positions and 2 more exceed its 10") {
      try session.step(function: "forward", tokens: [1, 2])
    }
    _ = try session.step(function: "forward", tokens: [1])
    assertDiagnostic("cannot commit 2 positions") { try session.commit(2) }
    assertDiagnostic("cannot commit -1 positions") { try session.commit(-1) }
    assertDiagnostic("cannot truncate to 10 positions") { try session.truncate(to: 10) }
    assertDiagnostic("cannot truncate to -1 positions") { try session.truncate(to: -1) }
    XCTAssertEqual(session.length, 9)
  }
}
