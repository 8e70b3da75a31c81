import DustinSupport
import XCTest

final class ELFHeaderTests: XCTestCase {
  private func file(offset: UInt64, rowBytes: UInt16, count: UInt16) -> [UInt8] {
    var file = ByteWriter()
    for byte in [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1] + [UInt8](repeating: 0, count: 9) { file.add(byte) }
    for half in [3, 62, 1, 0] as [UInt16] { file.add(half) }
    for word in [0, 64, offset] as [UInt64] { file.add(word) }
    for half in [0, 0, 64, 56, 1, rowBytes, count, 2] as [UInt16] { file.add(half) }
    return file.bytes
  }

  func testTablesLieInsideOrNowhere() throws {
    let header = try XCTUnwrap(ELFHeader(file(offset: 120, rowBytes: 64, count: 3)))
    XCTAssertEqual([header.type, header.machine, UInt16(header.nameSection)], [3, 62, 2])
    XCTAssertEqual(header.segments.range(in: 120), 64..<120)
    XCTAssertNil(header.segments.range(in: 119))
    XCTAssertEqual(header.sections.range(in: 400), 120..<312)
    XCTAssertNil(header.sections.range(in: 311))
    for offset in [313, UInt64(Int.max), .max] {
      let far = try XCTUnwrap(ELFHeader(file(offset: offset, rowBytes: .max, count: .max)))
      XCTAssertNil(far.sections.range(in: 312))
    }
  }

  func testOtherFilesAreNone() {
    let whole = file(offset: 64, rowBytes: 64, count: 0)
    for count in 0..<whole.count { XCTAssertNil(ELFHeader(Array(whole[..<count])), "\(count)") }
    for place in 0..<7 {
      var changed = whole
      changed[place] ^= 1
      XCTAssertNil(ELFHeader(changed), "\(place)")
    }
  }
}
