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

  func testBrainFloatsRoundToNearestEven() {
    for bits in UInt16.min...UInt16.max {
      let value = BF16.float(bits)
      if value.isNaN {
        XCTAssertTrue(BF16.float(BF16.round(value)).isNaN, "\(bits)")
      } else {
        XCTAssertEqual(BF16.round(value), bits)
      }
    }
    // Between two neighbours: below the half down, above it up, at the half to the even one.
    for (bits, expected) in [
      (0x3F80_7FFF, 0x3F80), (0x3F80_8000, 0x3F80), (0x3F80_8001, 0x3F81), (0x3F81_7FFF, 0x3F81),
      (0x3F81_8000, 0x3F82), (0x0000_8000, 0x0000), (0x0000_8001, 0x0001), (0x0001_8000, 0x0002),
      (0x7F7F_FFFF, 0x7F80), (0xFF7F_7FFF, 0xFF7F), (0xFF80_0000, 0xFF80), (0x7F80_0001, 0x7FC0),
      (0xFFFF_FFFF, 0xFFFF),
    ] as [(UInt32, UInt16)] {
      XCTAssertEqual(BF16.round(Float(bitPattern: bits)), expected, String(bits, radix: 16))
    }
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
        var packed = [UInt16](repeating: 9, count: 2)
        try packed.withUnsafeMutableBufferPointer { try view.convert(3..<5, toBF16: $0) }
        XCTAssertEqual(packed, [BF16.round(expected[3]), BF16.round(expected[4])])
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
    let brain = values.map(BF16.round)
    try check(.bf16, bytes(brain), brain.map(BF16.float))
  }
}
