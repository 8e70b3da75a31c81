import DustinIR
import DustinPasses
import DustinSupport
import DustinTesting
import XCTest

@testable import DustinDriver

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Passes from outside: filters, and a tool with passes of its own.
final class PluginTests: XCTestCase {
  private let module = """
    dustin 1
    stage tensor

    dim T <= 8

    func @verify(%x: f32[T, 64]) -> (f32[T, 64]) {fidelity = exact} {
      %y = silu %x : f32[T, 64]
      return %y
    }

    """

  // MARK: Filters

  func testAFilterIsAPass() {
    let same = dustin(["opt", "--pass-exec", "cat", "--print-ir-after-change"], input: module)
    XCTAssertEqual(same.status, 0, same.errors)
    XCTAssertEqual(same.output, module)
    XCTAssertEqual(same.errors, "", "a filter that changes nothing is no change")
    // Behind the passes of -p without a name, in their midst with one; several in order.
    let twice = dustin(
      ["opt", "-p", "one,canonicalize", "--pass-exec", "one=sed s/%y/%one/g", "--pass-exec", "sed s/%one/%two/g"],
      input: module)
    XCTAssertEqual(twice.output, module.replacingOccurrences(of: "%y", with: "%two"), twice.errors)
    let listed = dustin(["passes", "one", "--pass-exec", "one=sed s/%y/%one/g"])
    XCTAssertTrue(listed.output.contains("The filter 'sed s/%y/%one/g'."), listed.errors)
    XCTAssertTrue(dustin(["presets", "--pass-exec", "one=cat"]).output.contains("\none "))
  }

  /// One sentence for whatever a filter may do, with its place in the option.
  func testBrokenFilters() {
    expect("exit 3", "--pass-exec:1:1: error: the filter failed: exit status 3\n  exit 3\n  ^~~~~~")
    expect("no-such-command-here", "--pass-exec:1:1: error: the command was not found, or one that it runs")
    expect("kill -9 $$", "the filter was ended by signal 9")
    expect(":", "the filter printed nothing: it must print the whole module")
    expect("yes", "the filter printed more than 64 MiB, which no module has, and was ended")
    expect("  ", "the command of --pass-exec is empty")
    expect("one=exit 3", "", pipeline: "")
    expect("one=exit 3", "--pass-exec:1:5: error: the filter failed: exit status 3", pipeline: "one")
    // What it printed is a text like any other: errors stand at their lines.
    expect("cat; echo more", "<output of pass-exec>:10:1: error: expected 'dim', 'weight', 'constant' or 'func'")
    expect("sed s/silu/sillu/", "<output of pass-exec>:7:8: error: there is no op 'sillu'")
    expect("sed 7s/64/32/", "--pass-exec:1:1: error: what the filter printed is not a valid module")
    expect("head -c 60", "what the filter printed is not a valid module")
    expect("printf '\\377\\376\\000'", "what the filter printed is not a valid module")
    expect("cse=cat", "--pass-exec: there is a pass or pipeline 'cse' already: it is built in")
    // A filter that does not read, and one that closes its input early, are like any other.
    let silent = dustin(["opt", "--pass-exec", "exec <&-; printf %s '\(module)'"], input: module)
    XCTAssertEqual(silent.output, module, silent.errors)
  }

  /// A filter that waits for ever, with its output open or closed, and hears no request to end.
  func testAFilterThatIsNotDoneInItsTimeIsEnded() throws {
    let range = SourceRange(SourceBuffer(name: "--pass-exec", text: "x"), 0, 1)
    let folder = try TemporaryFolder()
    let fifo = "\(folder.path)/fifo"
    for first in ["", "exec >&-;"] {
      XCTAssertEqual(mkfifo(fifo, 0o600), 0)
      let ours = open(fifo, O_RDWR)
      let outcome = try Filter.run(
        "trap '' TERM; exec 3>\(fifo); \(first) sleep 3000 & wait", input: [], limit: 100, seconds: 0.2, at: range)
      XCTAssertEqual(outcome.end, .tooSlow)
      // It ends only when all that the filter started has.
      let reader = open(fifo, O_RDONLY | O_NONBLOCK)
      close(ours)
      _ = fcntl(reader, F_SETFL, 0)
      var byte: UInt8 = 0
      XCTAssertEqual(read(reader, &byte, 1), 0)
      close(reader)
      unlink(fifo)
    }
    let slow = dustin(["opt", "--pass-exec", "sleep 3000", "--pass-timeout", "1"], input: module)
    XCTAssertEqual(slow.status, 1)
    XCTAssertTrue(
      slow.errors.contains("--pass-exec:1:1: error: the filter was not done after 1 s and was ended"), slow.errors)
    XCTAssertTrue(slow.errors.contains("--pass-timeout SECONDS gives it more"), slow.errors)
    XCTAssertEqual(dustin(["opt", "--pass-exec", "cat", "--pass-timeout", "0"], input: module).output, module)
    let wrong = dustin(["opt", "--pass-exec", "cat", "--pass-timeout", "-1"], input: module)
    XCTAssertEqual(wrong.status, 64)
    XCTAssertTrue(wrong.errors.contains("--pass-timeout must be from 0 to 1000000, not -1"), wrong.errors)
  }

  func testFunctionsThatAFilterLeavesOutAreTold() {
    let two =
      module
      + module.split(separator: "\n", omittingEmptySubsequences: false).dropFirst(5)
      .joined(separator: "\n").replacingOccurrences(of: "@verify", with: "@other")
    XCTAssertEqual(dustin(["opt", "--pass-exec", "cat"], input: two).errors, "")
    let one = dustin(["opt", "--pass-exec", "head -n 9"], input: two)
    XCTAssertEqual(one.output, module, one.errors)
    XCTAssertEqual(one.errors, "note: pass-exec left out @other\n")
  }

  /// The filter and what it started wait longer than any test, and hear neither Ctrl-C nor a request to end.
  func testCtrlCEndsAFilter() throws {
    let folder = try TemporaryFolder()
    let file = try folder.write("m.dust", module)
    let ignore = "trap '' INT TERM; cat >&2; sleep 3000; sleep 3000"
    for command in [ignore, "exec >&-; \(ignore)", "cat >&2; sleep 3000"] {
      let tool = try ToolProcess(["opt", file, "--pass-exec", command])
      _ = tool.read(tool.errors, until: "return %y")
      tool.interrupt()
      XCTAssertEqual(tool.wait(), 130, command)
      // The filter has the same standard error: it ends only when all of the filter has.
      XCTAssertTrue(tool.rest(tool.errors).hasSuffix("interrupted\n"), command)
    }
  }

  private func expect(_ command: String, _ message: String, pipeline: String = "", line: UInt = #line) {
    let outcome = dustin(["opt", "-p", pipeline, "--pass-exec", command], input: module)
    if message.isEmpty { return XCTAssertEqual(outcome.status, 0, outcome.errors, line: line) }
    XCTAssertEqual(outcome.status, 1, line: line)
    XCTAssertEqual(outcome.output, "", line: line)
    XCTAssertTrue(outcome.errors.contains(message), outcome.errors, line: line)
  }

  /// Who runs the tests of others runs no programs of theirs.
  func testARunLineRunsNoPrograms() throws {
    let folder = try TemporaryFolder()
    for option in ["--pass-exec 'touch \(folder.path)/ran; cat'", "--load /nowhere.so"] {
      let test = try folder.write("test.dust", "// RUN: opt \(option)\n// CHECK: dustin 1\n\(module)")
      let outcome = dustin(["test", test])
      XCTAssertEqual(outcome.status, 1)
      XCTAssertTrue(outcome.errors.contains("--load and --pass-exec are for the command that reads this line"))
      XCTAssertThrowsError(try readFile("\(folder.path)/ran"))
    }
    let test = try folder.write("test.dust", "// RUN: opt -p one\n// CHECK: %one = silu %x\n\(module)")
    let outcome = dustin(["test", test, "--pass-exec", "one=sed s/%y/%one/g"])
    XCTAssertEqual(outcome.status, 0, outcome.errors)
  }

  func testAFilterWithoutANameIsForOpt() {
    let outcome = dustin(["run", "-m", target, "-p", "x", "--pass-exec", "cat"])
    XCTAssertEqual(outcome.status, 1)
    XCTAssertTrue(outcome.errors.contains("this filter needs a name by which --preset can call it"), outcome.errors)
  }

  /// The example in Python, from the command line to tokens.
  func testTheExampleInPython() throws {
    let filter = "pyramid=\(root)/examples/filter-in-python/pyramid.py 256"
    let outcome = dustin([
      "run", "-m", target, "-md", draft, "-f", "\(root)/examples/books/emma.txt", "--prompt-limit", "600", "-n", "8",
      "--json", "--pass-exec", filter, "--preset", "pyramid",
    ])
    XCTAssertEqual(outcome.status, 0, outcome.errors)
    XCTAssertEqual(try json(outcome.output).tokens.count, 8)
    let imported = dustin(["import", "-m", target]).output
    let text = dustin(["opt", "-p", "target,numerics{mode=fast},pyramid", "--pass-exec", filter], input: imported)
    XCTAssertEqual(text.status, 0, text.errors)
    // What its rule says of ten layers, and that the dense function stays.
    for (layer, size) in [384, 356, 328, 299, 271, 242, 214, 185, 157, 128].enumerated() {
      XCTAssertTrue(text.output.contains("dim W\(layer) = min(\(size), L)\n"), "layer \(layer)")
    }
    XCTAssertTrue(text.output.contains("func @dense("))
    XCTAssertTrue(text.output.contains("fidelity = approximate(\"pyramid\")"))
    let again = dustin(["opt", "-p", "pyramid", "--pass-exec", filter], input: text.output)
    XCTAssertEqual(again.status, 1)
    XCTAssertTrue(again.errors.contains("the filter failed: exit status 1"), again.errors)
  }

  // MARK: Libraries (examples/plugin-library builds some, right and wrong ones)

  func testALibraryThatIsNotThere() {
    let outcome = dustin(["passes", "--load", "/nowhere/libpass.so"])
    XCTAssertEqual(outcome.status, 1)
    XCTAssertEqual(
      outcome.errors, "error: the plug-in '/nowhere/libpass.so' cannot be opened: No such file or directory\n")
  }

  // MARK: A tool with passes of its own

  private struct Rename: Pass {
    let name = "rename"
    let summary = "Gives the first argument another name."
    @PassOption("to", "the name") var to = "z"

    func run(on module: Module, context: PassContext) {
      module.functions.first?.arguments.first?.name = to
      context.noteChange()
    }
  }

  private struct Windowed: Preset {
    let name = "windowed"
    let summary = "Recent positions only, by a pass of its own in front."
    let source = "this test"
    @PassOption("budget", "positions") var budget = 64

    var parts: PassRegistry { .sparsity.with([Rename.init]) }
    func pipeline(for role: PresetRole) -> String {
      role == .draft
        ? ""
        : "rename{to=ids},"
          + passText(
            "sparsify-verify",
            [("signals", [SparsifyVerify.Signal]()), ("budget", budget), ("sink", 1), ("recent", budget - 1)])
    }
  }

  private func tool(_ arguments: [String], input: String = "") -> Outcome {
    let console = Console(input: Array(input.utf8))
    let status = Dustin.run(
      arguments, passes: [Rename.init, Windowed.init],
      pipelines: [NamedPipeline("both", "Two passes.", "rename{to=first},cse")], console: console)
    return Outcome(
      status: status, output: String(decoding: console.output, as: UTF8.self),
      transcript: String(decoding: console.transcript, as: UTF8.self),
      errors: String(decoding: console.errors, as: UTF8.self))
  }

  func testPassesOfATool() throws {
    let renamed = tool(["opt", "-p", "rename{to=first}"], input: module)
    XCTAssertEqual(renamed.output, module.replacingOccurrences(of: "%x", with: "%first"), renamed.errors)
    XCTAssertEqual(tool(["opt", "-p", "both"], input: module).output, renamed.output)
    XCTAssertTrue(tool(["passes"]).output.contains("\nrename "))
    XCTAssertTrue(tool(["passes", "rename"]).output.contains("\n  from this tool\n"))
    XCTAssertTrue(tool(["pipelines"]).output.contains("both\n  Two passes."))
    XCTAssertTrue(tool(["presets"]).output.contains("\nwindowed "))
    XCTAssertTrue(tool(["presets", "windowed{budget=96}"]).output.contains("recent=95"))
    // They are this tool's alone.
    XCTAssertTrue(dustin(["passes", "rename"]).errors.contains("there is no pass 'rename'"))
    XCTAssertTrue(tool(["opt", "-p", "rename{two=1}"], input: module).errors.contains("'rename' has no option 'two'"))
  }

  func testAPresetOfAToolRuns() throws {
    let arguments = [
      "run", "-m", target, "-f", "\(root)/examples/books/emma.txt", "--prompt-limit", "300", "-n", "4", "--json",
      "--preset",
    ]
    let own = tool(arguments + ["windowed{budget=128}"])
    XCTAssertEqual(own.status, 0, own.errors)
    // The same set as the built-in preset of first and recent positions makes.
    let same = dustin(arguments + ["streaming-llm{budget=128 sink=1}"])
    XCTAssertEqual(try json(own.output).tokens, try json(same.output).tokens)
    XCTAssertEqual(try json(own.output)["verification"]?["budget"]?.intValue, 128)
    XCTAssertTrue(tool(arguments + ["windowd"]).errors.contains("did you mean 'windowed'?"))
  }

  func testANameThatIsTakenIsRefused() {
    let console = Console(input: [])
    XCTAssertEqual(Dustin.run(["passes"], passes: [Rename.init, Rename.init], console: console), 1)
    XCTAssertTrue(
      String(decoding: console.errors, as: UTF8.self).contains(
        "this tool: there is a pass or pipeline 'rename' already: 'this tool' has one"))
  }
}
