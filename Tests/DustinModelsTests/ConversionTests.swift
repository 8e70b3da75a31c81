import DustinIR
import XCTest

@testable import DustinModels

final class ConversionTests: XCTestCase {
  /// Every half against its value by definition: sign, 5 bits of exponent, 10 of fraction.
  func testEveryHalfIsExact() {
    for bits in UInt16.min...UInt16.max {
      let value = F16.float(bits)
      let exponent = Int(bits >> 10 & 31)
      let fraction = Double(bits & 1023)
      let sign: Double = bits & 0x8000 == 0 ? 1 : -1
      switch exponent {
      case 31 where fraction != 0: XCTAssertTrue(value.isNaN, "\(bits)")
      case 31: XCTAssertEqual(Double(value), sign * .infinity)
      case 0: XCTAssertEqual(Double(value), sign * fraction * 0x1p-24)
      default:
        XCTAssertEqual(
          Double(value), sign * (1 + fraction / 1024) * Double(sign: .plus, exponent: exponent - 15, significand: 1))
      }
      if !value.isNaN { XCTAssertEqual(value.sign, sign < 0 ? .minus : .plus) }
    }
  }

  func testBrainFloatsAreTheUpperHalf() {
    for (bits, value) in [(0x3F80, 1), (0xBFC0, -1.5), (0x4049, 3.140625), (0x7F80, .infinity), (0x0001, 0x1p-133)]
      as [(UInt16, Float)]
    {
      XCTAssertEqual(BF16.float(bits), value)
    }
    XCTAssertTrue(BF16.float(0x7FC0).isNaN)
  }

  func testViewsConvertRangesOfUnalignedBytes() throws {
    let values: [Float] = [0, -1.5, 3.140625, 65504, 0x1p-24]
    let halves: [UInt16] = [0x0000, 0xBE00, 0x4248, 0x7BFF, 0x0001]
    func check(_ element: ElementType, _ bytes: [UInt8], _ expected: [Float]) throws {
      // One byte of offset: nothing in a file promises alignment.
      try ([7] + bytes).withUnsafeBytes { memory in
        let view = TensorView(
          name: "t", element: element, shape: [expected.count], bytes: UnsafeRawBufferPointer(rebasing: memory[1...]))
        XCTAssertEqual(try view.floats(), expected)
        var target = [Float](repeating: 9, count: 3)
        try target.withUnsafeMutableBufferPointer { try view.convert(1..<3, to: $0) }
        XCTAssertEqual(target, [expected[1], expected[2], 9])
        func convert(_ range: Range<Int>) throws {
          try target.withUnsafeMutableBufferPointer { try view.convert(range, to: $0) }
        }
        assertError(try convert(0..<4), "weight-range", "'t'")
        assertError(try convert(4..<6), "weight-range", "'t'")
        assertError(try view.ints(), "weight-type", "'t' holds \(element.rawValue)")
      }
    }
    func bytes<Word: FixedWidthInteger>(_ words: [Word]) -> [UInt8] {
      words.flatMap { word in withUnsafeBytes(of: word.littleEndian) { Array($0) } }
    }
    try check(.f32, bytes(values.map(\.bitPattern)), values)
    try check(.f16, bytes(halves), values)
    let brain = values.map { UInt16(truncatingIfNeeded: $0.bitPattern >> 16) }
    try check(.bf16, bytes(brain), brain.map(BF16.float))
  }
}
