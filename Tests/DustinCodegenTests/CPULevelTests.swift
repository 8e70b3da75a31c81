import DustinCodegen
import DustinIR
import DustinModels
import DustinPasses
import DustinRuntime
import DustinSupport
import XCTest

/// What a CPU path's code may use, and what all paths share.
final class CPULevelTests: XCTestCase {
  private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().path

  /// The bundled pair with a sparsity preset: every kernel of sparse verification is in it.
  private func modules() throws -> [Module] {
    try ["draft-dustin", "target-dustin"].map { name in
      let path = "\(Self.root)/IR/models/\(name).dust"
      return try ModuleParser.parseVerified(
        SourceBuffer(name: name, text: String(decoding: try readFile(path), as: UTF8.self)))
    }
  }

  func testNames() throws {
    XCTAssertEqual(CPULevel.allCases.map(\.rawValue), ["avx512-bf16", "x86-64-v4", "x86-64-v3", "x86-64-v2"])
    XCTAssertEqual(CPUTarget.all.map(\.name), CPULevel.allCases.map(\.rawValue))
    XCTAssertEqual(CPULevel.runnable.first, CPULevel.host)
    XCTAssertEqual(try CPUTarget.host().level, CPULevel.host)
    // whoever runs a level runs all that it contains
    XCTAssertEqual(CPULevel.runnable, CPULevel.allCases.suffix(CPULevel.runnable.count))
    let flags = try cpuFlags()
    XCTAssertEqual(CPULevel.runnable.contains(.avx512BF16), flags.contains("avx512_bf16"))
    XCTAssertEqual(
      CPULevel.runnable.contains(.v4),
      flags.isSuperset(of: ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]))
    XCTAssertEqual(
      CPULevel.runnable.contains(.v3), flags.isSuperset(of: ["avx2", "fma", "bmi1", "bmi2", "f16c", "movbe", "abm"]))
    XCTAssertEqual(CPULevel.runnable.contains(.v2), flags.isSuperset(of: ["sse4_2", "popcnt", "ssse3", "cx16"]))
  }

  /// What the system knows of the CPU.
  private func cpuFlags() throws -> Set<String> {
    let text = String(decoding: try readFile("/proc/cpuinfo"), as: UTF8.self)
    let line = try XCTUnwrap(text.split(separator: "\n").first { $0.hasPrefix("flags") })
    return Set(line.split(separator: " ").map(String.init))
  }

  /// Mnemonics and operands of an assembler text.
  private func instructions(_ text: String) -> (mnemonics: Set<String>, operands: String) {
    var mnemonics: Set<String> = []
    var operands = ""
    for line in text.split(separator: "\n") where line.hasPrefix("\t") && !line.hasPrefix("\t.") {
      let parts = line.dropFirst().split(separator: "\t", maxSplits: 1)
      for word in (parts.first ?? "").split(separator: " ") { mnemonics.insert(String(word)) }
      operands += parts.dropFirst().joined() + "\n"
    }
    return (mnemonics, operands)
  }

  func testCodeKeepsToItsInstructions() throws {
    // The higher half of the registers is AVX-512's too.
    let highRegisters = (16...31).flatMap { ["%xmm\($0)", "%ymm\($0)"] }
    for module in try modules() {
      for target in CPUTarget.all {
        let (mnemonics, operands) = instructions(try KernelPlan(lowering: module, for: target).assembly())
        XCTAssertTrue(mnemonics.isSuperset(of: ["retq", "jmp"]), "\(target): \(mnemonics)")
        func uses(_ register: String) -> Bool { operands.contains(register) }
        let dots = mnemonics.filter { $0.contains("bf16") }
        XCTAssertEqual(dots.isEmpty, target != .avx512BF16, "\(target): \(dots)")
        XCTAssertEqual(uses("%zmm"), target == .avx512BF16 || target == .v4, "\(target)")
        XCTAssertEqual(mnemonics.contains { $0.hasPrefix("vfmadd") }, target != .v2, "\(target)")
        XCTAssertFalse(mnemonics.contains { $0.hasPrefix("call") } && operands.contains("@PLT"), "\(target)")
        if target == .v3 || target == .v2 {
          for register in highRegisters + (0...7).map({ "%k\($0)" }) {
            XCTAssertFalse(uses(register), "\(target) uses \(register)")
          }
        }
        if target == .v2 {
          XCTAssertFalse(uses("%ymm"))
          XCTAssertTrue(mnemonics.isSuperset(of: ["mulps", "addps"]), "\(mnemonics)")
          let later = mnemonics.filter { mnemonic in
            let bits = [
              "andn", "bextr", "bls", "bzhi", "mulx", "pdep", "pextl", "pextq", "rorx", "sarx", "shlx", "shrx",
            ]
            return (bits + ["v", "lzcnt", "tzcnt", "movbe"]).contains { mnemonic.hasPrefix($0) }
          }
          XCTAssertEqual(later, [])
        }
        // What calls a library has no image.
        if target == .v2 { XCTAssertNoThrow(try KernelPlan(lowering: module, for: target).codeImage()) }
      }
    }
  }

  func testEveryFormIsThere() throws {
    let plan = try KernelPlan(lowering: modules()[0], for: .v3)
    let text = try plan.llvmText()
    XCTAssertTrue(text.contains("define void @dustin_entry("), "\(text.prefix(200))")
    XCTAssertTrue(text.contains("target triple = \"x86_64-"), "\(text.prefix(200))")
    for call in try XCTUnwrap(plan.calls(of: "draft")) { XCTAssertTrue(text.contains(call.kernel), call.kernel) }
    XCTAssertTrue(try plan.assembly().contains("dustin_entry:"))
    let object = try plan.objectFile(entry: "draft_model")
    XCTAssertTrue(object.starts(with: [0x7f, 0x45, 0x4c, 0x46]))
    XCTAssertTrue(String(decoding: object.suffix(object.count / 2), as: UTF8.self).contains("draft_model"))
  }

  /// One section of weights and one program serve all the code of an executable.
  func testAllPathsShareOneProgramAndOneLayoutOfWeights() throws {
    for (fixture, pipeline) in [
      ("qwen2-untied-f16", "target-fast"), ("llama", "target-f32"), ("llama-biases", "draft-fast"),
    ] {
      let directory = try ModelDirectory(path: "\(Self.root)/Tests/Fixtures/\(fixture)")
      let module = try directory.importModule(maxRows: 16)
      try PassManager().run(try PassPipeline.parse(pipeline, registry: .standard), on: module)
      let store = try directory.weights()
      var packed: [[UInt8]] = []
      var programs: [Program] = []
      for target in CPUTarget.all {
        let plan = try KernelPlan(lowering: module, for: target)
        let memory = try Memory(count: plan.program.weightBytes, for: "weights")
        try plan.packWeights(into: memory.base) { name in
          let tensor = try store.tensor(name)
          return (tensor.element, tensor.bytes)
        }
        packed.append(Array(UnsafeRawBufferPointer(start: memory.base, count: plan.program.weightBytes)))
        programs.append(plan.program)
      }
      XCTAssertGreaterThan(Set(packed[0]).count, 100, fixture)
      XCTAssertEqual(Set(packed).count, 1, "\(fixture), \(pipeline)")
      for program in programs { XCTAssertEqual(program, programs[0], "\(fixture), \(pipeline)") }
    }
    for module in try modules() {
      let programs = try CPUTarget.all.map { try KernelPlan(lowering: module, for: $0).program }
      for program in programs { XCTAssertTrue(program == programs[0], "\(module.functions.map(\.name))") }
    }
  }
}
