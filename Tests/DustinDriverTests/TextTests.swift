import XCTest

@testable import DustinRunner

/// Numbers and their words.
final class TextTests: XCTestCase {
  func testCounts() {
    XCTAssertEqual(counted(0, "block"), "0 blocks")
    XCTAssertEqual(counted(1, "block"), "1 block")
    XCTAssertEqual(counted(12_345, "token"), "12,345 tokens")
    XCTAssertEqual(grouped(.min), "-9,223,372,036,854,775,808")
  }
}
