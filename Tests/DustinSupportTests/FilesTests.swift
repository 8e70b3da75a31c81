import DustinSupport
import Foundation
import XCTest

final class FilesTests: XCTestCase {
  private var folder = ""

  override func setUpWithError() throws {
    folder = FileManager.default.temporaryDirectory.path + "/dustin-files-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
  }

  override func tearDownWithError() throws {
    try FileManager.default.removeItem(atPath: folder)
  }

  private func message(_ body: () throws -> Void) -> String {
    do {
      try body()
      return "no error"
    } catch let error as DiagnosticError {
      return error.diagnostics.first?.message ?? ""
    } catch {
      return "another error"
    }
  }

  func testWritingAndReading() throws {
    let path = folder + "/a"
    for bytes in [[], [1, 2, 3], (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0) }] as [[UInt8]] {
      try writeFileAtomically(path, bytes: bytes)
      XCTAssertTrue(try readFile(path) == bytes)
    }
    XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: folder), ["a"])
    XCTAssertEqual(message { _ = try readFile(path, limit: 100) }, "cannot read '\(path)': it is longer than 100 bytes")
  }

  func testFilesWithoutASize() throws {
    XCTAssertFalse(try readFile("/proc/self/status").isEmpty)
    XCTAssertEqual(
      message { _ = try readFile("/dev/zero", limit: 1000) }, "cannot read '/dev/zero': it is longer than 1000 bytes")
    XCTAssertEqual(try readFile("/dev/null"), [])
    try writeFileAtomically("/dev/null", bytes: [1])
    XCTAssertEqual(try readFile("/dev/null"), [])
  }

  func testReasons() {
    let missing = folder + "/missing"
    XCTAssertEqual(message { _ = try readFile(missing) }, "cannot open '\(missing)': No such file or directory")
    XCTAssertEqual(message { _ = try readFile(folder) }, "cannot read '\(folder)': Is a directory")
    XCTAssertEqual(message { _ = try readFile("") }, "the name of a file is empty")
    XCTAssertEqual(message { _ = try readFile("a\u{0}b") }, "the name of a file contains a NUL character")
    XCTAssertEqual(message { try writeFileAtomically(folder, bytes: []) }, "cannot write '\(folder)': Is a directory")
    let inside = missing + "/a"
    XCTAssertEqual(
      message { try writeFileAtomically(inside, bytes: []) }, "cannot write '\(inside)': No such file or directory")
  }

  func testPermissionsAndLinksStay() throws {
    let path = folder + "/app"
    try writeFileAtomically(path, bytes: [1], permissions: 0o755)
    XCTAssertTrue(FileManager.default.isExecutableFile(atPath: path))
    try writeFileAtomically(path, bytes: [2])
    XCTAssertTrue(FileManager.default.isExecutableFile(atPath: path))
    // What could not be executed can be afterwards, by those who may read it.
    for (before, after) in [(0o640, 0o750), (0o600, 0o700), (0o644, 0o755), (0o200, 0o300)] {
      let old = folder + "/old"
      try writeFileAtomically(old, bytes: [1])
      try FileManager.default.setAttributes([.posixPermissions: before], ofItemAtPath: old)
      try writeFileAtomically(old, bytes: [2], permissions: 0o777)
      XCTAssertEqual(try FileManager.default.attributesOfItem(atPath: old)[.posixPermissions] as? Int, after)
      try FileManager.default.removeItem(atPath: old)
    }
    let link = folder + "/link"
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: path)
    try writeFileAtomically(link, bytes: [3])
    XCTAssertEqual(try readFile(path), [3])
    XCTAssertEqual(try FileManager.default.destinationOfSymbolicLink(atPath: link), path)
  }
}
