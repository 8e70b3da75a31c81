import ArgumentParser
import DustinIR
import DustinPasses
import DustinRunner
import DustinSupport
import DustinTesting
import XCTest

@testable import DustinDriver

/// Broken pipelines and options are refused with a sentence or do what they say; nothing traps. `make fuzz` tries more.
final class CommandFuzzTests: XCTestCase {
  /// Inputs of a test: a share of what `DUSTIN_FUZZ` asks for, or the usual number.
  private func count(_ usual: Int, share: Double) -> Int {
    let wanted = ProcessInfo.processInfo.environment["DUSTIN_FUZZ"].flatMap { Int($0) }
    return wanted.map { Int(Double($0) * share) } ?? usual
  }

  /// Two layers, so that whole pipelines take milliseconds.
  private static let decoder = """
    dustin 1
    stage tensor

    dim T <= 16
    dim L <= 256

    weight @embed : bf16[64, 32]
    weight @norm : bf16[32]
    weight @q : bf16[32, 32]
    weight @k : bf16[16, 32]
    weight @v : bf16[16, 32]
    weight @o : bf16[32, 32]
    constant @freqs : f32[4] = [1, 0.5, 0.25, 0.125]

    func @forward(%ids: i32[T], %pos: i32[T], %k0: f32[L, 2, 8] {role = cache}, %v0: f32[L, 2, 8] {role = cache}, %k1: f32[L, 2, 8] {role = cache}, %v1: f32[L, 2, 8] {role = cache}) -> (f32[T, 64], f32[L, 2, 8] {role = cache}, f32[L, 2, 8] {role = cache}, f32[L, 2, 8] {role = cache}, f32[L, 2, 8] {role = cache}) {fidelity = exact} {
      %x0 = embed %ids, weight(@embed) : f32[T, 32]
    \((0..<2).map(layer).joined(separator: "\n"))
      %logits = linear %x2, weight(@embed) : f32[T, 64]
      return %logits, %k0.1, %v0.1, %k1.1, %v1.1
    }

    """

  private static func layer(_ i: Int) -> String {
    """
      %n\(i) = rmsnorm %x\(i), weight(@norm) {eps = 1e-06} : f32[T, 32]
      %q\(i) = linear %n\(i), weight(@q) : f32[T, 32]
      %qh\(i) = reshape %q\(i) : f32[T, 4, 8]
      %kl\(i) = linear %n\(i), weight(@k) : f32[T, 16]
      %kh\(i) = reshape %kl\(i) : f32[T, 2, 8]
      %vl\(i) = linear %n\(i), weight(@v) : f32[T, 16]
      %vh\(i) = reshape %vl\(i) : f32[T, 2, 8]
      %qr\(i) = rope %qh\(i), positions(%pos), freqs(@freqs) : f32[T, 4, 8]
      %kr\(i) = rope %kh\(i), positions(%pos), freqs(@freqs) : f32[T, 2, 8]
      %k\(i).1, %v\(i).1 = append %kr\(i), %vh\(i), cache(%k\(i), %v\(i)) : f32[L, 2, 8], f32[L, 2, 8]
      %a\(i) = attend %qr\(i), cache(%k\(i).1, %v\(i).1) {scale = 0.25} : f32[T, 4, 8]
      %af\(i) = reshape %a\(i) : f32[T, 32]
      %o\(i) = linear %af\(i), weight(@o) : f32[T, 32]
      %x\(i + 1) = add %x\(i), %o\(i) : f32[T, 32]
    """
  }

  /// Pipelines as people write them: every pass with its options, and whole compilations with every preset.
  private static let pipelines: [String] = {
    let registry = PassRegistry.standard
    var texts = registry.pipelines.map(\.name) + registry.pipelines.map(\.text)
    for pass in registry.passes {
      let options = pass.options.map { "\($0.name)=\(PipelineParserWords.quoted($0.text.isEmpty ? "1" : $0.text))" }
      texts.append("\(pass.name){\(options.joined(separator: " "))}")
    }
    for role in ["target", "draft"] {
      for preset in PassRegistry.presets.map({ $0() }) {
        texts.append("\(role),numerics{mode=fast},\(preset.name){budget=64},choose-kv-layout,kernels")
        texts.append("\(role),numerics{mode=f32},\(preset.pipeline(for: .target)),kernels")
      }
      texts.append("\(role),numerics{mode=fast},dustin{look=0:1+1:all history=1:0.3 pool=3 budget=48 sink=2},kernels")
    }
    return texts
  }()

  func testPipelines() throws {
    let module = try ModuleParser.parseVerified(SourceBuffer(name: "decoder", text: Self.decoder))
    var mutator = TextMutator(Self.pipelines, seed: 20_260_103)
    var (parsed, run) = (0, 0)
    for round in 0..<count(1_500, share: 0.1) {
      let text = String(decoding: mutator.next(most: 2), as: UTF8.self)
      let pipeline: PassPipeline
      do {
        pipeline = try PassPipeline.parse(text, registry: .standard)
      } catch {
        let diagnostics = (error as? DiagnosticError)?.diagnostics ?? []
        XCTAssertFalse(diagnostics.isEmpty, "'\(text)' failed without a diagnostic")
        for diagnostic in diagnostics { XCTAssertNotNil(diagnostic.range, "'\(text)': \(diagnostic.message)") }
        continue
      }
      parsed += 1
      let printed = pipeline.description
      XCTAssertEqual(try PassPipeline.parse(printed, registry: .standard).description, printed, text)
      let copy = module.copy()
      var manager = PassManager()
      manager.verifyEach = true
      do {
        try manager.run(pipeline, on: copy)
      } catch {
        let diagnostics = (error as? DiagnosticError)?.diagnostics ?? []
        XCTAssertFalse(diagnostics.isEmpty, "'\(text)' failed without a diagnostic: \(error)")
        // A pass may refuse; what it makes must be a module.
        XCTAssertNotEqual(diagnostics.first?.id, "invalid-after-pass", "round \(round), '\(text)':\n\(error)")
        continue
      }
      run += 1
      let result = copy.text()
      XCTAssertEqual(try ModuleParser.parse(SourceBuffer(name: "again", text: result)).text(), result, text)
    }
    XCTAssertGreaterThan(parsed, run)
    XCTAssertGreaterThan(run, 30)
  }

  // MARK: Options

  /// Commands as people call them. Files are names that nothing has.
  private static let calls = [
    "opt - -p canonicalize,cse,dce --verify-each --stats --timing --diff --print-ir-after-all --print-ir-before=cse",
    "opt --compile-to=planned --role draft --numerics f32 --exact --pass-limit 3 --dump-length 100",
    "opt --emit plan --cpu x86-64-v3 --print-ir-after=dce --print-ir-after-change --print-ir-after-failure -p dce",
    "opt -p target,numerics{mode=fast} --compile-to tensor --preset dustin{budget=64} --sparsity nothing",
    "check -", "fmt -", "ops attend --markdown", "ops", "passes fuse-qkv", "passes --markdown", "pipelines target-fast",
    "presets dustin{budget=64}", "presets", "version", "--version", "--help", "help opt", "test --bless nothing.dust",
    "run -m nothing -md nothing -p text -f nothing -n 20 -c 128 -t 1 --temp 0.5 --seed 7 --draft-max 4 --json --preset x",
    "run -m nothing --prompts nothing --top-k 3 --top-p 0.5 --min-p 0.1 --numerics f32 --cpu native --exact --stop a",
    "import -m nothing -c 128 --max-rows 16", "selfcheck -m nothing -md nothing --numerics f32",
    "eval -m nothing -md nothing --report nothing --json", "bench -m nothing -md nothing --layer --runs 3",
    "calibrate -m nothing -md nothing -o nothing", "plugin-flags",
    "compile -m nothing -md nothing --preset dustin --cpu x86-64-v3 --cpu native --numerics f32 -o nothing",
    "explain -m nothing -md nothing --preset dustin --length 100 --runs 2 --no-times -o nothing",
  ]

  func testOptions() throws {
    let console = Console(input: Array(Self.decoder.utf8))
    let folder = try TemporaryFolder()
    var mutator = TextMutator(Self.calls, seed: 20_260_104)
    var (understood, refused) = (0, 0)
    for round in 0..<count(1_000, share: 0.1) {
      let words = String(decoding: mutator.next(most: 3), as: UTF8.self)
      let arguments = words.split(separator: " ", omittingEmptySubsequences: round % 7 != 0).map(String.init)
      Console.$current.withValue(console) {
        do {
          try Self.run(try DustinCommand.parseAsRoot(arguments), in: folder.path)
          understood += 1
        } catch {
          refused += 1
          // Usage texts take longer to make than commands to read.
          guard round % 5 == 0 else { return }
          let isHelp = DustinCommand.exitCode(for: error) == .success
          let message = error is DiagnosticError ? "\(error)" : DustinCommand.fullMessage(for: error)
          XCTAssertFalse(message.isEmpty && !isHelp, "'\(words)' was refused without a word")
        }
      }
    }
    XCTAssertGreaterThan(understood, 50)
    XCTAssertGreaterThan(refused, 50)
    let left = try FileManager.default.contentsOfDirectory(atPath: folder.path)
    XCTAssertEqual(left, [], "refused commands left something behind")
  }

  /// Runs commands that only read and print; of the others it counts that they were understood.
  private static func run(_ command: any ParsableCommand, in folder: String) throws {
    switch command {
    case var opt as OptCommand:
      // Wherever a broken option would write, nothing is written.
      (opt.output, opt.reproducer, opt.dumps.dumpDir) = ("-", nil, nil)
      guard opt.compilation.model == nil else { return }
      opt.file = "-"
      try opt.run()
    case var check as CheckCommand:
      check.files = check.files.map { _ in "-" }
      try check.run()
    case var format as FormatCommand:
      format.files = format.files.map { _ in "-" }
      format.inPlace = false
      try format.run()
    case is OpsCommand, is PassesCommand, is PipelinesCommand, is PresetsCommand, is VersionCommand:
      var command = command
      try command.run()
    default: break
    }
  }
}

/// Values in the form that pipelines read.
private enum PipelineParserWords {
  static func quoted(_ text: String) -> String { text.contains(" ") ? "\"\(text)\"" : text }
}
