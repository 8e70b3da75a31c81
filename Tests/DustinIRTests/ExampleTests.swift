import DustinSupport
import XCTest

@testable import DustinIR

/// Every op's `example` line reads, verifies and prints as it is written.
final class ExampleTests: XCTestCase {
  /// What the examples' operands are; the ops that want another `%x` have their own.
  private static let types: [String: String] = [
    "x": "f32[T, 64]", "a": "f32[T, 64]", "b": "f32[T, 64]", "ids": "i32[T]", "pos": "i32[T]", "q": "f32[T, 4, 16]",
    "k": "f32[T, 2, 16]", "v": "f32[T, 2, 16]", "kc": "f32[L, 2, 16] {role = cache}",
    "vc": "f32[L, 2, 16] {role = cache}", "kc1": "f32[L, 2, 16] {role = cache}",
    "vc1": "f32[L, 2, 16] {role = cache}", "s": "f32[L] {role = round}", "i": "i32[S] {role = round}",
  ]
  private static let special: [String: [String: String]] = [
    "rope": ["x": "f32[T, 4, 16]"], "rope_append": ["x": "f32[T, 128]"],
  ]
  private static let globals = """
    weight @table : bf16[256, 64]
    weight @gain : f32[64]
    weight @w : bf16[64, 64]
    weight @b : f32[64]
    constant @freqs : f32[8] = [1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125]
    """

  /// A module whose only operation is the example.
  static func module(around definition: OpDefinition) -> String {
    let sides = definition.example.split(separator: " = ", maxSplits: 1)
    var arguments: [String] = []
    for match in String(sides.last ?? "").matches(of: #/%([a-z0-9]+)/#) where !arguments.contains(String(match.1)) {
      arguments.append(String(match.1))
    }
    let list = arguments.map { name in
      "%\(name): " + (special[definition.name]?[name] ?? types[name] ?? "unknown_type_of_\(name)")
    }
    let stage = Stage.allCases.first { definition.stages.contains($0) } ?? .tensor
    return """
      dustin 1
      stage \(stage.rawValue)

      dim T <= 8
      dim L <= 64
      dim S = min(512, L)

      \(globals)

      func @example(\(list.joined(separator: ", "))) -> () {fidelity = exact} {
        \(definition.example)
        return
      }

      """
  }

  func testEveryOpHasAnExampleThatParses() {
    for definition in OpRegistry.standard.definitions {
      let text = ExampleTests.module(around: definition)
      do {
        let module = try ModuleParser.parseVerified(SourceBuffer(name: "\(definition.name).dust", text: text))
        XCTAssertEqual(module.text(), text, "the example of the op '\(definition.name)'")
        XCTAssertEqual(module.functions.first?.body.first?.text(), definition.example)
        XCTAssertEqual(module.functions.first?.body.first?.name, definition.name)
      } catch {
        XCTFail("the op '\(definition.name)' lacks an example that parses:\n\(error)")
      }
    }
  }

  func testEveryOpIsDocumented() {
    for definition in OpRegistry.standard.definitions {
      XCTAssertTrue(definition.summary.hasSuffix("."), "the summary of '\(definition.name)' is no sentence")
      XCTAssertFalse(definition.meaning.isEmpty, "the op '\(definition.name)' has no meaning")
      XCTAssertFalse(definition.stages.isEmpty, "the op '\(definition.name)' stands in no stage")
      for group in definition.operandGroups {
        XCTAssertFalse(group.summary.isEmpty, "the operands '\(group.label)' of '\(definition.name)' have no summary")
      }
      for attribute in definition.attributes {
        XCTAssertFalse(attribute.summary.isEmpty, "'\(attribute.key)' of '\(definition.name)' has no summary")
      }
    }
  }
}
