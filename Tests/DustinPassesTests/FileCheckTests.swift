import DustinSupport
import DustinTesting
import XCTest

final class FileCheckTests: XCTestCase {
  private func check(_ checks: String, _ output: String) throws {
    let test = SourceBuffer(name: "test.dust", text: checks)
    try FileCheck(test).check(SourceBuffer(name: "<output>", text: output))
  }
  private func passes(_ checks: String, _ output: String, file: StaticString = #filePath, line: UInt = #line) {
    XCTAssertNoThrow(try check(checks, output), file: file, line: line)
  }
  /// The message and the notes.
  private func failure(_ checks: String, _ output: String, file: StaticString = #filePath, line: UInt = #line) -> String
  {
    let found = diagnostics({ try check(checks, output) }, file: file, line: line)
    return found.map { ([$0.message] + $0.notes.map(\.message)).joined(separator: " | ") }.joined(separator: "\n")
  }

  func testPlainLinesInOrder() {
    passes("// CHECK: b\n// CHECK: c", "a\nb\nx\nc\n")
    passes("// CHECK: a\n// CHECK: b", "a b")
    XCTAssertTrue(failure("// CHECK: c\n// CHECK: b", "a\nb\nx\nc\n").hasPrefix("CHECK finds no match"))
    XCTAssertTrue(failure("// CHECK: b\n// CHECK: b", "a\nb\n").hasPrefix("CHECK finds no match"))
  }

  func testBlanksAreEqual() {
    passes("// CHECK: a = b", "\ta   =\tb")
    XCTAssertTrue(failure("// CHECK: a=b", "a = b").hasPrefix("CHECK finds no match"))
  }

  func testNextAndSame() {
    passes("// CHECK: a\n// CHECK-SAME: c\n// CHECK-NEXT: d", "a b c\nd")
    XCTAssertTrue(
      failure("// CHECK: a\n// CHECK-NEXT: c", "a\nb\nc").hasPrefix(
        "CHECK-NEXT does not match line 2 | the line of the output, line 2:\n  b"))
    XCTAssertTrue(
      failure("// CHECK: b\n// CHECK-SAME: a", "a b\na").hasPrefix("CHECK-SAME finds no match in the rest of line 1"))
    XCTAssertTrue(failure("// CHECK: a\n// CHECK-NEXT: b", "a").hasPrefix("CHECK-NEXT does not match line 2"))
    XCTAssertEqual(failure("// CHECK-NEXT: a", "a"), "CHECK-NEXT needs a match above it")
  }

  func testNot() {
    passes("// CHECK: a\n// CHECK-NOT: b\n// CHECK: c", "b\na\nc\nb")
    XCTAssertTrue(
      failure("// CHECK: a\n// CHECK-NOT: b\n// CHECK: c", "a\nb\nc").hasPrefix(
        "CHECK-NOT matches line 2 | the line of the output, line 2:\n  b"))
    XCTAssertTrue(failure("// CHECK-NOT: b\n// CHECK: c", "b\nc").hasPrefix("CHECK-NOT matches line 1"))
    XCTAssertTrue(failure("// CHECK: a\n// CHECK-NOT: b", "a\nx\nb").hasPrefix("CHECK-NOT matches line 3"))
    // In the matched lines themselves, before and behind the matches.
    XCTAssertTrue(failure("// CHECK: a\n// CHECK-NOT: b\n// CHECK: c", "a b\nc").hasPrefix("CHECK-NOT matches line 1"))
    XCTAssertTrue(failure("// CHECK: a\n// CHECK-NOT: b\n// CHECK: c", "a\nb c").hasPrefix("CHECK-NOT matches line 2"))
    passes("// CHECK: a\n// CHECK-NOT: b\n// CHECK: c", "b a\nc b")
    passes("// CHECK-NOT: b", "a")
  }

  func testLabelsDivide() {
    let output = "f\n  x\ng\n  y\n"
    passes("// CHECK-LABEL: f\n// CHECK: x\n// CHECK-LABEL: g\n// CHECK-NEXT: y", output)
    XCTAssertTrue(
      failure("// CHECK-LABEL: f\n// CHECK: y\n// CHECK-LABEL: g", output).hasPrefix("CHECK finds no match"))
    passes("// CHECK-LABEL: f\n// CHECK-NOT: y\n// CHECK-LABEL: g", output)
    XCTAssertTrue(failure("// CHECK-LABEL: g\n// CHECK-LABEL: f", output).hasPrefix("CHECK-LABEL finds no match"))
  }

  func testDAG() {
    passes("// CHECK: s\n// CHECK-DAG: a\n// CHECK-DAG: b\n// CHECK: e", "s\nb\na\ne")
    XCTAssertTrue(failure("// CHECK-DAG: a\n// CHECK-DAG: b\n// CHECK: e", "b\ne\na").hasPrefix("CHECK finds no match"))
    // Two directives do not share a place.
    passes("// CHECK-DAG: x\n// CHECK-DAG: x", "x x")
    XCTAssertTrue(failure("// CHECK-DAG: x\n// CHECK-DAG: x", "x y").hasPrefix("CHECK-DAG finds no match"))
  }

  func testRegexesAndVariables() {
    passes("// CHECK: at = [{{[0-9]+}}]", "{at = [123]}")
    passes("// CHECK: {{[0-9]{2}}}%", "12%")
    passes("// CHECK: %[[A:[a-z]+]] = f\n// CHECK-NEXT: g %[[A]], %[[A]]", "%abc = f\ng %abc, %abc")
    passes("// CHECK: [[X:(a|b)c]] [[Y:d]] [[X]][[Y]]", "bc d bcd")
    let found = failure("// CHECK: %[[A:[a-z]+]] = f\n// CHECK-NEXT: g %[[A]]", "%abc = f\ng %x")
    XCTAssertTrue(found.hasSuffix("[[A]] is 'abc'"), found)
    XCTAssertEqual(failure("// CHECK: %[[A]]", "%a"), "no line above captures [[A]]")
    // Special characters outside of brackets stand for themselves.
    passes("// CHECK: f(%x) {a = [1]} + {{.}}* ^$ a.b|c?\\ /-#&~", "f(%x) {a = [1]} + y* ^$ a.b|c?\\ /-#&~")
    XCTAssertTrue(failure("// CHECK: a.b{{c}}", "axbc").hasPrefix("CHECK finds no match"))
  }

  func testBrokenDirectives() {
    XCTAssertEqual(failure("// CHECK-NXT: a", "a"), "there is no directive 'CHECK-NXT'; did you mean 'CHECK-NEXT'?")
    XCTAssertEqual(failure("// CHECK:", "a"), "this directive has no pattern")
    XCTAssertEqual(failure("// CHECK: {{a", "a"), "this pattern has a bracket without '}}'")
    XCTAssertTrue(failure("// CHECK: {{(}}", "a").hasPrefix("this is not a regular expression"))
    XCTAssertEqual(failure("// nothing", "a"), "'test.dust' has no 'CHECK:' line")
    // Only comments that begin with the prefix count.
    passes("x CHECK: b\n// see CHECK: b\n// CHECKS: b\n// CHECK: a", "a")
  }

  func testFailureShowsTheClosestLine() {
    let found = failure(
      "// CHECK: %y = linear %x, weight(@w) : f32[T, 64]",
      "func @f\n  %a = silu %x : f32[T, 64]\n  %y = linear %x, weight(@v) : f32[T, 64]\n  return %y")
    XCTAssertTrue(found.contains("the closest line of the output, line 3:\n    %y = linear %x, weight(@v)"), found)
  }
}
