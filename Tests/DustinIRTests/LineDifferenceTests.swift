import DustinSupport
import XCTest

@testable import DustinIR

final class LineDifferenceTests: XCTestCase {
  private let old = """
    dustin 1
    stage tensor

    dim T <= 8

    weight @w : bf16[64, 64]

    func @f(%x: f32[T, 64]) -> (f32[T, 64]) {fidelity = exact} {
      %a = silu %x : f32[T, 64]
      %b = silu %a : f32[T, 64]
      %c = silu %b : f32[T, 64]
      %d = silu %c : f32[T, 64]
      %e = linear %d, weight(@w) : f32[T, 64]
      return %e
    }

    func @g() -> () {fidelity = exact} {
      return
    }

    """

  func testOneOperationChanged() {
    let new = old.replacingOccurrences(of: "linear %d, weight(@w)", with: "linear %d, weight(@w) {at = [0]}")
    XCTAssertEqual(
      LineDifference(from: old, to: new).unified(from: "old", to: "new"),
      """
      --- old
      +++ new
      @@ -10,7 +10,7 @@ func @f
         %b = silu %a : f32[T, 64]
         %c = silu %b : f32[T, 64]
         %d = silu %c : f32[T, 64]
      -  %e = linear %d, weight(@w) : f32[T, 64]
      +  %e = linear %d, weight(@w) {at = [0]} : f32[T, 64]
         return %e
       }
      \(" ")

      """)
  }

  func testCountsOperationsOnly() {
    func counts(_ replacements: (String, String)...) -> [Int] {
      let new = replacements.reduce(old) { $0.replacingOccurrences(of: $1.0, with: $1.1) }
      let (changed, added, removed) = LineDifference(from: old, to: new).operationCounts
      return [changed, added, removed]
    }
    XCTAssertEqual(counts(), [0, 0, 0])
    XCTAssertEqual(
      counts(("stage tensor", "stage kernel"), ("T <= 8", "T <= 9"), ("return %e", "return %d")), [0, 0, 0])
    XCTAssertEqual(counts(("silu %a", "silu %x")), [1, 0, 0])
    XCTAssertEqual(counts(("%b = silu %a : f32[T, 64]\n  ", "")), [0, 0, 1])
    XCTAssertEqual(counts(("%e = linear", "%n = silu %d : f32[T, 64]\n  %e = linear")), [0, 1, 0])
    // Another name is another operation.
    XCTAssertEqual(counts(("%e", "%y")), [0, 1, 1])
  }

  func testNothingChanged() {
    let difference = LineDifference(from: old, to: old)
    XCTAssertTrue(difference.isEmpty)
    XCTAssertEqual(difference.unified(from: "a", to: "b"), "")
    XCTAssertTrue(LineDifference(from: "", to: "").isEmpty)
  }

  /// Texts of any lines: what the edits and the printed diff say makes the new text of the old one.
  func testDiffsApply() throws {
    var random = SplitMix(seed: 7)
    var lines = ["}", "", "  return", "func @f() {", "func @g() {", "dim T <= 1", "dim T <= 2", "weight @w : f32[1]"]
    for index in 0..<12 { lines += ["  %\(index) = a", "  %\(index) = b"] }
    for round in 0..<400 {
      func text() -> String {
        (0..<Int.random(in: 0...30, using: &random)).map { _ in lines.randomElement(using: &random)! + "\n" }.joined()
      }
      let (old, new) = (text(), text())
      let difference = LineDifference(from: old, to: new)
      XCTAssertEqual(old == new, difference.isEmpty, "round \(round)")
      let diff = difference.unified(from: "a", to: "b")
      XCTAssertEqual(try UnifiedDiff.apply(diff, to: old), new, "round \(round):\n\(old)\n\(diff)")
    }
  }
}

/// What `patch` does.
enum UnifiedDiff {
  struct Broken: Error { let line: String }

  static func apply(_ diff: String, to old: String) throws -> String {
    var source = old.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)[...]
    var result: [String] = []
    var (left, right) = (0, 0)
    for line in diff.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
      if left == 0, right == 0 {
        if line.hasPrefix("--- ") || line.hasPrefix("+++ ") { continue }
        let match = try #/@@ -(\d+),(\d+) \+(\d+),(\d+) @@.*/#.wholeMatch(in: line)
        guard let match, let start = Int(match.1), let place = Int(match.3) else { throw Broken(line: String(line)) }
        (left, right) = (Int(match.2) ?? 0, Int(match.4) ?? 0)
        let skipped = (left == 0 ? start : start - 1) - source.startIndex
        guard skipped >= 0, skipped <= source.count else { throw Broken(line: String(line)) }
        result += source.prefix(skipped)
        source = source.dropFirst(skipped)
        guard result.count == (right == 0 ? place : place - 1) else { throw Broken(line: String(line)) }
        continue
      }
      let text = String(line.dropFirst())
      if line.first != "+" {
        guard source.first == text else { throw Broken(line: String(line)) }
        source = source.dropFirst()
        left -= 1
      }
      if line.first != "-" {
        result.append(text)
        right -= 1
      }
    }
    return (result + source).map { $0 + "\n" }.joined()
  }
}
