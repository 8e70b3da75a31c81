import CDustin
import DustinRunner
import DustinSupport
import Foundation
import XCTest

@testable import DustinDriver

/// `dustin compile`, and running what it makes. The files begin with a few bytes in the place of the runner, and run in
/// this process: all but the runner's own linking is the same.
final class CompileTests: XCTestCase {
  private static let small = "\(root)/Tests/Fixtures/llama"
  private let pair = ["-m", target, "-md", draft]
  private let prompt = ["-p", garden, "--json"]
  private var folder: TemporaryFolder!
  private var runner = ""

  override func setUpWithError() throws {
    folder = try TemporaryFolder()
    runner = "\(folder.path)/runner"
    try writeFileAtomically(runner, bytes: Self.elf(type: 2) + Array(runnerMark.utf8))
  }

  /// The head of an ELF file of a type, with nothing in it.
  private static func elf(type: UInt8) -> [UInt8] {
    [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1] + [UInt8](repeating: 0, count: 9) + [type] + [UInt8](repeating: 0, count: 47)
  }

  private func compile(_ arguments: [String], to name: String = "app", line: UInt = #line) -> String {
    let path = "\(folder.path)/\(name)"
    let outcome = dustin(["compile", "--runner", runner, "-o", path, "-q"] + arguments)
    XCTAssertEqual(outcome.status, 0, outcome.errors, line: line)
    return path
  }

  /// What the executable does with arguments.
  private func run(_ path: String, _ arguments: [String]) -> Outcome {
    let console = Console(input: [])
    let status = runApplication(arguments, path: path, console: console)
    return Outcome(
      status: status, output: String(decoding: console.output, as: UTF8.self),
      transcript: String(decoding: console.transcript, as: UTF8.self),
      errors: String(decoding: console.errors, as: UTF8.self))
  }

  /// The same arguments give the same tokens, in an object with the same keys.
  private func expectSame(_ path: String, _ run: [String], _ arguments: [String], line: UInt = #line) throws {
    let own = self.run(path, prompt + arguments)
    let tool = dustin(["run"] + run + prompt + arguments)
    XCTAssertEqual(own.status, 0, own.errors, line: line)
    XCTAssertEqual(tool.status, 0, tool.errors, line: line)
    let (a, b) = (try json(own.output), try json(tool.output))
    XCTAssertEqual(a.tokens, b.tokens, "\(arguments)", line: line)
    XCTAssertEqual(a["text"]?.stringValue, b["text"]?.stringValue, line: line)
    XCTAssertEqual(a.keys, b.keys, line: line)
    for key in a.keys { XCTAssertEqual(a[key]?.keys, b[key]?.keys, key, line: line) }
    XCTAssertFalse(a.tokens.isEmpty, line: line)
  }

  func testTokensAreThoseOfTheTool() throws {
    let app = compile(pair)
    try expectSame(app, pair, ["-n", "24"])
    try expectSame(app, pair, ["-n", "24", "--temp", "0.8", "--top-p", "0.9", "--seed", "7"])
    try expectSame(app, pair, ["-n", "8", "--draft-max", "0"])
    let text = run(app, ["-p", garden, "-n", "16", "-q"])
    XCTAssertEqual(text.output, dustin(["run"] + pair + ["-p", garden, "-n", "16", "-q"]).output)
    let full = run(app, ["-p", garden, "-c", "24", "-q"])
    XCTAssertEqual(full.status, 0, full.errors)
    let long = run(app, ["-p", garden, "-c", "40000"])
    XCTAssertEqual(long.status, 1)
    XCTAssertTrue(long.errors.contains("a context of 40000 tokens is outside 1 … 34816"), long.errors)
  }

  func testPresetsAreCompiledInAndMayBeExact() throws {
    let preset = ["--preset", "dustin{budget=64}"]
    let app = compile(pair + preset)
    try expectSame(app, pair + preset, ["-n", "24"])
    try expectSame(app, pair + preset, ["-n", "24", "--exact"])
    let info = try json(run(app, ["--info", "--json"]).output)
    XCTAssertTrue(try XCTUnwrap(info["preset"]?["text"]?.stringValue).hasPrefix("dustin{budget=64"))
    XCTAssertEqual(info["models"]?.arrayValue?.map { $0["role"]?.stringValue }, ["target", "draft"])
    XCTAssertTrue(run(app, ["--info"]).output.contains("budget 64"))
    let without = run(app, ["-p", "x", "--exact", "--draft-max", "0"])
    XCTAssertEqual(without.status, 64)
    XCTAssertTrue(without.errors.contains("--exact with a preset needs a draft"), without.errors)
  }

  func testPassesStandWhereAPresetDoes() throws {
    let passes = "sparsify-verify{signals=[bounds] sets=layer granularity=16 budget=64}"
    let app = compile(["-m", target, "--passes", passes])
    let info = try json(run(app, ["--info", "--json"]).output)
    XCTAssertEqual(
      info["models"]?.arrayValue?.first?["passes"]?.stringValue,
      "target,numerics{mode=fast},\(passes),choose-kv-layout,kernels")
    XCTAssertEqual(run(app, prompt + ["-n", "8"]).status, 0)
    let wrong = dustin([
      "compile", "-m", target, "--runner", runner, "--passes", "sparsfy-verify", "-o", "\(folder.path)/x",
    ])
    XCTAssertEqual(wrong.status, 1)
    XCTAssertTrue(wrong.errors.contains("did you mean 'sparsify-verify'?"), wrong.errors)
  }

  func testEveryLevelThatRunsHereGivesTheToolsTokens() throws {
    let ids = try folder.write("ids.json", "[1, 2, 3, 5, 8]")
    let app = compile(["-m", Self.small, "--cpu", "all"])
    let arguments = ["--prompt-ids", ids, "-n", "12", "--ignore-eos", "--json"]
    for level in CPULevel.runnable {
      let own = run(app, arguments + ["--cpu", level.rawValue])
      XCTAssertEqual(own.status, 0, own.errors)
      let tool = dustin(["run", "-m", Self.small, "--cpu", level.rawValue] + arguments)
      XCTAssertEqual(try json(own.output).tokens, try json(tool.output).tokens, level.rawValue)
    }
    XCTAssertTrue(run(app, ["--info"]).output.contains("avx512-bf16, x86-64-v4, x86-64-v3, x86-64-v2"))
    let two = compile(["-m", Self.small, "--cpu", "x86-64-v2"], to: "v2")
    let refused = run(two, arguments + ["--cpu", "x86-64-v3"])
    XCTAssertEqual(refused.status, 1)
    XCTAssertTrue(refused.errors.contains("'v2' has no code for 'x86-64-v3', only for x86-64-v2"), refused.errors)
    XCTAssertEqual(run(two, ["-p", "x", "--cpu", "x86-64-v9"]).status, 64)
  }

  func testTheSameModelGivesTheSameBytes() throws {
    let first = try readFile(compile(["-m", Self.small], to: "first"))
    XCTAssertTrue(try readFile(compile(["-m", Self.small], to: "second")) == first)
  }

  // MARK: Damage

  func testDamagedFilesGetOneMessage() throws {
    let bytes = try readFile(compile(["-m", Self.small]))
    let table = try ApplicationFile(path: "\(folder.path)/app").table
    let ids = try folder.write("ids.json", "[1, 2, 3]")
    func expect(_ changed: [UInt8], _ message: String, _ arguments: [String], line: UInt = #line) throws {
      let path = "\(folder.path)/damaged"
      try writeFileAtomically(path, bytes: changed)
      let outcome = run(path, arguments)
      XCTAssertEqual(outcome.status, 1, message, line: line)
      XCTAssertTrue(outcome.errors.contains(message), outcome.errors, line: line)
      XCTAssertEqual(outcome.errors.components(separatedBy: "error:").count, 2, outcome.errors, line: line)
      XCTAssertEqual(outcome.output, "", line: line)
    }
    let arguments = ["--prompt-ids", ids, "-n", "1"]
    for count in stride(from: 1, to: bytes.count, by: 4099) {
      try expect(Array(bytes[..<count]), "is damaged", arguments)
    }
    try expect(bytes + [0], "is damaged", arguments)
    for section in table.sections where section.isChecked {
      for place in [section.offset, section.offset + section.count / 2, section.offset + section.count - 1] {
        var changed = bytes
        changed[place] ^= 0x10
        try expect(changed, "its section '\(section.name)' was changed", arguments)
      }
    }
    // Every byte of the table of contents and of the trailer.
    let end = table.sections.map { $0.offset + $0.count }.max() ?? 0
    for place in stride(from: end, to: bytes.count, by: 7) {
      var changed = bytes
      changed[place] ^= 0x01
      let path = "\(folder.path)/damaged"
      try writeFileAtomically(path, bytes: changed)
      XCTAssertEqual(run(path, arguments).status, 1, "\(place)")
    }
    // Weights are not read before they are needed: --check reads them.
    let weights = try XCTUnwrap(table.sections.first { $0.name == "target/weights" })
    var changed = bytes
    changed[weights.offset + weights.count / 2] ^= 0x10
    try expect(changed, "its section 'target/weights' was changed", ["--check"])
    XCTAssertEqual(run("\(folder.path)/app", ["--check"]).status, 0)
    // Neither does a program read itself.
    changed = bytes
    changed[try readFile(runner).count - 1] ^= 0x10
    try expect(changed, "its section 'runner' was changed", ["--check"])
  }

  /// What the tool never writes: a section that should be here is said to lie elsewhere, far from anything.
  func testSectionsThatLieElsewhereAreNotRead() throws {
    var table = ContentTable()
    for (offset, count) in [(1 << 40, 1 << 40), (.max, .max), (-4096, 8), (0, 0)] {
      table.sections = [.init(name: "info", offset: offset, count: count, checksum: 0, isElsewhere: true)]
      try table.bytes(at: 0).withUnsafeBytes { bytes in
        let file = try ApplicationFile(bytes, name: "app")
        XCTAssertThrowsError(try file.info()) {
          XCTAssertTrue("\($0)".contains("'app' is damaged: its section 'info' should lie in it"), "\($0)")
        }
      }
    }
  }

  func testSizesOfNothingAreRefused() throws {
    let info = try ApplicationFile(path: compile(["-m", Self.small])).info()
    XCTAssertEqual(try ApplicationInfo(Array(info.json.text.utf8), name: "app").json.text, info.json.text)
    for key in ["context", "vocabulary"] {
      for size in [0, -1, Int.min] {
        var changed = info
        if key == "context" { changed.models[0].contextSize = size } else { changed.models[0].vocabularySize = size }
        XCTAssertThrowsError(try ApplicationInfo(Array(changed.json.text.utf8), name: "app")) {
          XCTAssertTrue("\($0)".contains("the info of 'app' lacks a valid '\(key)'"), "\($0)")
        }
      }
    }
  }

  func testTheLevelOfAMachine() throws {
    let file = try ApplicationFile(path: compile(["-m", Self.small, "--cpu", "x86-64-v4,x86-64-v3"]))
    let info = try file.info()
    func message(_ wanted: CPULevel?, _ runnable: [CPULevel]) -> String {
      do { return "\(try file.level(info, wanted: wanted, runnable: runnable))" } catch { return "\(error)" }
    }
    XCTAssertEqual(message(nil, [.avx512BF16, .v4, .v3, .v2]), "x86-64-v4")
    XCTAssertEqual(message(nil, [.v3, .v2]), "x86-64-v3")
    XCTAssertEqual(message(.v3, [.v4, .v3, .v2]), "x86-64-v3")
    let old = message(nil, [.v2])
    XCTAssertTrue(old.contains("has code for x86-64-v4, x86-64-v3, and this CPU is 'x86-64-v2'"), old)
    XCTAssertTrue(old.contains("compile it with '--cpu x86-64-v2'"), old)
    let none = message(nil, [])
    XCTAssertTrue(none.contains("and this CPU is less than 'x86-64-v2'"), none)
    XCTAssertTrue(message(.v3, []).contains("cannot run code for 'x86-64-v3'; its best is less than 'x86-64-v2'"))
    XCTAssertTrue(message(.v2, [.v2]).contains("has no code for 'x86-64-v2', only for x86-64-v4, x86-64-v3"))
  }

  /// Said when it is compiled, and again where a text is asked for.
  func testATokenizerThatCannotBeRead() throws {
    let model = "\(folder.path)/model"
    try FileManager.default.copyItem(atPath: Self.small, toPath: model)
    try writeFileAtomically("\(model)/tokenizer.json", bytes: Array("{}".utf8))
    let ids = try folder.write("ids.json", "[1, 2, 3]")
    let arguments = ["--prompt-ids", ids, "-n", "2"]
    let warning = try XCTUnwrap(
      dustin(["run", "-m", model] + arguments).errors.split(separator: "\n").first { $0.hasPrefix("warning: ") })
    let app = "\(folder.path)/app"
    let compiled = dustin(["compile", "-m", model, "--runner", runner, "-o", app])
    XCTAssertEqual(compiled.status, 0, compiled.errors)
    XCTAssertTrue(compiled.errors.contains(warning + "\n"), compiled.errors)
    let own = run(app, arguments)
    XCTAssertEqual(own.status, 0, own.errors)
    XCTAssertTrue(own.errors.contains(warning + "\n"), own.errors)
    let text = run(app, ["-p", "hello"])
    XCTAssertEqual(text.status, 1)
    let reason = try XCTUnwrap(warning.components(separatedBy: "no text: ").last)
    XCTAssertEqual(text.errors, "error: \(reason)\n")
    XCTAssertTrue(dustin(["run", "-m", model, "-p", "hello"]).errors.contains("error: \(reason)\n"))
  }

  func testAModelWithoutATokenizer() throws {
    let app = "\(folder.path)/app"
    let compiled = dustin(["compile", "-m", Self.small, "--runner", runner, "-o", app])
    let note = "note: '\(Self.small)' has no tokenizer.json: what is written takes token ids only, by --prompt-ids"
    XCTAssertTrue(compiled.errors.contains(note), compiled.errors)
    XCTAssertFalse(dustin(["compile", "-m", Self.small, "--runner", runner, "-o", app, "-q"]).errors.contains("note"))
    XCTAssertTrue(run(app, ["-p", "hello"]).errors.contains("it takes token ids only"))
  }

  func testTheSizesOfBothFiles() throws {
    let app = "\(folder.path)/app"
    let arguments = ["compile", "-m", Self.small, "--runner", runner, "-o", app]
    func sizes(_ more: [String]) throws -> (app: Int, weights: Int) {
      let object = try json(dustin(arguments + ["--json"] + more).output)
      return (try XCTUnwrap(object["bytes"]?.intValue), try XCTUnwrap(object["weights_file_bytes"]?.intValue))
    }
    let whole = try sizes([])
    XCTAssertEqual(whole.app, try readFile(app).count)
    XCTAssertEqual(whole.weights, 0)
    let two = try sizes(["--weights", "external"])
    XCTAssertEqual(two.app, try readFile(app).count)
    XCTAssertEqual(two.weights, try readFile(app + ".weights").count)
    XCTAssertGreaterThan(two.weights, 0)
    let text = dustin(arguments + ["--weights", "external"]).errors
    func megabytes(_ count: Int) -> String { "\(fixed(Double(count) / 1e6, 1)) MB" }
    XCTAssertTrue(
      text.contains("'\(app)': \(megabytes(two.app)) and '\(app).weights': \(megabytes(two.weights)), of it"), text)
  }

  func testFilesThatAreNoApplications() throws {
    let text = run(try folder.write("text", "hello"), ["--info"])
    XCTAssertTrue(text.errors.contains("'text' is damaged"), text.errors)
    let missing = run("\(folder.path)/missing", ["--info"])
    XCTAssertTrue(missing.errors.contains("cannot open '\(folder.path)/missing'"), missing.errors)
    // A program that nothing was appended to.
    let tool = "/proc/self/exe"
    let bare = run(tool, ["--info"])
    XCTAssertEqual(bare.status, 1)
    XCTAssertTrue(bare.errors.contains("holds no model: it is the runner"), bare.errors)
  }

  func testExternalWeightsAreFoundAndChecked() throws {
    let ids = try folder.write("ids.json", "[1, 2, 3]")
    let arguments = ["--prompt-ids", ids, "-n", "6", "--ignore-eos", "--json"]
    let app = compile(["-m", Self.small, "--weights", "external"])
    let whole = compile(["-m", Self.small], to: "whole")
    XCTAssertEqual(try json(run(app, arguments).output).tokens, try json(run(whole, arguments).output).tokens)
    XCTAssertLessThan(try readFile(app).count, try readFile(whole).count)
    XCTAssertTrue(run(app, ["--info"]).output.contains("packed in 'app.weights'"))
    XCTAssertEqual(run(app, ["--check"]).status, 0)

    let files = FileManager.default
    try files.moveItem(atPath: app + ".weights", toPath: "\(folder.path)/moved")
    let missing = run(app, arguments)
    XCTAssertEqual(missing.status, 1)
    XCTAssertTrue(missing.errors.contains("--weights FILE names another place"), missing.errors)
    XCTAssertEqual(
      try json(run(app, arguments + ["--weights", "\(folder.path)/moved"]).output).tokens,
      try json(run(whole, arguments).output).tokens)
    XCTAssertTrue(
      run(whole, arguments + ["--weights", "\(folder.path)/moved"]).errors.contains("it takes no --weights"))

    let other = compile(["-m", "\(root)/Tests/Fixtures/qwen2-tied", "--weights", "external"], to: "other")
    let wrong = run(app, arguments + ["--weights", other + ".weights"])
    XCTAssertEqual(wrong.status, 1)
    XCTAssertTrue(wrong.errors.contains("are not those that 'app' was compiled with"), wrong.errors)
    let bytes = try readFile("\(folder.path)/moved")
    try writeFileAtomically("\(folder.path)/cut", bytes: Array(bytes.dropLast(5)))
    XCTAssertTrue(run(app, arguments + ["--weights", "\(folder.path)/cut"]).errors.contains("is damaged"))
  }

  // MARK: Writing

  /// The limit of a file's length stands for a full disk: the write fails half-way.
  func testAFullDiskLeavesNothing() throws {
    let tool = try ToolProcess.path()
    for more in [[], ["--weights", "external"]] as [[String]] {
      let out = try TemporaryFolder()
      let process = Process()
      process.executableURL = URL(fileURLWithPath: "/bin/sh")
      // Blocks of 512 bytes: 2 MB of 50.
      process.arguments =
        ["-c", "ulimit -f 4096; exec \"$@\"", "sh", tool, "compile", "-m", target, "--runner", runner]
        + ["-o", "\(out.path)/app"] + more
      let errors = Pipe()
      process.standardError = errors
      try process.run()
      let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
      process.waitUntilExit()
      XCTAssertEqual(process.terminationStatus, 1, text)
      XCTAssertTrue(text.contains("File too large"), text)
      XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: out.path), [])
    }
  }

  func testAFailureLeavesTheOldFile() throws {
    let old = try folder.write("app", "old")
    let outcome = dustin(["compile", "-m", "/nowhere", "--runner", runner, "-o", old])
    XCTAssertEqual(outcome.status, 1)
    XCTAssertEqual(try readFile(old), Array("old".utf8))
    XCTAssertEqual(dustin(["compile", "-m", Self.small, "--runner", runner, "-o", "/nowhere/app"]).status, 1)
  }

  func testExecutablesCanBeExecuted() throws {
    let old = try folder.write("app", "old")
    let app = compile(["-m", Self.small])
    XCTAssertEqual(app, old)
    XCTAssertTrue(FileManager.default.isExecutableFile(atPath: app))
    XCTAssertTrue(FileManager.default.isExecutableFile(atPath: compile(["-m", Self.small], to: "new")))
  }

  func testRunnersThatAreNone() throws {
    func refused(_ path: String, line: UInt = #line) -> String {
      let outcome = dustin(["compile", "-m", Self.small, "--runner", path, "-o", "\(folder.path)/x"])
      XCTAssertEqual(outcome.status, 1, line: line)
      XCTAssertFalse(fileExists("\(folder.path)/x"), line: line)
      return outcome.errors
    }
    XCTAssertTrue(refused("/nowhere").contains("cannot open '/nowhere'"))
    XCTAssertTrue(refused(try folder.write("text", "hello")).contains("is no runner"))
    XCTAssertTrue(refused(try folder.write("old", "DUSTIN RUNNER 0.0, format 0")).contains("another version of dustin"))
    XCTAssertTrue(refused(try folder.write("old", "DUSTIN RUNNER 0.0, format 0")).contains("make build"))
    func file(_ name: String, _ bytes: [UInt8]) throws -> String {
      try writeFileAtomically("\(folder.path)/\(name)", bytes: bytes)
      return "\(folder.path)/\(name)"
    }
    let mark = Array(runnerMark.utf8)
    XCTAssertTrue(refused(try file("marked", mark)).contains("'\(folder.path)/marked' is no program of Linux"))
    let object = try file("object", Self.elf(type: 1) + mark)
    XCTAssertTrue(refused(object).contains("is no program of Linux"))
    XCTAssertTrue(refused(compile(["-m", Self.small])).contains("is an executable that holds a model already"))
    let bundle = ["compile", "-m", Self.small, "--emit", "bundle", "-o", "\(folder.path)/x", "--runner"]
    XCTAssertTrue(dustin(bundle + [runner]).errors.contains("is no object file of Linux"))
    XCTAssertFalse(dustin(bundle + [object]).errors.contains("is no object file of Linux"))
    // This process is an ELF file that needs libraries.
    let dynamic = "\(folder.path)/dynamic"
    try writeFileAtomically(dynamic, bytes: readFile("/proc/self/exe", limit: 1 << 30) + Array(runnerMark.utf8))
    XCTAssertTrue(refused(dynamic).contains("is linked dynamically"))
  }

  /// The program's mark, the bundle's, and the versions that both stand for.
  func testTheRunnersMarkIsThatOfTheVersions() throws {
    XCTAssertEqual(
      runnerMark, "DUSTIN RUNNER \(dustinVersion), format \(ContentTable.version), runtime \(DUSTIN_ABI_VERSION).")
    let bundle = String(decoding: try readFile("\(root)/Sources/CBundle/bundle.c"), as: UTF8.self)
    XCTAssertTrue(bundle.contains("{ return \"\(runnerMark)\"; }"), bundle)
  }

  func testWrongArguments() throws {
    func expect(_ arguments: [String], _ message: String, line: UInt = #line) {
      let outcome = dustin(["compile", "-m", Self.small, "-o", "\(folder.path)/x"] + arguments)
      XCTAssertEqual(outcome.status, 64, outcome.errors, line: line)
      XCTAssertTrue(outcome.errors.contains(message), outcome.errors, line: line)
    }
    expect(["--cpu", "x86-64-v5"], "There is no CPU level 'x86-64-v5'")
    expect(["--cpu", "native,"], "There is no CPU level ''")
    expect(["--emit", "asm", "--cpu", "all"], "is made for one CPU level")
    expect(["--preset", "quest", "--passes", "cse"], "not both")
    expect(["--draft-passes", "cse"], "--draft-passes needs a draft")
    expect(["--emit", "ir", "--weights", "external"], "--weights is for executables")
    expect(["--role", "draft"], "--role draft needs a draft")
    expect(["-c", "0"], "-c must be 1 or more")
  }

  // MARK: The other things to emit

  func testTextsAndObjectsOfOneModel() throws {
    func emitted(_ kind: String, _ more: [String] = []) -> String {
      let outcome = dustin(["compile", "-m", Self.small, "--emit", kind, "-o", "-"] + more)
      XCTAssertEqual(outcome.status, 0, outcome.errors)
      return outcome.output
    }
    let module = emitted("ir")
    XCTAssertTrue(module.hasPrefix("dustin 1\nstage planned"), String(module.prefix(40)))
    XCTAssertEqual(dustin(["check", try folder.write("m.dust", module)]).status, 0)
    XCTAssertTrue(emitted("plan", ["--cpu", "x86-64-v3"]).hasPrefix("plan for x86-64-v3\n"))
    XCTAssertTrue(emitted("llvm").contains("@dustin_entry"))
    XCTAssertTrue(emitted("asm").contains("dustin_entry:"))
    let path = "\(folder.path)/model.o"
    XCTAssertEqual(dustin(["compile", "-m", Self.small, "--emit", "object", "-o", path]).status, 0)
    let object = try readFile(path)
    XCTAssertEqual(object.prefix(4), [0x7F, 0x45, 0x4C, 0x46])
    XCTAssertEqual(dustin(["compile", "-m", Self.small, "--emit", "object", "-o", "-"]).status, 64)
    let draftText = dustin(["compile"] + pair + ["--role", "draft", "--emit", "ir", "-o", "-"]).output
    XCTAssertTrue(draftText.contains("func @draft("), String(draftText.prefix(100)))
  }
}

/// What a bundle is made of.
final class BundleTests: XCTestCase {
  func testTheHeaderIsTheOneThatTheRuntimeWasCompiledWith() throws {
    XCTAssertEqual(PackageResources.dustin_h, try readFile("\(root)/Sources/CBundle/include/dustin.h"))
  }

  func testObjectsThatAreNoneAreRefused() throws {
    func refused(_ bytes: [UInt8]) -> String {
      do {
        _ = try RuntimeObject(bytes, path: "runtime.o").adding([1, 2, 3])
        return "no error"
      } catch { return "\(error)" }
    }
    XCTAssertTrue(refused([]).contains("'runtime.o' is no object file"))
    XCTAssertTrue(refused(Array("hello".utf8)).contains("is no object file"))
    XCTAssertTrue(refused(try readFile("/proc/self/exe", limit: 1 << 30)).contains("is no object file"))
    // An object of another program, whole and damaged.
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/model.o"
    let small = ["compile", "-m", "\(root)/Tests/Fixtures/llama"]
    XCTAssertEqual(dustin(small + ["--emit", "object", "-o", path]).status, 0)
    let object = try readFile(path)
    XCTAssertTrue(refused(object).contains("'runtime.o' does not ask for a model"), refused(object))
    let bundle = dustin(small + ["--emit", "bundle", "--runner", "/nowhere", "-o", "\(folder.path)/bundle"])
    XCTAssertEqual(bundle.status, 1)
    XCTAssertFalse(fileExists("\(folder.path)/bundle"))
  }

  /// Sections: nothing, constants, symbols, names of symbols, names of sections.
  private func object() -> [UInt8] {
    let names = Array("\0.rodata\0".utf8)
    let symbolNames = Array("\0dustin_payload_start\0dustin_payload_end\0".utf8)
    var file = ByteWriter()
    for byte in [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1] + [UInt8](repeating: 0, count: 9) { file.add(byte) }
    // Type, machine, version, entry, program headers, sections, flags, sizes, sections' count, the names' section.
    for half in [1, 62, 1, 0] as [UInt16] { file.add(half) }
    for word in [0, 0, 256] as [UInt64] { file.add(word) }
    for half in [0, 0, 64, 0, 0, 64, 5, 4] as [UInt16] { file.add(half) }
    // 64: symbols.
    for name in [0, 1, 22] as [UInt32] {
      file.add(name)
      for half in [0x10, 0] as [UInt16] { file.add(half) }
      for word in [0, 0] as [UInt64] { file.add(word) }
    }
    // 136: names, up to 256.
    for byte in symbolNames + names { file.add(byte) }
    while file.bytes.count < 256 { file.add(0 as UInt8) }
    for (name, type, offset, size, link) in [
      (0, 0, 0, 0, 0), (1, 1, 136, 0, 0), (0, 2, 64, 72, 3), (0, 3, 136, symbolNames.count, 0),
      (0, 3, 136 + symbolNames.count, names.count, 0),
    ] as [(UInt32, UInt32, Int, Int, UInt32)] {
      file.add(name)
      file.add(type)
      for word in [0, 0, offset, size] { file.add(UInt64(word)) }
      for half in [link, 0] { file.add(half) }
      for word in [1, 24] { file.add(UInt64(word)) }
    }
    return file.bytes
  }

  func testDamagedObjectsAreRefusedOrKeepTheirShape() throws {
    func made(_ bytes: [UInt8]) -> [UInt8]? { try? RuntimeObject(bytes, path: "runtime.o").adding([1, 2, 3]) }
    let object = object()
    let whole = try XCTUnwrap(made(object))
    XCTAssertEqual(whole[4096..<4099], [1, 2, 3])
    XCTAssertEqual(whole.count, 4104 + 6 * 64)
    for count in 0..<object.count { XCTAssertNil(made(Array(object[..<count])), "\(count)") }
    // Each byte, and each number of eight bytes: what is taken all the same has the payload where it was.
    var refused = 0
    for place in 0..<object.count {
      for (width, value) in [(1, 0xFF), (1, 0x08), (8, 0xFF)] as [(Int, UInt8)] {
        var changed = object
        for byte in place..<min(place + width, object.count) { changed[byte] = value }
        if let taken = made(changed) {
          XCTAssertEqual(taken[4096..<4099], [1, 2, 3], "\(place)")
        } else {
          refused += 1
        }
      }
    }
    XCTAssertGreaterThan(refused, 300)
    // A table of names that holds nothing, at an offset to which nothing can be added.
    for section in [3, 4] {
      var changed = object
      let header = 256 + section * 64
      changed[header + 4] = 8
      for byte in 24..<32 { changed[header + byte] = byte == 31 ? 0x7F : 0xFF }
      XCTAssertNil(made(changed))
      XCTAssertThrowsError(try RuntimeObject(changed, path: "runtime.o").adding([1])) {
        XCTAssertTrue("\($0)".contains("has names that lie in no table of names"), "\($0)")
      }
    }
  }

  func testOnlyAnEmptyDirectoryIsReplaced() throws {
    let folder = try TemporaryFolder()
    XCTAssertNoThrow(try Bundle.checkPlace("\(folder.path)/new"))
    XCTAssertNoThrow(try Bundle.checkPlace(folder.path))
    XCTAssertTrue(fileExists(folder.path))
    let file = try folder.write("file", "")
    for (path, what) in [(folder.path, "a directory with files in it"), (file, "a file")] {
      XCTAssertThrowsError(try Bundle.checkPlace(path)) {
        XCTAssertTrue("\($0)".contains("'\(path)': \(what) has this name already"), "\($0)")
        XCTAssertTrue("\($0)".contains("remove '\(path)', or give the name of a new or empty directory"), "\($0)")
      }
    }
    XCTAssertTrue(fileExists(file))
  }

  func testAProgramInCGivesTheToolsText() throws {
    let runtime = "\(root)/.build/runner/dustin-runtime.o"
    guard fileExists(runtime) else { throw XCTSkip("there is no '\(runtime)': 'make runner' makes it") }
    let folder = try TemporaryFolder()
    let bundle = "\(folder.path)/bundle"
    let pair = ["-m", target, "-md", draft]
    let arguments = ["compile"] + pair + ["--emit", "bundle", "--runner", runtime, "-o", bundle, "-q"]
    let compiled = dustin(arguments)
    XCTAssertEqual(compiled.status, 0, compiled.errors)
    XCTAssertTrue(dustin(arguments).errors.contains("a directory with files in it has this name already"))
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", "make -s && ./app The garden"]
    process.currentDirectoryURL = URL(fileURLWithPath: bundle)
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    XCTAssertEqual(process.terminationStatus, 0, text)
    XCTAssertEqual(text, dustin(["run"] + pair + ["-p", "The garden", "-n", "64", "-q"]).output)
  }
}

/// The runner as `make build` links it.
final class StandaloneTests: XCTestCase {
  /// Without a path, a home, a library, or anything else in its surroundings.
  func testAnExecutableRunsByItself() throws {
    let runner = "\(root)/.build/runner/dustin-runner-static"
    guard fileExists(runner) else { throw XCTSkip("there is no '\(runner)': 'make runner' makes it") }
    let folder = try TemporaryFolder()
    let app = "\(folder.path)/app"
    let pair = ["-m", target, "-md", draft]
    let compiled = dustin(["compile"] + pair + ["--runner", runner, "-o", app, "-q"])
    XCTAssertEqual(compiled.status, 0, compiled.errors)
    let arguments = ["-p", garden, "-n", "16", "--json"]
    let process = Process()
    process.executableURL = URL(fileURLWithPath: app)
    process.arguments = arguments
    process.environment = [:]
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    XCTAssertEqual(process.terminationStatus, 0)
    XCTAssertEqual(try json(text).tokens, try json(dustin(["run"] + pair + arguments).output).tokens)
  }
}
