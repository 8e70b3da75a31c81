import DustinIR
import DustinInterpreter
import XCTest

final class RowOpTests: XCTestCase {
  func testEveryOpHasAnInterpreter() {
    for definition in OpRegistry.standard.definitions {
      XCTAssertNotNil(Interpreter.standard[definition.name], "the op '\(definition.name)' has no interpreter")
    }
    for name in Interpreter.standard.keys {
      XCTAssertNotNil(OpRegistry.standard[name], "the interpreter knows '\(name)', which is no op")
    }
  }

  func testEmbedLooksUpRows() throws {
    let table = try Tensor(.bf16, [3, 2], [1, 2, 3, 4, 5, 6])
    let y = try OpHarness.run(.embed, [try Tensor([4], ints: [2, 0, 2, 1])], [("weight", [table])])
    XCTAssertEqual(y, try Tensor([4, 2], [5, 6, 1, 2, 5, 6, 3, 4]))
  }

  func testEmbedRefusesIdsOutsideTheTable() throws {
    let table = try Tensor([3, 2], [1, 2, 3, 4, 5, 6])
    for id in [-1, 3, Int32.max, Int32.min] {
      assertDiagnostic("the token id \(id) is outside the table's 3 rows") {
        try OpHarness.run(.embed, [try Tensor([2], ints: [0, id])], [("weight", [table])])
      }
    }
  }

  func testRmsnormByHand() throws {
    // mean square (9 + 16 + 0 + 0) / 4 = 6.25, so the factor is 1 / 2.5.
    let y = try OpHarness.run(
      .rmsnorm, [try Tensor([1, 4], [3, -4, 0, 0])], [("weight", [try Tensor([4], [1, 2, 3, 4])])], [("eps", .float(0))]
    )
    assertClose(y.floats, [1.2, -3.2, 0, 0], within: 1e-7)
  }

  func testRmsnormAgainstTheFormula() throws {
    var random = SeededGenerator(seed: 1)
    for (rows, n) in [(1, 1), (3, 7), (17, 64), (300, 100)] {
      let x = try randomTensor([rows, n], &random, deviation: 3)
      let gain = try randomTensor(.bf16, [n], &random)
      let expected = Naive.rmsnorm(x.doubles, gain.doubles, eps: 1e-3)
      let y = try OpHarness.run(.rmsnorm, [x], [("weight", [gain])], [("eps", .float(1e-3))])
      assertClose(y.floats, expected, within: 3e-7)
      let rounded = try OpHarness.run(
        .rmsnorm, [x], [("weight", [gain])], [("eps", .float(1e-3))], written: [x.type(.bf16)])
      XCTAssertEqual(rounded.element, .bf16)
      XCTAssertEqual(rounded.floats, y.floats.map(roundedToBF16))
    }
  }

  func testElementwise() throws {
    let a = try Tensor([2, 2], [1, -2, 3.5, 0])
    let b = try Tensor([2, 2], [0.5, 4, -1, 9])
    XCTAssertEqual(try OpHarness.run(.add, [a, b]), try Tensor([2, 2], [1.5, 2, 2.5, 9]))
    XCTAssertEqual(try OpHarness.run(.mul, [a, b]), try Tensor([2, 2], [0.5, -8, -3.5, 0]))
  }

  func testSilu() throws {
    let inputs: [Float] = [0, 1, -1, 20, -20, 88, -88, 1000, -1000]
    let y = try OpHarness.run(.silu, [try Tensor([3, 3], inputs)])
    assertClose(y.floats, inputs.map { Naive.silu(Double($0)) }, within: 1e-6)
    XCTAssertEqual(y.floats[0], 0)
    XCTAssertEqual(y.floats[7], 1000)
    XCTAssertEqual(y.floats[8], 0)
  }

  func testCastRoundsTiesToEven() throws {
    let x = try Tensor([3], [1 + 1 / 256, 1 + 3 / 256, -0.1])
    let y = try OpHarness.run(.cast, [x], written: [x.type(.bf16)])
    XCTAssertEqual(y, try Tensor(.bf16, [3], [1, 1 + 4 / 256, -0.10009765625]))
    XCTAssertEqual(try OpHarness.run(.cast, [y], written: [x.type(.f32)]), try Tensor([3], y.floats))
    let half = try OpHarness.run(.cast, [try Tensor([1], [1 + 3 / 2048])], written: [TensorType(.f16, [.fixed(1)])])
    XCTAssertEqual(half.floats, [1 + 4 / 2048])
  }

  func testReshapeKeepsRowMajorOrder() throws {
    let x = try Tensor([2, 6], (0..<12).map { Float($0) })
    let type = TensorType(.f32, [.fixed(2), .fixed(2), .fixed(3)])
    XCTAssertEqual(try OpHarness.run(.reshape, [x], written: [type]), try Tensor([2, 2, 3], x.floats))
  }

  func testSliceTakesColumns() throws {
    let x = try Tensor(.bf16, [2, 4], [0, 1, 2, 3, 4, 5, 6, 7])
    let y = try OpHarness.run(.slice, [x], [], [("begin", .int(1)), ("count", .int(2))])
    XCTAssertEqual(y, try Tensor(.bf16, [2, 2], [1, 2, 5, 6]))
  }

  func testLastRow() throws {
    XCTAssertEqual(
      try OpHarness.run(.lastRow, [try Tensor([3, 2], [1, 2, 3, 4, 5, 6])]), try Tensor([1, 2], [5, 6]))
    XCTAssertEqual(
      try OpHarness.run(.lastRow, [try Tensor([2, 1], ints: [7, 8])]), try Tensor([1, 1], ints: [8]))
    assertDiagnostic("needs at least one row") { try OpHarness.run(.lastRow, [try Tensor([0, 2], [])]) }
  }
}

extension Tensor {
  /// The tensor's own type with another element.
  func type(_ element: ElementType) -> TensorType { TensorType(element, shape.map { .fixed($0) }) }
}
