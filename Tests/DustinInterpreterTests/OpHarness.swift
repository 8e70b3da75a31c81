import DustinIR
import DustinInterpreter
import DustinSupport
import XCTest

/// Runs one op on given operands: builds a module of one function whose arguments are the operands.
struct OpHarness {
  enum Operand {
    case tensor(Tensor)
    case cache(KVCacheTensor)
  }

  static func module(
    _ definition: OpDefinition, _ groups: [(String, [Operand])], _ attributes: [(String, Attribute)] = [],
    written: [TensorType] = []
  ) throws -> (Module, [Interpreter.Argument]) {
    let module = Module()
    module.stage = .kernel
    module.dims = [DimDeclaration("L", .bounded(1 << 20))]
    let function = Function("f")
    var arguments: [Interpreter.Argument] = []
    let operands = groups.map { label, operands in
      OperandGroup(
        label,
        operands.map { operand in
          let name = "a\(function.arguments.count)"
          switch operand {
          case .tensor(let tensor):
            arguments.append(.tensor(tensor))
            return function.addArgument(name, TensorType(tensor.element, tensor.shape.map { .fixed($0) }))
          case .cache(let cache):
            arguments.append(.cache(cache.current))
            let type = TensorType(cache.element, [.named("L"), .fixed(cache.heads), .fixed(cache.dim)])
            return function.addArgument(name, type, role: .cache)
          }
        })
    }
    let list = AttributeList(attributes)
    let types = try definition.inferTypes(Operation(definition, operands, list, results: []), written)
    let operation = function.append(
      Operation(definition, operands, list, results: types.map { (name: "y", type: $0) }))
    for result in operation.results { function.addReturn(result) }
    module.functions = [function]
    return (module, arguments)
  }

  /// The results that are tensors; caches are written in place.
  static func run(
    _ definition: OpDefinition, _ groups: [(String, [Operand])], _ attributes: [(String, Attribute)] = [],
    written: [TensorType] = []
  ) throws -> [Tensor] {
    let (module, arguments) = try module(definition, groups, attributes, written: written)
    let results = try Interpreter(module: module, weights: DictionaryWeights()).call("f", arguments)
    return results.compactMap { if case .tensor(let tensor) = $0 { tensor } else { nil } }
  }

  static func run(
    _ definition: OpDefinition, _ operands: [Tensor], _ groups: [(String, [Tensor])] = [],
    _ attributes: [(String, Attribute)] = [], written: [TensorType] = []
  ) throws -> Tensor {
    let all = [("", operands)] + groups
    let results = try run(
      definition, all.map { ($0.0, $0.1.map { .tensor($0) }) }, attributes, written: written)
    return try XCTUnwrap(results.first)
  }
}

/// `count` numbers of `element` in the shape, from the generator.
func randomTensor(
  _ element: ElementType, _ shape: [Int], _ random: inout SeededGenerator, deviation: Float = 1
) throws -> Tensor {
  try Tensor(element, shape, random.normals(shape.reduce(1, *), deviation: deviation))
}

func randomTensor(_ shape: [Int], _ random: inout SeededGenerator, deviation: Float = 1) throws -> Tensor {
  try randomTensor(.f32, shape, &random, deviation: deviation)
}

extension Tensor {
  var doubles: [Double] { floats.map(Double.init) }
}

/// The largest difference of two numbers in the same place; infinite when one is missing or not finite, which `max()`
/// does not show: no comparison with a NaN is true.
func largestDifference(_ a: [Float], _ b: [Float]) -> Float {
  guard a.count == b.count, !a.isEmpty, a.allSatisfy(\.isFinite), b.allSatisfy(\.isFinite) else { return .infinity }
  return zip(a, b).reduce(0) { max($0, abs($1.0 - $1.1)) }
}

/// Every number within `bound` of the expected one; `scale` is what the bound is relative to, number by number.
func assertClose(
  _ actual: [Float], _ expected: [Double], within bound: Double, relativeTo scale: [Double]? = nil,
  _ message: @autoclosure () -> String = "", file: StaticString = #filePath, line: UInt = #line
) {
  guard actual.count == expected.count else {
    return XCTFail("\(actual.count) numbers, not \(expected.count) \(message())", file: file, line: line)
  }
  for index in actual.indices {
    let allowed = bound * (scale?[index] ?? max(1, abs(expected[index])))
    let difference = abs(Double(actual[index]) - expected[index])
    if !(difference <= allowed) {
      return XCTFail(
        "number \(index) is \(actual[index]), not \(expected[index]): off by \(difference), allowed \(allowed) \(message())",
        file: file, line: line)
    }
  }
}

/// The error that `body` throws must be a diagnostic that contains `text`.
func assertDiagnostic(
  _ text: String, file: StaticString = #filePath, line: UInt = #line, _ body: () throws -> some Any
) {
  XCTAssertThrowsError(try body(), file: file, line: line) { error in
    XCTAssertTrue(error is DiagnosticError, "\(type(of: error))", file: file, line: line)
    XCTAssertTrue("\(error)".contains(text), "\(error)", file: file, line: line)
  }
}
