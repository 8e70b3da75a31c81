import DustinSupport
import XCTest

final class ByteHashTests: XCTestCase {
  /// What the authors of FNV publish for 64 bits, FNV-1a.
  func testPublishedValues() {
    for (text, value) in [
      ("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8),
    ] as [(String, UInt64)] {
      var hash = ByteHash()
      hash.add(text.utf8)
      XCTAssertEqual(hash.value, value, text)
    }
  }

  func testNumbersAndDigits() {
    var (number, bytes) = (ByteHash(), ByteHash())
    number.add(low32: 0x7_0403_0201)
    bytes.add([1, 2, 3, 4])
    XCTAssertEqual(number.value, bytes.value)
    XCTAssertEqual(ByteHash().text, "cbf29ce484222325")
    XCTAssertEqual(bytes.text.count, 16)
  }
}
