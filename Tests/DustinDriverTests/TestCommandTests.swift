import DustinSupport
import XCTest

@testable import DustinDriver

/// `dustin test` on a user's own files.
final class TestCommandTests: XCTestCase {
  private let module = """
    dustin 1
    stage tensor

    dim T <= 8

    func @f(%x: f32[T, 64]) -> (f32[T, 64]) {fidelity = exact} {
      %y = cast %x : f32[T, 64]
      return %y
    }

    """

  func testRunsFilesAndDirectories() throws {
    let folder = try TemporaryFolder()
    let good = try folder.write("good.dust", "// RUN: opt -p canonicalize\n// CHECK: return %x\n" + module)
    _ = try folder.write("plain.dust", module)
    let one = dustin(["test", good])
    XCTAssertEqual([one.output, one.errors], ["1 test, all passed\n", ""])
    XCTAssertEqual(one.status, 0)
    let all = dustin(["test", folder.path, good])
    XCTAssertEqual(all.output, "2 tests, all passed\n")
    XCTAssertEqual(
      dustin(["test", "-v", folder.path]).output,
      "ok      \(folder.path)/good.dust\nok      \(folder.path)/plain.dust\n2 tests, all passed\n")

    let bad = try folder.write("bad.dust", "// RUN: opt -p canonicalize\n// CHECK: return %y\n" + module)
    let failed = dustin(["test", folder.path])
    XCTAssertEqual(failed.status, 1)
    XCTAssertEqual(failed.output, "FAILED  \(bad)\n3 tests, 1 failed\n")
    XCTAssertTrue(failed.errors.contains("bad.dust:2:11: error: CHECK finds no match"), failed.errors)
  }

  func testBlesses() throws {
    let folder = try TemporaryFolder()
    let path = try folder.write("a.dust", "// RUN: opt -p canonicalize\n" + module + "// EXPECT:\n")
    let differs = dustin(["test", path])
    XCTAssertEqual(differs.status, 1)
    XCTAssertTrue(differs.errors.contains("'dustin test --bless' accepts the output"), differs.errors)
    XCTAssertEqual(dustin(["test", "--bless", path]).status, 0)
    XCTAssertTrue(String(decoding: try readFile(path), as: UTF8.self).contains("// EXPECT:\n// dustin 1\n"))
    XCTAssertEqual(dustin(["test", path]).status, 0)
  }

  /// What a failing pipeline leaves behind fails again when it is fed back, with the same words.
  func testReproducersFailAgain() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/again.dust"
    let first = dustin(["opt", "-p", "canonicalize,plan-memory,dce", "--reproducer", path], input: module)
    XCTAssertEqual(first.status, 1)
    let again = dustin(["test", path])
    XCTAssertEqual(again.status, 1)
    let message =
      "plan-memory needs stage kernel, and the module is in stage tensor; run lower-to-kernel first"
    XCTAssertTrue(first.errors.contains(message), first.errors)
    XCTAssertTrue(again.errors.contains(message), again.errors)
    // Once the cause is gone, it passes.
    let mended = String(decoding: try readFile(path), as: UTF8.self)
      .replacing("'plan-memory,dce'", with: "'numerics{mode=f32},lower-to-kernel,plan-memory,dce'")
    try writeFileAtomically(path, bytes: Array((mended + "// CHECK: stage planned\n").utf8))
    XCTAssertEqual(dustin(["test", path]).errors, "")
  }

  func testNothingToTest() throws {
    let folder = try TemporaryFolder()
    XCTAssertEqual(dustin(["test", folder.path]).status, 1)
    XCTAssertEqual(dustin(["test", folder.path + "/nothing.dust"]).status, 1)
    XCTAssertEqual(dustin(["test"]).status, 64)
  }
}
