import DustinCodegen
import DustinIR
import DustinSupport
import XCTest

/// Signals and sets that verify are planned or refused at the op, never with a trap.
final class SignalShapeTests: XCTestCase {
  private static let caches = "%kc: f32[L, 2, 16] {role = cache}, %vc: f32[L, 2, 16] {role = cache}"

  /// What must be said, the arguments before the caches, and the op.
  private static let refused: [(part: String, argument: String, op: String)] = [
    (
      "'%vc' holds values; only keys are scored", "%q: f32[T, 4, 16] {role = rows}",
      "%s = score %q, cache(%vc) {scale = 0.25} : f32[L]"
    ),
    (
      "a signal is made of one row per token (T)", "%a: f32[T, 64]",
      """
      %b = last_row %a {at = [65536]} : f32[1, 64]
      %q = reshape %b {at = [65536]} : f32[1, 4, 16]
      %s = score %q, cache(%kc) {scale = 0.25} : f32[L]
      """
    ),
    (
      "100000 heads of 16 are more than 4096", "%q: f32[T, 100000, 16] {role = rows}",
      "%s = score %q, cache(%kc) {scale = 0.25} : f32[L]"
    ),
  ]

  func testUnsupportedSignalsAreRefused() throws {
    for (part, argument, op) in Self.refused {
      let text = """
        dustin 1
        stage planned
        dim T <= 8
        dim L <= 4096
        func @f(\(argument), \(Self.caches)) -> (f32[L] {role = round}) {fidelity = exact, numerics = f32} {
        \(op)
          return %s
        }
        """
      let module = try ModuleParser.parseVerified(SourceBuffer(name: "refused.dust", text: text))
      XCTAssertThrowsError(try KernelPlan(lowering: module, for: .v3), text) { error in
        XCTAssertTrue("\(error)".contains(part), "\(error)\ndoes not say '\(part)'")
        let range = (error as? DiagnosticError)?.diagnostics.first?.range
        let line = range.map { $0.buffer.position(of: $0.start).line }
        XCTAssertEqual(line, 5 + op.split(separator: "\n").count, "\(error)")
      }
    }
  }

  /// Every number of every module in turn becomes others, here and everywhere.
  func testOtherNumbersAreLoweredWithoutATrap() throws {
    let texts = [
      ScoreTests.Case(heads: 6, kvHeads: 3, dim: 32, chosen: [0, 2, 5], pool: 5, isSplit: true, hasOnto: true).text,
      ScoreTests.Case(heads: 4, kvHeads: 2, dim: 48, bound: 7).text,
      SelectTests.Case(signals: 3, planes: 5, budget: 512, quotas: [101, 103], cover: 0.7).text,
      SelectTests.Case(signals: 0, granularity: 16).text,
    ]
    let numbers =
      ["0", "1", "3", "16", "17", "255", "1024", "65536", "1048576", "2147483648", "72057594037927936"]
      + ["4611686018427387904", "9223372036854775744", "9223372036854775807", "1e-30", "1e30", "T", "L", "S"]
    var (lowered, refused) = (0, 0)
    for text in texts {
      let tokens = Self.tokens(text)
      for (index, old) in tokens.enumerated() where index > 3 && old.first?.isNumber ?? false {
        for number in numbers {
          for everywhere in [false, true] {
            var other = tokens
            for place in everywhere ? Array(tokens.indices.dropFirst(4)) : [index] where tokens[place] == old {
              other[place] = number
            }
            let buffer = SourceBuffer(name: "numbers", text: other.joined())
            guard let module = try? ModuleParser.parseVerified(buffer) else { continue }
            do {
              let plan = try KernelPlan(lowering: module, for: .v3)
              XCTAssertFalse(plan.text().isEmpty)
              lowered += 1
            } catch {
              XCTAssertFalse((error as? DiagnosticError)?.diagnostics.isEmpty ?? true, "\(error)")
              refused += 1
            }
          }
        }
      }
    }
    XCTAssertGreaterThan(lowered, 100)
    XCTAssertGreaterThan(refused, 20)
  }

  /// Runs of letters, digits and dots, and single other characters.
  private static func tokens(_ text: String) -> [String] {
    text.reduce(into: [""]) { tokens, character in
      let isWord = character.isLetter || character.isNumber || character == "." || character == "_"
      let wasWord = tokens[tokens.count - 1].last.map { $0.isLetter || $0.isNumber || $0 == "." || $0 == "_" } ?? true
      if isWord && wasWord { tokens[tokens.count - 1].append(character) } else { tokens.append(String(character)) }
    }
  }
}
