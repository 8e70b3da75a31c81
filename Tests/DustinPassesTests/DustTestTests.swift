import DustinDriver
import DustinSupport
import DustinTesting
import XCTest

final class DustTestTests: XCTestCase {
  private func buffer(_ text: String) -> SourceBuffer { SourceBuffer(name: "test.dust", text: text) }
  private func messages(
    _ text: String, commands: [String: DustTest.Command] = DustTest.commands(), file: StaticString = #filePath,
    line: UInt = #line
  ) -> [String] {
    let test = DustTest(commands: commands, isBlessing: false)
    return diagnostics({ _ = try test.run(buffer(text)) }, file: file, line: line).map(\.message)
  }
  private let module = """
    dustin 1
    stage tensor

    dim T <= 8

    func @f(%x: f32[T, 64]) -> (f32[T, 64]) {
      %y = cast %x : f32[T, 64]
      return %y
    }

    """

  func testArgumentsAreSplitLikeAShell() throws {
    var seen: [[String]] = []
    let test = DustTest(
      commands: [
        "show": { arguments, _ in
          seen.append(arguments)
          return ""
        }
      ], isBlessing: false)
    _ = try test.run(
      buffer("// RUN: show -p 'a,b{c=\"d e\"}' \"x y\" ''\n// RUN: show one \\\n// RUN: two\n" + module))
    XCTAssertEqual(seen, [["-p", "a,b{c=\"d e\"}", "x y", ""], ["one", "two"]])
  }

  func testRunLinesAndChecks() throws {
    let test = DustTest(commands: DustTest.commands(), isBlessing: false)
    XCTAssertNil(try test.run(buffer("// RUN: opt -p canonicalize\n// CHECK: return %x\n" + module)))
    XCTAssertNil(
      try test.run(
        buffer(
          "// RUN: opt -p canonicalize --check-prefix=A\n// RUN: opt --check-prefix=B\n// A: return %x\n// B: return %y\n"
            + module)))
    XCTAssertEqual(
      messages("// RUN: opt -p canonicalize\n// CHECK: return %y\n" + module), ["CHECK finds no match"])
    XCTAssertEqual(
      messages("// RUN: opt -p canonicalize\n" + module),
      ["nothing in this file looks at what 'opt' prints: it needs CHECK lines or an EXPECT block"])
    XCTAssertEqual(messages("// RUN: otp\n" + module), ["there is no command 'otp'; did you mean 'opt'?"])
    XCTAssertEqual(messages("// RUN: opt 'x\n" + module), ["this RUN line has a ' that is not closed"])
    XCTAssertEqual(messages("// RUN:\n" + module), ["this RUN line names no command"])
    XCTAssertEqual(messages("// RUN: opt \\\n" + module), ["no RUN line goes on behind this one"])
  }

  func testExpectedErrors() throws {
    let test = DustTest(commands: DustTest.commands(), isBlessing: false)
    let wrong = module.replacingOccurrences(of: "return %y", with: "return %z")
    let marked = module.replacingOccurrences(of: "return %y", with: "return %z // error: %z")
    XCTAssertNil(try test.run(buffer("// RUN: check\n" + marked)))
    XCTAssertNil(try test.run(buffer(marked)))
    for run in ["", "// RUN: check\n"] {
      let unexpected = messages(run + wrong)
      XCTAssertEqual(unexpected.count, 1)
      XCTAssertTrue(unexpected[0].hasPrefix("unexpected error in line \(run.isEmpty ? 8 : 9): "), unexpected[0])
      // The text must be right, and the line.
      XCTAssertEqual(messages(run + marked.replacingOccurrences(of: "error: %z", with: "error: nonsense")).count, 2)
      XCTAssertEqual(
        messages(run + wrong.replacingOccurrences(of: "dim T <= 8", with: "dim T <= 8 // error: %z")).count, 2)
      XCTAssertEqual(
        messages(run + module.replacingOccurrences(of: "return %y", with: "return %y // error: gone")),
        ["no error in this line contains 'gone'"])
    }
    XCTAssertNil(try test.run(buffer("// RUN: opt -p dcee // error: did you mean 'dce'?\n" + module)))
  }

  func testExpectBlocksAndBlessing() throws {
    let start = "// RUN: opt -p canonicalize\n" + module
    let strict = DustTest(commands: DustTest.commands(), isBlessing: false)
    let blessing = DustTest(commands: DustTest.commands(), isBlessing: true)
    let blessed = try XCTUnwrap(try blessing.run(buffer(start + "// EXPECT:\n")))
    XCTAssertTrue(blessed.hasPrefix(start + "// EXPECT:\n// dustin 1\n// stage tensor\n//\n"), blessed)
    XCTAssertNil(try strict.run(buffer(blessed)))
    XCTAssertNil(try blessing.run(buffer(blessed)))
    let old = blessed.replacingOccurrences(of: "//   return %x", with: "//   return %y")
    let found = diagnostics { _ = try strict.run(buffer(old)) }
    XCTAssertEqual(found.map(\.message), ["line 7 of the output differs from the EXPECT block"])
    XCTAssertEqual(
      found[0].notes.map(\.message),
      [
        "expected '  return %y'", "found '  return %x'",
        "'dustin test --bless' accepts the output as it is, and so does DUSTIN_BLESS=1 in the environment",
      ])
    XCTAssertEqual(try blessing.run(buffer(old)), blessed)
  }

  func testFilesWithoutRunLineRoundTrip() throws {
    let test = DustTest(commands: [:], isBlessing: false)
    XCTAssertNil(try test.run(buffer(module)))
    XCTAssertThrowsError(try DustTest.files(below: "/nowhere/at/all"))
  }
}
