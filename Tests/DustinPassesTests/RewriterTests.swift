import DustinIR
import DustinSupport
import XCTest

/// Foundation, which XCTest brings along, has an Operation too.
private typealias Operation = DustinIR.Operation

/// `silu %x` → `silu (silu %x)`, for ever.
private struct Grow: RewritePattern {
  let name = "grow"
  let roots = ["silu"]

  func apply(at root: Operation, _ rewriter: Rewriter) throws -> Bool {
    let inner = Operation(.silu, root.groups, results: [("inner", root.result.type)])
    rewriter.insert(inner, before: root)
    rewriter.update(root) { root[group: ""] = [inner.result] }
    return true
  }
}

/// `silu (silu %x)` → `silu %x`.
private struct Shrink: RewritePattern {
  let name = "shrink"
  let roots = ["silu"]

  func apply(at root: Operation, _ rewriter: Rewriter) throws -> Bool {
    guard let inner = root.operands[0].definingOperation, inner.name == "silu" else { return false }
    rewriter.replace(root, withValues: [inner.result])
    return true
  }
}

final class RewriterTests: XCTestCase {
  private func chain(_ length: Int) throws -> Function {
    let module = try readModule(
      "dustin 1\nstage tensor\n\ndim T <= 8\n\nfunc @f(%x: f32[T, 64]) -> (f32[T, 64]) {\n"
        + (0..<length).map { "  %y\($0) = silu \($0 == 0 ? "%x" : "%y\($0 - 1)") : f32[T, 64]\n" }.joined()
        + "  return %y\(length - 1)\n}\n")
    return module.functions[0]
  }
  private let context = PassContext(passName: "test")

  func testKnowsUsersAndOrder() throws {
    let function = try chain(3)
    let (a, b, c) = (function.body[0], function.body[1], function.body[2])
    context.rewrite(function) { rewriter in
      XCTAssertEqual(rewriter.users(of: a.result), [b])
      XCTAssertTrue(rewriter.onlyUser(of: a.result) === b)
      XCTAssertNil(rewriter.onlyUser(of: c.result))
      XCTAssertTrue(rewriter.isReturned(c.result))
      XCTAssertEqual(rewriter.useCount(of: c.result), 1)
      XCTAssertTrue(rewriter.isBefore(a, c))
      XCTAssertFalse(rewriter.isAvailable(b.result, at: b))
      XCTAssertTrue(rewriter.isAvailable(function.arguments[0], at: a))
      rewriter.update(c) { c[group: ""] = [a.result] }
      XCTAssertEqual(rewriter.users(of: a.result), [b, c])
      XCTAssertNil(rewriter.onlyUser(of: a.result))
      XCTAssertTrue(rewriter.isDead(b))
      rewriter.erase(b)
      XCTAssertFalse(rewriter.contains(b))
    }
    XCTAssertEqual(function.body, [a, c])
    XCTAssertTrue(context.isChanged)
  }

  func testUntouchedFunctionIsNotAChange() throws {
    let function = try chain(3)
    let body = function.body
    context.rewrite(function) { _ = $0.operations }
    XCTAssertEqual(function.body, body)
    XCTAssertFalse(context.isChanged)
  }

  /// More operations between two neighbours than halvings of the gap between their numbers.
  func testOrderSurvivesManyInsertionsAtOnePlace() throws {
    let function = try chain(2)
    let (first, last) = (function.body[0], function.body[1])
    var inserted: [Operation] = []
    context.rewrite(function) { rewriter in
      for index in 0..<200 {
        let new = Operation(
          .silu, [OperandGroup("", [first.result])], results: [("n\(index)", first.result.type)])
        rewriter.insert(new, after: first)
        inserted.insert(new, at: 0)
      }
      XCTAssertTrue(zip(inserted, inserted.dropFirst()).allSatisfy { rewriter.isBefore($0, $1) })
      XCTAssertTrue(rewriter.isBefore(first, inserted[0]))
      XCTAssertTrue(rewriter.isBefore(inserted[199], last))
      XCTAssertEqual(rewriter.users(of: first.result), inserted + [last])
    }
    XCTAssertEqual(function.body, [first] + inserted + [last])
  }

  func testReplaceTakesOverUsesNamesAndReturns() throws {
    let function = try chain(2)
    let (a, b) = (function.body[0], function.body[1])
    context.rewrite(function) { rewriter in
      rewriter.replace(b, with: Operation(.silu, [OperandGroup("", [a.result])], results: [("new", b.result.type)]))
      rewriter.insertAtStart(
        Operation(.silu, [OperandGroup("", function.arguments)], results: [("top", b.result.type)]))
    }
    XCTAssertEqual(function.body.map(\.result.name), ["top", "y0", "y1"])
    XCTAssertTrue(function.returns[0] === function.body[2].result)
  }

  func testEraseIfDeadTakesTheFeedersToo() throws {
    let function = try chain(5)
    context.rewrite(function) { rewriter in
      rewriter.setReturn(0, function.arguments[0])
      rewriter.eraseIfDead(function.body[4])
    }
    XCTAssertTrue(function.body.isEmpty)
  }

  func testPatternsRunUntilNoneFits() throws {
    let function = try chain(50)
    try context.rewrite(function) { try $0.apply([Shrink()]) }
    XCTAssertEqual(function.body.count, 1)
    XCTAssertEqual(context.statistics.map { "\($0.name) \($0.value)" }, ["shrink 49"])
  }

  func testEndlessRewritingIsAnError() throws {
    let function = try chain(3)
    let found = diagnostics { try context.rewrite(function) { try $0.apply([Grow()]) } }
    XCTAssertEqual(found.map(\.message), ["test did not come to an end in @f; the last pattern was 'grow'"])
  }

  func testCloneSharesNothingButGlobals() throws {
    let function = try chain(3)
    let copy = function.clone(as: "g")
    XCTAssertEqual(copy.text(), function.text().replacingOccurrences(of: "@f", with: "@g"))
    XCTAssertTrue(Set(copy.body).isDisjoint(with: function.body))
    XCTAssertTrue(copy.body[0].operands[0] === copy.arguments[0])
    XCTAssertTrue(copy.returns[0] === copy.body[2].result)
  }
}
