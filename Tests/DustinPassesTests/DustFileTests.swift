import DustinDriver
import DustinSupport
import DustinTesting
import XCTest

/// Every `.dust` file below IR/tests is a test.
final class DustFileTests: XCTestCase {
  func testFiles() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../IR/tests").path
    let test = DustTest(commands: DustTest.commands())
    for path in try DustTest.files(below: root) {
      do {
        try test.run(path: path)
      } catch {
        XCTFail("\(error)")
      }
    }
  }
}
