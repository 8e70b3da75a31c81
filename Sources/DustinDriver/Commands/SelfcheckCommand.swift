import ArgumentParser
import DustinRunner
import DustinRuntime
import DustinSupport
import DustinText

struct SelfcheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "selfcheck", abstract: "Checks on this machine that the compiled models are right.",
    subcommands: [ExactCommand.self, LosslessCommand.self])
}

struct ExactCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "exact", abstract: "Compares a target with reference outputs of another implementation.",
    discussion: """
      In f32 the logits behind every prompt must agree within 1e-3 and all greedy tokens must be equal. The fast path's \
      tokens must be equal up to the first place where the reference's two best logits are closer than twice the largest \
      difference between the fast path's and the f32 path's logits along the reference tokens, which may be 0.5 at most.
      """)

  @OptionGroup var models: PairOptions
  @OptionGroup var machine: MachineOptions
  @Option(help: "The folder with the reference outputs, one safetensors file a prompt.")
  var reference = "Tests/Reference"
  @Argument(help: "The prompts to check: names of files without '.safetensors'.")
  var names = ["short", "prose-512", "password-4k", "needle-8k", "copy-8k", "needle-32k"]
  @Flag(help: .partProgress) var progress = false

  func run() throws {
    catchInterrupts()
    let check = try ExactCheck(
      model: models.model, directory: reference, options: machine.loadOptions(),
      team: ThreadTeam(threads: machine.threadCount))
    var table = TextTable([
      "prompt", "tokens", "f32: max |Δlogit|", "equal", "fast: max |Δlogit|", "equal", "required", "",
    ])
    var wrong: [String] = []
    var parts = PartProgress("checking in f32 and fast", names.count, unit: "prompt", isAsked: progress)
    defer { parts.clear() }
    for (index, name) in names.enumerated() {
      let outcome = try check.run(name)
      parts.finish(index + 1, "\(name): \(outcome.isRight ? "right" : "WRONG")")
      table.add([
        name, grouped(outcome.promptTokens), scientific(Double(outcome.logitError)),
        "\(outcome.equalTokens) of \(outcome.tokens)", scientific(Double(outcome.fastDifference)),
        "\(outcome.fastEqualTokens) of \(outcome.tokens)", "\(outcome.fastRequiredTokens)",
        outcome.isRight ? "ok" : "WRONG",
      ])
      if !outcome.isRight { wrong.append(name) }
    }
    parts.clear()
    let bounds = (scientific(Double(ExactCheck.logitBound)), scientific(Double(ExactCheck.fastBound)))
    try Console.current.write(table.text + "bounds of max |Δlogit|: f32 \(bounds.0), fast \(bounds.1)\n")
    try Console.current.write("\(names.count - wrong.count) of \(names.count) prompts right\n")
    if !wrong.isEmpty {
      throw DiagnosticError(
        "exact", "the model does not give the reference's outputs for \(wrong.joined(separator: ", "))")
    }
  }
}

struct LosslessCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lossless", abstract: "Compares greedy speculative decoding with plain decoding, bit for bit.",
    discussion: """
      Tokens, and the keys and values in the cache, must be equal for any number of drafted tokens, batch, threads and \
      draft. 0.5k: 144 combinations; 8k: 24 that hold every pair of values; 32k: six. Prompts are read once.
      """)

  @OptionGroup var models: PairOptions
  @OptionGroup var machine: MachineOptions
  @Option(help: "Length of the prompts: 0.5k, 8k or 32k.")
  var length = LosslessCheck.Length.half
  @Option(name: .shortAndLong, help: "The text to cut the prompts from.")
  var file = "examples/books/the-sea-wolf.txt"
  @Option(name: [.customShort("n")], parsing: .unconditional, help: "Most new tokens of a sequence.")
  var count = 40
  @Flag(help: .partProgress) var progress = false

  func validate() throws {
    if models.draftModel == nil { throw ValidationError("The check needs a draft: give -md DIR.") }
    try check("-n", count, in: 8...1024)
  }

  func run() throws {
    catchInterrupts()
    let pair = try ModelPair.load(
      target: models.model, draft: models.draftModel, options: machine.loadOptions())
    guard let tokenizer = pair.tokenizer else {
      throw pair.tokenizerError ?? DiagnosticError("tokenizer", "'\(models.model)' has no tokenizer.json")
    }
    let text = tokenizer.encode(try readSource(file).utf8, addSpecialTokens: false)
    let combinations = LosslessCheck.combinations(for: length)
    let check = try LosslessCheck(
      pair: pair, text: text, length: length, newTokens: count, combinations: combinations)
    var table = TextTable(["combination", "rounds", "drafted", "accepted", "s", ""])
    var wrong: [Diagnostic] = []
    var equal = 0
    var parts = PartProgress("checking", combinations.count, unit: "combination", isAsked: progress)
    defer { parts.clear() }
    for (index, combination) in combinations.enumerated() {
      let outcome = try check.run(combination)
      parts.finish(index + 1, "\(combination): \(outcome.faults.isEmpty ? "equal" : "DIFFERENT")")
      table.add([
        "\(combination)", "\(outcome.metrics.rounds)", "\(outcome.metrics.drafted)", "\(outcome.metrics.accepted)",
        fixed(outcome.seconds, 2), outcome.faults.isEmpty ? "equal" : "DIFFERENT",
      ])
      if outcome.faults.isEmpty { equal += 1 }
      wrong += outcome.faults.map { Diagnostic("lossless", "\(combination): \($0)") }
    }
    parts.clear()
    try Console.current.write(table.text + "\(equal) of \(combinations.count) combinations equal\n")
    if !wrong.isEmpty { throw DiagnosticError(wrong) }
  }
}

extension ArgumentHelp {
  fileprivate static let partProgress: ArgumentHelp =
    "Prints a line for every part that is done although standard error is no terminal."
}

extension LosslessCheck.Length: ExpressibleByArgument {}
