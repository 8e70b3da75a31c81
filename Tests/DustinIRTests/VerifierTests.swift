import DustinIR
import DustinSupport
import XCTest

private typealias Operation = DustinIR.Operation

/// Modules that no text can give: what passes and front ends may build wrongly.
enum BuiltModules {
  static let rows = TensorType(.f32, [.named("T"), .fixed(64)])

  /// A module with one function of one argument.
  static func base() -> (module: Module, function: Function, x: Value) {
    let module = Module()
    module.dims = [DimDeclaration("T", .bounded(8))]
    let function = Function("f")
    let x = function.addArgument("x", rows)
    module.functions = [function]
    return (module, function, x)
  }

  fileprivate static func silu(_ operand: Value) -> Operation {
    Operation(.silu, [OperandGroup("", [operand])], results: [("y", rows)])
  }

  /// The ids that each must give, and the module.
  static var all: [(id: String, make: () -> Module)] {
    [
      (
        "role-count",
        {
          let (module, f, _) = base()
          f.argumentRoles = []
          return module
        }
      ),
      (
        "role-count",
        {
          let (module, f, x) = base()
          f.returns = [x]
          return module
        }
      ),
      (
        "foreign-value",
        {
          let (module, f, _) = base()
          let g = Function("g")
          f.append(silu(g.addArgument("y", rows)))
          module.functions.append(g)
          return module
        }
      ),
      (
        "foreign-value",
        {
          let (module, f, _) = base()
          let global = Global("w", rows, .weight)
          f.append(silu(global.value))
          return module
        }
      ),
      (
        "foreign-value",
        {
          let (module, f, x) = base()
          f.append(silu(silu(x).result))
          return module
        }
      ),
      (
        "use-before-definition",
        {
          let (module, f, x) = base()
          let first = silu(x)
          f.setBody([silu(first.result), first])
          return module
        }
      ),
      (
        "duplicate-operation",
        {
          let (module, f, x) = base()
          let operation = silu(x)
          f.setBody([operation, operation])
          return module
        }
      ),
      (
        "unknown-group",
        {
          let (module, f, x) = base()
          f.append(Operation(.silu, [OperandGroup("", [x]), OperandGroup("b", [x])], results: [("y", rows)]))
          return module
        }
      ),
      (
        "duplicate-group",
        {
          let (module, f, x) = base()
          f.append(Operation(.silu, [OperandGroup("", [x]), OperandGroup("", [x])], results: [("y", rows)]))
          return module
        }
      ),
      (
        "unknown-attribute",
        {
          let (module, f, x) = base()
          let attributes = AttributeList([("at", .array([]))])
          f.append(Operation(.silu, [OperandGroup("", [x])], attributes, results: [("y", rows)]))
          return module
        }
      ),
      (
        "result-count",
        {
          let (module, f, x) = base()
          f.append(Operation(.silu, [OperandGroup("", [x])], results: []))
          return module
        }
      ),
      (
        "bad-name",
        {
          let (module, _, _) = base()
          module.attributes["a b"] = .int(1)
          return module
        }
      ),
      (
        "module-attribute",
        {
          let (module, _, _) = base()
          module.attributes["refresh"] = .int(0)
          return module
        }
      ),
      (
        "bad-name",
        {
          let (module, _, _) = base()
          module.attributes["a"] = .array([.word("true")])
          return module
        }
      ),
      (
        "bad-name",
        {
          let (module, _, _) = base()
          module.dims.append(DimDeclaration("a b", .bounded(1)))
          return module
        }
      ),
      (
        "duplicate-name",
        {
          let (module, f, _) = base()
          module.functions.append(f)
          return module
        }
      ),
      (
        "duplicate-name",
        {
          let (module, _, _) = base()
          module.dims.append(module.dims[0])
          return module
        }
      ),
      (
        "duplicate-name",
        {
          let (module, _, _) = base()
          let type = TensorType(.f32, [.fixed(4)])
          module.globals = [Global("a", type, .weight), Global("a", type, .constant([1, 2, 3, 4]))]
          return module
        }
      ),
      (
        "dim-bound",
        {
          let (module, _, _) = base()
          module.dims.append(DimDeclaration("S", .bounded(0)))
          return module
        }
      ),
      (
        "unknown-dim",
        {
          let (module, _, _) = base()
          module.dims = []
          return module
        }
      ),
      (
        "unknown-dim",
        {
          let (module, _, _) = base()
          module.dims.append(DimDeclaration("S", .minimum(4, of: "X")))
          return module
        }
      ),
      (
        "dim-cycle",
        {
          let (module, _, _) = base()
          module.dims.append(DimDeclaration("S", .minimum(4, of: "S")))
          return module
        }
      ),
      (
        "extent",
        {
          let (module, f, _) = base()
          f.addArgument("z", TensorType(.f32, [.fixed(0)]))
          return module
        }
      ),
      (
        "type-size",
        {
          let (module, f, _) = base()
          f.addArgument("z", TensorType(.f32, [.fixed(1 << 31), .fixed(1 << 31), .fixed(1 << 31)]))
          return module
        }
      ),
      (
        "constant-count",
        {
          let (module, _, _) = base()
          module.globals = [Global("a", TensorType(.f32, [.fixed(4)]), .constant([1]))]
          return module
        }
      ),
      (
        "global-type",
        {
          let (module, _, _) = base()
          module.globals = [Global("a", rows, .weight)]
          return module
        }
      ),
    ]
  }
}

final class VerifierTests: XCTestCase {
  func testBuiltModules() {
    for (index, (id, make)) in BuiltModules.all.enumerated() {
      let module = make()
      let ids = Verifier.diagnostics(for: module).map(\.id)
      XCTAssertEqual(Set(ids), [id], "module \(index)")
      XCTAssertThrowsError(try Verifier.check(module))
      // Printing a broken module must work: dumps show it.
      XCTAssertFalse(module.text().isEmpty)
    }
  }

  func testErrorWithoutPlaceShowsTheFunction() {
    let (module, function, x) = BuiltModules.base()
    function.append(Operation(.silu, [OperandGroup("", [x])], results: [("y", TensorType(.f32, [.fixed(1)]))]))
    function.append(Operation(.silu, [OperandGroup("", [x])], results: [("y", TensorType(.f32, [.fixed(2)]))]))
    let diagnostics = Verifier.diagnostics(for: module)
    XCTAssertEqual(
      diagnostics.map { $0.rendered() },
      [
        """
        error: silu: '%y' is f32[T, 64], not f32[1]
        note: here:
        func @f(%x: f32[T, 64]) -> () {fidelity = exact} {
          %y = silu %x : f32[1]
          ^~~~~~~~~~~~~~~~~~~~~
          %y_1 = silu %x : f32[2]
          return
        }
        """,
        """
        error: silu: '%y' is f32[T, 64], not f32[2]
        note: here in '@f':
          %y_1 = silu %x : f32[2]
          ^~~~~~~~~~~~~~~~~~~~~~~
        """,
      ])
  }

  func testGoodModulesPass() throws {
    for text in [Texts.tensor, Texts.kernel, Texts.planned, Texts.sparse] {
      let module = try ModuleParser.parseVerified(SourceBuffer(name: "good.dust", text: text))
      XCTAssertEqual(Verifier.diagnostics(for: module).map { $0.rendered() }, [])
    }
  }

  func testBoundsOfDims() {
    let module = Module()
    module.dims = [
      DimDeclaration("L", .bounded(100)), DimDeclaration("S", .minimum(512, of: "L")),
      DimDeclaration("R", .minimum(16, of: "S")), DimDeclaration("A", .minimum(1, of: "B")),
      DimDeclaration("B", .minimum(1, of: "A")),
    ]
    XCTAssertEqual(module.bound(of: .named("S")), 100)
    XCTAssertEqual(module.bound(of: .named("R")), 16)
    XCTAssertEqual(module.bound(of: .fixed(7)), 7)
    XCTAssertNil(module.bound(of: .named("A")))
    XCTAssertNil(module.bound(of: .named("X")))
  }

  func testLongChainOfDims() throws {
    let chain = (1...2000).map { "dim D\($0) = min(5, D\($0 - 1))" }.joined(separator: "\n")
    let text = "dustin 1\nstage tensor\ndim D0 <= 3\n\(chain)\n"
    let module = try ModuleParser.parseVerified(SourceBuffer(name: "chain.dust", text: text))
    XCTAssertEqual(module.bound(of: .named("D2000")), 3)
  }

  func testSizesOfTheArenaNeverOverflow() {
    let huge = TensorType(.f32, [.fixed(1), .fixed(1 << 31), .fixed(1 << 17)])
    XCTAssertEqual(Arena.byteCount(huge, maxRows: 1 << 31), Arena.largestByteCount)
    let function = Function("f")
    for _ in 0..<300 { function.addArgument("x", huge) }
    XCTAssertEqual(Arena.argumentOffsets(of: function, maxRows: 1 << 31).end, Arena.largestByteCount)
  }
}
