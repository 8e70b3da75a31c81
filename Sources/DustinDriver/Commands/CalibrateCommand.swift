import ArgumentParser
import DustinModels
import DustinPasses
import DustinRunner
import DustinRuntime
import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

struct CalibrateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "calibrate",
    abstract: "Finds what preset dustin reads by, for a target and its draft: writes sparsity.json.",
    discussion: """
      First the retrieval heads of both models: those that look at what is asked for while an answer is given. Then, one \
      after the other, the draft's heads and layers, pooling, granularity, the draft's own set, and the target's history. \
      What is nearest to dense verification (by KL, on prose and on answers to retrieval prompts) is taken; what loses \
      answers is not. Books marked for calibration are read. Every figure is noted in .calibrate.jsonl beside the output: \
      after Ctrl-C the same command goes on from there.
      """)

  @OptionGroup var models: PairOptions
  @OptionGroup var machine: MachineOptions

  @Option(
    help: ArgumentHelp(
      "A folder of books: those that its books.json marks for calibration, or all .txt files.", valueName: "dir"))
  var books = "examples/books"
  @Option(
    name: .shortAndLong,
    help: ArgumentHelp(
      "Where to write; '-' for standard output. Default: sparsity.json in the target's directory.", valueName: "file"))
  var output: String?
  @Option(parsing: .unconditional, help: "Positions that verification reads.")
  var budget = 512
  @Option(name: .shortAndLong, parsing: .unconditional, help: "Seed of the generated prompts.")
  var seed: UInt64 = 1
  @Option(
    help: ArgumentHelp(
      "Goes on with the journal of a calibration that was stopped; default: .calibrate.jsonl beside the output.",
      valueName: "file"))
  var resume: String?
  @Option(help: "Lengths of the windows of prose in tokens, separated by commas. Default: 8k,16k.")
  var lengths: String?
  @Option(parsing: .unconditional, help: "Windows of prose of each length. Default: 3.")
  var windows: Int?
  @Option(parsing: .unconditional, help: "Tokens of each window that are scored. Default: 288.")
  var tokens: Int?
  @Option(help: "Lengths of the retrieval prompts in tokens, separated by commas. Default: 2k,4k,8k.")
  var promptLengths: String?
  @Option(parsing: .unconditional, help: "Retrieval prompts of each length. Default: 8.")
  var prompts: Int?
  @Flag(help: "Shows progress although standard error is no terminal.")
  var progress = false

  func validate() throws {
    guard models.draftModel != nil else {
      throw ValidationError("A calibration is of a target and its draft: give -md DIR.")
    }
    try check("--windows", windows, in: 1...1024)
    try check("--tokens", tokens, in: 8...65_536)
    try check("--prompts", prompts, in: 1...4096)
    _ = try plan()
    if let problem = Candidate().preset(budget: budget).validate() { throw ValidationError("--budget: \(problem).") }
  }

  private func plan() throws -> CalibrationPlan {
    var plan = CalibrationPlan()
    plan.budget = budget
    plan.seed = seed
    if let lengths { plan.proseLengths = try lengthList(lengths, "--lengths") }
    if let promptLengths { plan.promptLengths = try lengthList(promptLengths, "--prompt-lengths") }
    plan.windows = windows ?? plan.windows
    plan.tokens = tokens ?? plan.tokens
    plan.prompts = prompts ?? plan.prompts
    return plan
  }

  func run() throws {
    guard let draftModel = models.draftModel else { return }
    catchInterrupts()
    let start = monotonicSeconds()
    let output = output ?? "\(models.model)\(models.model.hasSuffix("/") ? "" : "/")\(SparsityFile.name)"
    let journalPath = try resume ?? journalPath(beside: output)
    let options = try machine.loadOptions()
    let pair = try ModelPair.load(target: models.model, draft: draftModel, options: options)
    guard let draft = pair.draft else { return }
    guard let tokenizer = pair.tokenizer else {
      throw pair.tokenizerError
        ?? DiagnosticError("tokenizer", "'\(pair.target.path)' has no tokenizer.json, which a calibration needs")
    }
    let books = try readBooks(books, use: .calibrate, tokenizer: tokenizer)
    var plan = try plan()
    let context = min(pair.target.contextSize, draft.contextSize)
    for length in (lengths == nil ? [] : plan.proseLengths) + (promptLengths == nil ? [] : plan.promptLengths)
    where length + plan.gamma + 1 > context {
      throw DiagnosticError(
        "context", "a length of \(grouped(length)) tokens is beyond the context of \(grouped(context))")
    }
    plan.fit(context: context)
    let prints = (
      target: try ModelDirectory(path: models.model).fingerprint(),
      draft: try ModelDirectory(path: draftModel).fingerprint()
    )
    let settings =
      "1 \(prints.target) \(prints.draft) \(plan.key) \(machine.numerics) \(machine.cpu) \(textHash(books))"
    let journal = try CalibrationJournal(path: journalPath, settings: settings, isAsked: resume != nil)
    let known = journal.results.count
    if known > 0 {
      Console.current.writeError("going on with '\(journalPath)': \(known) candidates are measured already\n")
    } else {
      // What cannot be written is said now, not after minutes.
      try journal.write()
    }
    let team = try ThreadTeam(threads: machine.threadCount)
    let base = try PairTarget(.dense, target: pair.target, draft: draft, options: options, team: team)
    let session = EvaluationSession(
      base: base, others: [], tokenizer: tokenizer, gamma: plan.gamma, forcesProgress: progress)
    let first = Candidate()
    let programs = CandidatePrograms(
      target: models.model, draft: draftModel, options: options, team: team, first: first, budget: plan.budget)
    let work = CalibrationWork(
      plan: plan, session: session, programs: programs, first: first, books: books, journal: journal,
      forcesProgress: progress)
    do {
      let heads = try work.heads()
      try show(CalibrationReport.heads(heads) + "\n", output)
      let calibration = Calibration(
        plan: plan, target: ScoredModel(pair.target), draft: ScoredModel(draft), heads: heads,
        forcesProgress: progress, tell: { try show($0.text + "\n", output) },
        measure: { try work.measure($0, progress: $1) })
      try calibration.run()
      let report = CalibrationReport(calibration: calibration, heads: heads)
      let file = report.file(target: prints.target, draft: prints.draft)
      try writeResult(file.text, to: output)
      try work.end()
      let options = file.options.map { "\($0.name)=\($0.value)" }.joined(separator: " ")
      try show(
        "\(options)\n\(work.measured) candidates measured in \(fixed(monotonicSeconds() - start, 0)) s"
          + (output == "-" ? "\n" : "; wrote '\(output)', which --preset dustin uses\n"), output)
    } catch let error as Interrupted {
      Console.current.writeError(
        "\(work.journal.results.count) candidates are measured and noted in '\(journalPath)': the same command goes on there\n"
      )
      throw error
    }
  }

  /// Tables go where the file does not.
  private func show(_ text: String, _ output: String) throws {
    if output == "-" { return Console.current.writeError(text) }
    try Console.current.write(text)
  }

  /// - Throws: `DiagnosticError` with id `output` when nothing can be written there.
  private func journalPath(beside output: String) throws -> String {
    let name = ".calibrate.jsonl"
    guard output != "-", let slash = output.lastIndex(of: "/") else {
      if isFolder(output) { throw DiagnosticError("output", "cannot write '\(output)': it is a folder") }
      return name
    }
    let folder = String(output[...slash])
    if !isFolder(folder) {
      throw DiagnosticError("output", "cannot write '\(output)': there is no folder '\(folder)'")
    }
    if isFolder(output) { throw DiagnosticError("output", "cannot write '\(output)': it is a folder") }
    if access(folder, W_OK) != 0 {
      throw DiagnosticError("output", "cannot write '\(output)': \(String(cString: strerror(errno)))")
    }
    return folder + name
  }

  private func textHash(_ books: [Book]) -> String {
    var hash = ByteHash()
    for book in books {
      hash.add(book.title.utf8)
      for tokens in book.tokens { for token in tokens { hash.add(low32: Int(token)) } }
    }
    return hash.text
  }
}
