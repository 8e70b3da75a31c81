import DustinSupport
import XCTest

/// Programs as bytes and back.
final class ProgramBytesTests: XCTestCase {
  /// One of everything.
  private var program: Program {
    var verify = Program.Function(
      name: "verify", maxRows: 8, table: [0, 1, 2, -5, 1 << 40],
      arguments: [
        Program.Port(
          name: "ids", role: "plain",
          place: .arena(offset: 64, rowBytes: 4, count: 1, element: .i32, perSequence: false)),
        Program.Port(name: "k0", role: "cache", place: .cache(region: 1)),
      ],
      results: [
        Program.Port(
          name: "logits", role: "plain",
          place: .arena(offset: 128, rowBytes: 512, count: 128, element: .f32, perSequence: true)),
        Program.Port(name: "set", role: "round", place: .sequence(value: 1)),
      ], isExact: false, tokenLimit: 128)
    verify.reads.perPosition = 7
    verify.reads.densePerPosition = 9
    verify.reads.perSelected = [.init(set: 1, bytes: 64)]
    verify.partialBytes = 3
    var program = Program(
      functions: [
        verify,
        Program.Function(
          name: "empty", maxRows: 1, table: [], arguments: [], results: [], isExact: true),
      ],
      kernelCount: 3,
      cacheRegions: [
        .init(isKeys: true, heads: 2, dim: 16, element: .bf16),
        .init(isKeys: false, heads: 2, dim: 16, element: .f32, layout: .rows),
      ], arenaBytes: 4096, weightBytes: 1 << 33, scratchBytesPerThread: 64)
    program.sequenceValues = [
      .init(name: "look", kind: .signal, planes: 2), .init(name: "set", kind: .set(bound: 512), planes: 1),
    ]
    program.policy = Program.Policy(refresh: 2, denseEvery: 64, observe: 32)
    return program
  }

  func testAProgramComesBackAsItWas() throws {
    XCTAssertEqual(try Program(serialized: program.serialized()), program)
  }

  func testEveryBeginningIsRefused() {
    let bytes = program.serialized()
    for count in bytes.indices {
      XCTAssertThrowsError(try Program(serialized: Array(bytes[..<count]))) { error in
        XCTAssertEqual((error as? DiagnosticError)?.diagnostics.first?.id, "damaged", "\(count)")
      }
    }
    XCTAssertThrowsError(try Program(serialized: bytes + [0])) { error in
      XCTAssertTrue("\(error)".contains("1 bytes are left over"), "\(error)")
    }
  }

  func testAnotherVersionIsNamed() {
    var bytes = program.serialized()
    bytes[0] = 99
    XCTAssertThrowsError(try Program(serialized: bytes, "the program of 'app'")) { error in
      XCTAssertEqual(
        "\(error)", "error: the program of 'app' has the format 99; only \(Program.formatVersion) is known")
    }
  }

  /// Whatever a byte becomes, reading ends: with another program or with an error.
  func testChangedBytesNeverTrap() {
    let bytes = program.serialized()
    var refused = 0
    for place in bytes.indices {
      for value in [0, 1, 0x7F, 0x80, 0xFF] as [UInt8] where bytes[place] != value {
        var changed = bytes
        changed[place] = value
        if (try? Program(serialized: changed)) == nil { refused += 1 }
      }
    }
    XCTAssertGreaterThan(refused, bytes.count)
  }

  func testChecksumsTellBytesApart() {
    let bytes = (0..<1000).map { UInt8(truncatingIfNeeded: $0 * 7) }
    let sum = Checksum.of(bytes)
    XCTAssertEqual(sum, Checksum.of(bytes))
    for place in bytes.indices {
      var changed = bytes
      changed[place] ^= 0x80
      XCTAssertNotEqual(Checksum.of(changed), sum, "\(place)")
    }
    XCTAssertNotEqual(Checksum.of(bytes + [0]), sum)
    var pieces = Checksum()
    bytes.withUnsafeBytes { memory in
      pieces.add(UnsafeRawBufferPointer(rebasing: memory[..<512]))
      pieces.add(UnsafeRawBufferPointer(rebasing: memory[512...]))
    }
    XCTAssertEqual(pieces.value, sum)
  }
}
