import DustinDriver
import DustinIR
import DustinPasses
import DustinSupport
import DustinTesting
import XCTest

/// Gives the first result of every function another element type than its op may have.
private struct BreakTypes: Pass {
  let name = "break-types"
  let summary = "Makes the module invalid."

  func run(on module: Module, context: PassContext) throws {
    for function in module.functions {
      guard let operation = function.body.last else { continue }
      operation.results[0].type = operation.results[0].type.with(element: .i32)
    }
    context.noteChange()
  }
}

private struct Refuse: Pass {
  let name = "refuse"
  let summary = "Fails when the module holds a silu."
  @PassOption("why", "a text for the message") var why = ""

  func run(on module: Module, context: PassContext) throws {
    for function in module.functions where function.body.contains(where: { $0.name == "silu" }) {
      throw DiagnosticError("refused", "refuse: @\(function.name) holds a silu\(why)")
    }
  }
}

/// An error of its own, as a pass from outside may throw it.
private struct Explode: Pass {
  struct Boom: Error { let reason: Int }
  let name = "explode"
  let summary = "Throws what is no diagnostic."

  func run(on module: Module, context: PassContext) throws { throw Boom(reason: 7) }
}

private final class Log: Instrumentation {
  var lines: [String] = []

  func willRun(_ pass: any Pass, at index: Int, on module: Module) { lines.append("will \(index) \(pass.name)") }
  func didRun(_ pass: any Pass, at index: Int, on module: Module, outcome: PassOutcome) {
    lines.append("did \(index) \(pass.name) \(outcome.isChanged)")
  }
  func didFail(_ pass: any Pass, at index: Int, on module: Module, error: DiagnosticError) {
    lines.append("failed \(index) \(pass.name)")
  }
}

final class PassManagerTests: XCTestCase {
  private let registry: PassRegistry = {
    var registry = PassRegistry.standard
    registry.register(BreakTypes())
    registry.register(Refuse())
    registry.register(Explode())
    return registry
  }()
  private let text = """
    dustin 1
    stage tensor

    dim T <= 8

    func @f(%x: f32[T, 64]) -> (f32[T, 64]) {
      %same = cast %x : f32[T, 64]
      %y = silu %same : f32[T, 64]
      %z = silu %same : f32[T, 64]
      %s = add %y, %z : f32[T, 64]
      return %s
    }

    """

  private func run(_ pipeline: String, _ manager: PassManager) throws -> (module: Module, isChanged: Bool) {
    let module = try readModule(text)
    let isChanged = try manager.run(try PassPipeline.parse(pipeline, registry: registry), on: module)
    return (module, isChanged)
  }

  func testSaysWhetherAnythingChanged() throws {
    XCTAssertTrue(try run("canonicalize", PassManager()).isChanged)
    XCTAssertFalse(try run("dce", PassManager()).isChanged)
    XCTAssertFalse(try run("", PassManager()).isChanged)
  }

  func testPassLimit() throws {
    var manager = PassManager()
    let log = Log()
    manager.instrumentations = [log]
    manager.passLimit = 2
    let module = try run("canonicalize,cse,break-types", manager).module
    XCTAssertEqual(
      log.lines, ["will 0 canonicalize", "did 0 canonicalize true", "will 1 cse", "did 1 cse true"])
    XCTAssertEqual(module.functions[0].body.map(\.name), ["silu", "add"])
    manager.passLimit = 0
    XCTAssertEqual(try run("canonicalize,cse", manager).module.text(), try readModule(text).text())
  }

  func testHooksInOrder() throws {
    var manager = PassManager()
    let log = Log()
    manager.instrumentations = [log]
    XCTAssertThrowsError(try run("canonicalize,dce,refuse,cse", manager))
    XCTAssertEqual(
      log.lines,
      [
        "will 0 canonicalize", "did 0 canonicalize true", "will 1 dce", "did 1 dce false", "will 2 refuse",
        "failed 2 refuse",
      ])
  }

  func testDumps() throws {
    var texts: [String] = []
    var manager = PassManager()
    func heads(_ dumps: PassDumps, _ pipeline: String) throws -> [String] {
      texts = []
      manager.instrumentations = [dumps]
      _ = try? run(pipeline, manager)
      return texts.map { String($0.prefix { $0 != "\n" }) }
    }
    let sink: (String) -> Void = { texts.append($0) }

    XCTAssertEqual(
      try heads(PassDumps(afterChange: true, sink: sink), "canonicalize,dce,cse"),
      ["// ---- after pass 1: canonicalize", "// ---- after pass 3: cse"])
    XCTAssertTrue(texts[0].contains("//      cast-to-same-type = 1\n"), texts[0])
    // A dump is a module that parses.
    XCTAssertEqual(try readModule(texts[1]).functions[0].body.map(\.name), ["silu", "add"])
    XCTAssertEqual(
      try heads(PassDumps(before: .named(["cse"]), after: .named(["dce"]), sink: sink), "canonicalize,dce,cse"),
      ["// ---- after pass 2: dce", "// ---- before pass 3: cse"])
    XCTAssertTrue(texts[0].contains("//      no change\n"))
    XCTAssertEqual(
      try heads(PassDumps(before: .all, after: .all, sink: sink), "cse,dce"),
      [
        "// ---- before pass 1: cse", "// ---- after pass 1: cse", "// ---- before pass 2: dce",
        "// ---- after pass 2: dce",
      ])
    XCTAssertEqual(
      try heads(PassDumps(afterFailure: true, sink: sink), "canonicalize,refuse"), ["// ---- failed in pass 2: refuse"])
    XCTAssertTrue(texts[0].contains("//      refuse: @f holds a silu\n"))
  }

  func testStatisticsAndTiming() throws {
    var manager = PassManager()
    let statistics = PassStatistics()
    let timing = PassTiming()
    manager.instrumentations = [statistics, timing]
    _ = try run("canonicalize,cse", manager)
    XCTAssertEqual(
      statistics.entries.map { "\($0.pass) \($0.name) \($0.value)" },
      ["canonicalize cast-to-same-type 1", "cse merged-ops 1"])
    XCTAssertEqual(
      statistics.report(), "             1 canonicalize: cast-to-same-type\n             1 cse: merged-ops\n")
    XCTAssertEqual(timing.entries.map(\.pass), ["canonicalize", "cse"])
    XCTAssertEqual(
      timing.report().split(separator: "\n").map { $0.split(separator: " ").last }, ["canonicalize", "cse", "total"])
  }

  func testVerifiesAfterTheLastPassAndAfterEach() throws {
    var manager = PassManager()
    let log = Log()
    manager.instrumentations = [log]
    XCTAssertThrowsError(try run("break-types", manager))
    XCTAssertEqual(log.lines.last, "failed 0 break-types")
    log.lines = []
    manager.verifyEach = true
    XCTAssertThrowsError(try run("break-types,drop{function=f}", manager))
    XCTAssertEqual(log.lines.last, "failed 0 break-types")
    // Without verify-each only the end counts, and there the culprit is gone.
    manager.verifyEach = false
    XCTAssertNoThrow(try run("break-types,drop{function=f}", manager))
  }

  func testVerifierErrorPointsIntoTheModuleAfterThePass() throws {
    var manager = PassManager()
    manager.verifyEach = true
    let found = diagnostics { _ = try run("canonicalize,break-types", manager) }
    XCTAssertEqual(found.first?.message, "the module is not valid after 'break-types'")
    let located = try XCTUnwrap(found.dropFirst().first { $0.range != nil })
    let range = try XCTUnwrap(located.range)
    XCTAssertEqual(range.buffer.name, "<after break-types>")
    let line = range.buffer.line(range.buffer.position(of: range.start).line)
    XCTAssertTrue(line.contains("add"), line)
  }

  /// The reproducer is a test file: run as one, it finds the error that the pipeline found.
  private func reproduce(_ pipeline: String, head: String) throws {
    var manager = PassManager()
    var reproducer = ""
    manager.reproducer = { reproducer = $0 }
    let original = diagnostics { _ = try run(pipeline, manager) }
    XCTAssertTrue(reproducer.hasPrefix(head + "\n"), reproducer)
    for diagnostic in original {
      XCTAssertTrue(reproducer.contains("//   error: \(diagnostic.message)\n") || diagnostic.range != nil)
    }
    let test = DustTest(commands: DustTest.commands(passes: registry), isBlessing: false)
    let again = diagnostics { _ = try test.run(SourceBuffer(name: "reproducer.dust", text: reproducer)) }
    XCTAssertEqual(again.count, original.count)
    for (a, b) in zip(again, original) { XCTAssertTrue(a.message.hasSuffix(": " + b.message), a.message) }
  }

  func testReproducerOfAPassThatThrows() throws {
    try reproduce("canonicalize,refuse,dce", head: "// RUN: opt -p 'refuse,dce' --verify-each")
    let words = #"refuse{why="it's so"},dce"#
    try reproduce(
      "canonicalize," + words, head: #"// RUN: opt -p 'refuse{why="it'"'"'s so"},dce' --verify-each"#)
    try reproduce("explode", head: "// RUN: opt -p 'explode' --verify-each")
  }

  /// The pass that breaks the module is the one to repeat, even where only the end would be verified.
  func testReproducerOfABrokenModule() throws {
    try reproduce("canonicalize,break-types,cse,dce", head: "// RUN: opt -p 'break-types,cse,dce' --verify-each")
  }

  func testPassesMayThrowAnything() {
    let found = diagnostics { _ = try run("explode", PassManager()) }
    XCTAssertEqual(found.map(\.id), ["pass-failed"])
    XCTAssertEqual(found.first?.message, "explode: Boom(reason: 7)")
  }

  /// A second pipeline counts on from the first one.
  func testPassesOfASecondPipeline() throws {
    var manager = PassManager()
    let log = Log()
    manager.instrumentations = [log]
    manager.passLimit = 3
    let module = try readModule(text)
    let parse = { (text: String) in try PassPipeline.parse(text, registry: self.registry) }
    try manager.run(try parse("canonicalize,cse"), on: module)
    try manager.run(try parse("dce,canonicalize"), on: module, first: 2)
    XCTAssertEqual(log.lines.filter { $0.hasPrefix("will") }, ["will 0 canonicalize", "will 1 cse", "will 2 dce"])
  }

  func testNoReproducerWithoutFailure() throws {
    var manager = PassManager()
    manager.reproducer = { XCTFail($0) }
    _ = try run("canonicalize,cse", manager)
  }
}
