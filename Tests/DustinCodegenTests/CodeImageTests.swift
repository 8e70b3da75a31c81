import DustinInterpreter
import DustinRuntime
import DustinSupport
import XCTest

@testable import DustinCodegen

/// Objects become images that run anywhere, or errors: never a crash.
final class CodeImageTests: XCTestCase {
  private func model(_ target: CPUTarget) throws -> (random: RandomModule, compiled: CompiledModule) {
    var shape = RandomModule.Shape()
    (shape.layers, shape.hidden, shape.ffn, shape.vocab) = (1, 32, 40, 48)
    let random = try RandomModule(shape, seed: 4)
    return (random, try CompiledModule(random, pipeline: "target-fast", target: target))
  }

  private func logits(_ model: CompiledModel, _ tokens: [Int32]) throws -> [UInt32] {
    let engine = try Engine(model: model, team: ThreadTeam(threads: 2))
    let cache = try KVCache(model, positions: tokens.count)
    let result = try engine.step("verify", [StepRows(cache, tokens)])
    return try tokens.indices.flatMap { try result.logits(sequence: 0, row: $0).map(\.bitPattern) }
  }

  func testCodeGivesTheSameBitsWhereverItLies() throws {
    for target in try runnableTargets() {
      let (random, compiled) = try model(target)
      let tokens = random.tokens(11, seed: 5)
      let image = try compiled.plan.codeImage()
      XCTAssertEqual(image, try compiled.plan.codeImage(), "the same plan gives other code, \(target)")
      let weights = try Memory(count: compiled.plan.program.weightBytes, for: "weights")
      try compiled.packWeights(into: weights.base)
      // The compiled model has pages of its own: these are others.
      let moved = try CompiledModel(
        program: compiled.plan.program, code: image, weights: UnsafeRawPointer(weights.base), owners: [weights])
      XCTAssertEqual(try logits(moved, tokens), try logits(compiled.model, tokens), "\(target)")
    }
  }

  func testAnImageWithoutItsEntryIsRefused() {
    for image in [
      CodeImage(bytes: [], entryOffset: 0), CodeImage(bytes: [0xc3], entryOffset: 1),
      CodeImage(bytes: [0xc3], entryOffset: -1),
    ] {
      XCTAssertThrowsError(try MappedCode(image)) {
        XCTAssertEqual(($0 as? DiagnosticError)?.diagnostics.first?.id, "code")
      }
    }
  }

  // MARK: objects that are not ours

  /// Changes one number of an object and expects its image's error.
  private func assertRefused(
    _ object: [UInt8], _ what: String, _ change: (inout [UInt8], ELFObject) throws -> Void
  ) rethrows {
    var bytes = object
    if let parsed = try? ELFObject(object) { try change(&bytes, parsed) }
    XCTAssertNotEqual(bytes, object, what)
    XCTAssertThrowsError(try CodeImage(linking: bytes, entry: KernelPlan.entrySymbol), what) { error in
      let first = (error as? DiagnosticError)?.diagnostics.first
      XCTAssertEqual(first?.id, "object")
      XCTAssertTrue(first?.message.contains(what) ?? false, "\(error) does not say '\(what)'")
    }
  }

  func testWhatAnImageCannotHoldIsNamed() throws {
    let object = try model(.v3).compiled.plan.objectFile()
    let parsed = try ELFObject(object)
    let code = try XCTUnwrap(parsed.sections.firstIndex { $0.isExecutable && $0.size > 0 })
    let table = try XCTUnwrap(parsed.sections.first { $0.type == 4 && $0.info == code })
    let relocation = table.range.lowerBound
    let first = try XCTUnwrap(parsed.relocations(of: code).first)
    let headers = Int(object[40]) | Int(object[41]) << 8 | Int(object[42]) << 16 | Int(object[43]) << 24
    let symbols = try XCTUnwrap(parsed.sections.first { $0.type == 2 })
    let entry = try XCTUnwrap(parsed.symbols.firstIndex { $0.name == KernelPlan.entrySymbol })

    assertRefused(object, "has a relocation of type 1") { bytes, _ in bytes[relocation + 8] = 1 }
    assertRefused(object, "lies outside") { bytes, _ in bytes[relocation + 6] = 1 }
    assertRefused(object, "reaches too far") { bytes, _ in bytes[relocation + 22] = 1 }
    assertRefused(object, "is writable") { bytes, _ in bytes[headers + 64 * code + 8] |= 1 }
    assertRefused(object, "alignment") { bytes, _ in bytes[headers + 64 * code + 48] = 3 }
    assertRefused(object, "'.text' wants 8192-byte alignment") { bytes, _ in
      (bytes[headers + 64 * code + 48], bytes[headers + 64 * code + 49]) = (0, 0x20)
    }
    assertRefused(object, "which it does not define") { bytes, _ in
      bytes[symbols.range.lowerBound + 24 * first.symbol + 6] = 0
    }
    assertRefused(object, "it needs 'dustin_entry', which it does not define") { bytes, _ in
      bytes[relocation + 12] = UInt8(entry)
      bytes[symbols.range.lowerBound + 24 * entry + 6] = 0
    }
    assertRefused(object, "it does not define 'dustin_entry'") { bytes, _ in
      bytes[symbols.range.lowerBound + 24 * entry] = 0
      bytes[symbols.range.lowerBound + 24 * entry + 1] = 0
    }
    assertRefused(object, "no relocatable x86-64 ELF object") { bytes, _ in bytes[18] = 183 }
    assertRefused(object, "no relocatable x86-64 ELF object") { bytes, _ in bytes[0] = 0 }
    assertRefused(object, "it has no section headers") { bytes, _ in (bytes[60], bytes[61]) = (0, 0) }
  }

  func testDamagedObjectsAreErrorsOrImages() throws {
    let object = try model(.v3).compiled.plan.objectFile()
    XCTAssertNoThrow(try CodeImage(linking: object, entry: KernelPlan.entrySymbol))
    var random = SeededGenerator(seed: 12)
    var refused = 0
    func link(_ bytes: [UInt8]) {
      do {
        let image = try CodeImage(linking: bytes, entry: KernelPlan.entrySymbol)
        XCTAssertTrue(image.bytes.indices.contains(image.entryOffset))
      } catch {
        XCTAssertEqual((error as? DiagnosticError)?.diagnostics.first?.id, "object", "\(error)")
        refused += 1
      }
    }
    // What describes the code stands at both ends: the header, then symbols, relocations, names and section headers.
    let parsed = try ELFObject(object)
    let tables = parsed.sections.filter { !$0.isAllocated && $0.size > 0 }.map(\.range)
    let headers = (object.count - parsed.sections.count * 64)..<object.count
    for round in 0..<3000 {
      var bytes = object
      for _ in 0...Int.random(in: 0..<3, using: &random) {
        let part = [0..<64, headers, tables[round % tables.count]].randomElement(using: &random) ?? headers
        bytes[Int.random(in: part, using: &random)] =
          [0, 1, 0x7f, 0x80, 0xff, .random(in: 0...255, using: &random)]
          .randomElement(using: &random) ?? 0
      }
      link(bytes)
    }
    for count in [0, 1, 63, 64] + (0..<100).map({ _ in Int.random(in: 0..<object.count, using: &random) }) {
      link(Array(object.prefix(count)))
    }
    XCTAssertGreaterThan(refused, 500)
  }
}
