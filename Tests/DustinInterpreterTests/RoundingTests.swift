import DustinInterpreter
import XCTest

final class RoundingTests: XCTestCase {
  func testBF16TiesGoToTheEvenNeighbour() {
    // bf16 keeps 8 significant bits: between 1 and 2 its numbers are 1/128 apart.
    XCTAssertEqual(roundedToBF16(1 + 1 / 256), 1)
    XCTAssertEqual(roundedToBF16(1 + 3 / 256), 1 + 4 / 256)
    XCTAssertEqual(roundedToBF16(-(1 + 3 / 256)), -(1 + 4 / 256))
    XCTAssertEqual(roundedToBF16((1 + 1 / 256 as Float).nextUp), 1 + 2 / 256)
    XCTAssertEqual(roundedToBF16((1 + 3 / 256 as Float).nextDown), 1 + 2 / 256)
    XCTAssertEqual(roundedToBF16(2 - 1 / 256), 2)
  }

  func testBF16KeepsSpecialNumbers() {
    XCTAssertEqual(roundedToBF16(.infinity), .infinity)
    XCTAssertEqual(roundedToBF16(-.infinity), -.infinity)
    XCTAssertEqual(roundedToBF16(.greatestFiniteMagnitude), .infinity)
    XCTAssertEqual(roundedToBF16(-0.0).bitPattern, (-0.0 as Float).bitPattern)
    XCTAssertTrue(roundedToBF16(Float(bitPattern: 0x7f80_0001)).isNaN)
    XCTAssertTrue(roundedToBF16(Float(bitPattern: 0xffff_ffff)).isNaN)
    // A denormal: bf16 has f32's exponents, so the lowest one is 2^-133.
    XCTAssertEqual(roundedToBF16(Float(bitPattern: 0x0001_8000)), Float(bitPattern: 0x0002_0000))
    XCTAssertEqual(roundedToBF16(Float(bitPattern: 0x0000_8000)), 0)
  }

  func testEveryBF16NumberIsKept() {
    for high in 0...UInt32(UInt16.max) {
      let value = Float(bitPattern: high << 16)
      if value.isNaN { continue }
      XCTAssertEqual(roundedToBF16(value).bitPattern, value.bitPattern)
    }
  }

  func testF16TiesGoToTheEvenNeighbour() {
    XCTAssertEqual(roundedToF16(1 + 1 / 2048), 1)
    XCTAssertEqual(roundedToF16(1 + 3 / 2048), 1 + 4 / 2048)
    XCTAssertEqual(roundedToF16(65520), .infinity)
  }

  func testTensorsRoundAndRefuseWrongCounts() throws {
    XCTAssertEqual(try Tensor(.bf16, [2], [1 + 1 / 256, 3]).floats, [1, 3])
    XCTAssertThrowsError(try Tensor([2, 2], [1, 2, 3])) { XCTAssertTrue("\($0)".contains("holds 4 numbers, not 3")) }
    XCTAssertThrowsError(try Tensor([-1], ints: []))
    XCTAssertThrowsError(try Tensor([.max, .max], [1]))
    XCTAssertThrowsError(try Tensor(.i32, [1], [1]))
  }
}
