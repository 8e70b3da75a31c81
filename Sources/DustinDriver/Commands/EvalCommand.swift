import ArgumentParser
import DustinModels
import DustinRunner
import DustinRuntime
import DustinSupport
import DustinText

struct EvalCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "eval", abstract: "Measures what sparse verification costs in accuracy and gains in speed.",
    discussion: """
      Every way of verifying answers the same questions and reads the same texts as dense verification; each text is \
      read once. Retrieval prompts are made from --books, or read with --prompts. Perplexity scores the books' own \
      continuations: the draft proposes by itself, the set is chosen from that, the text's tokens are verified, three a \
      round. ARR is the share of the dense attention that falls on what was read. Drift reads long greedy outputs again, \
      densely. With --longbench or --pg19 only these are measured, unless --task names more. Ctrl-C ends with what is done.
      """)

  enum Task: String, ExpressibleByArgument, CaseIterable { case retrieval, perplexity, arr, drift }

  @OptionGroup var models: PairOptions
  @OptionGroup var machine: MachineOptions
  @OptionGroup var plugins: PluginOptions

  @Option(
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "A way of verifying, such as 'dustin' or 'dustin{budget=128}'; may be repeated. Dense is always measured.",
      valueName: "preset"))
  var preset: [String] = []
  @Option(
    help: ArgumentHelp(
      "What 'dustin calibrate' found; default: sparsity.json in the target's directory, if there is one.",
      valueName: "file"))
  var sparsity: String?
  @Option(help: "Budgets of the presets that name none, separated by commas.")
  var budget = ""
  @Option(
    parsing: .unconditionalSingleValue,
    help: "What to measure: retrieval, perplexity, arr or drift; may be repeated. Default: retrieval and perplexity.")
  var task: [Task] = []
  @Option(help: "Lengths of the texts in tokens, separated by commas: 4096 or 4k. Default: 4k,8k.")
  var lengths: String?
  @Option(
    parsing: .unconditional,
    help: "Retrieval prompts of each length; of generated ones a 'copy' comes on top of every eight. Default: 32.")
  var count: Int?
  @Option(
    parsing: .unconditional,
    help: "Generated questions about one text, which holds the statements of them all and is read once.")
  var perText = 1
  @Option(
    parsing: .unconditionalSingleValue,
    help: "Generated questions of this kind only: needle, multi, multiquery, password, ledger or copy; may be repeated."
  )
  var kind: [RetrievalTask.Kind] = []
  @Option(parsing: .unconditional, help: "Windows of each length for perplexity, arr and drift.")
  var windows = 8
  @Option(parsing: .unconditional, help: "Tokens of each window that perplexity scores.")
  var tokens = 512
  @Option(parsing: .unconditional, help: "Tokens of each long output of drift.")
  var driftTokens = 1024
  @Option(parsing: .unconditional, help: "Rounds of each window whose attention arr looks at.")
  var arrRounds = 8
  @Option(name: .shortAndLong, parsing: .unconditional, help: "Seed of the generated prompts.")
  var seed: UInt64 = 1
  @Option(parsing: .unconditional, help: "Tokens that the draft proposes a round.")
  var draftMax = 4
  @Option(
    help: ArgumentHelp(
      "A folder of books, with a books.json or .txt files. Books marked for calibration are left out.",
      valueName: "dir"))
  var books = "examples/books"
  @Option(
    help: ArgumentHelp(
      "Retrieval prompts, one JSON object a line: 'prompt', 'answer', 'task', 'length', 'depth', 'max_new_tokens'.",
      valueName: "file"))
  var prompts: String?
  @Option(
    name: .customLong("pg19"),
    help: ArgumentHelp(
      "A folder of PG-19: books as ID.txt and a metadata.csv; takes the place of --books.", valueName: "dir"))
  var pg19: String?
  @Option(
    name: .customLong("longbench"),
    help: ArgumentHelp(
      "A folder of LongBench's .jsonl files. --count takes the first ones of each, --lengths cuts prompts to the longest.",
      valueName: "dir"))
  var longBench: String?
  @Option(
    help: ArgumentHelp(
      "LongBench's prompts: a text with {context} and {input}, or a JSON object of such texts by data set.",
      discussion: "Without it a prompt is the context, a blank line and the input.", valueName: "file"))
  var template: String?
  @Option(
    help: ArgumentHelp(
      "Keeps what is done in this file, and goes on from it: a run may be stopped, and lengths and counts may grow.",
      valueName: "file"))
  var resume: String?
  @Flag(help: "Prints one JSON object for every preset, budget and length instead of tables.")
  var json = false
  @Option(help: ArgumentHelp("Writes a page with plots and all figures.", valueName: "file"))
  var report: String?
  @Flag(help: "Shows progress although standard error is no terminal.")
  var progress = false

  func validate() throws {
    _ = try chosenLengths()
    _ = try budgetList()
    let many = 1...1_000_000
    try check("--count", count, in: many)
    try check("--per-text", perText, in: 1...8)
    try check("--windows", windows, in: many)
    try check("--tokens", tokens, in: 8...1_000_000)
    try check("--drift-tokens", driftTokens, in: many)
    try check("--arr-rounds", arrRounds, in: many)
    try check("--draft-max", draftMax, in: 1...256)
  }

  private func chosenLengths() throws -> [Int] { try lengthList(lengths ?? "4k,8k", "--lengths") }

  private func budgetList() throws -> [Int] {
    budget.isEmpty ? [] : try numberList(budget, "--budget", in: 1...1 << 24)
  }

  private var kinds: Set<RetrievalTask.Kind> { Set(kind.isEmpty ? RetrievalTask.Kind.allCases : kind) }

  private var tasks: Set<Task> {
    if !task.isEmpty { return Set(task) }
    if pg19 != nil { return [.perplexity] }
    return longBench != nil ? [] : [.retrieval, .perplexity]
  }

  func run() throws {
    catchInterrupts()
    let modes = try EvaluationMode.list(presets: preset, budgets: budgetList())
    let options = try machine.loadOptions()
    let pair = try ModelPair.load(target: models.model, draft: models.draftModel, options: options)
    guard let tokenizer = pair.tokenizer else {
      throw pair.tokenizerError
        ?? DiagnosticError("tokenizer", "'\(pair.target.path)' has no tokenizer.json, which evaluation needs")
    }
    let team = try ThreadTeam(threads: machine.threadCount)
    var texts: [String] = []
    var notes: [String] = []
    let base = try PairTarget(.dense, target: pair.target, draft: pair.draft, options: options, team: team)
    let others = try modes.dropFirst().map { mode in
      let choice = try PresetChoice(
        mode.text, sparsity: sparsity, target: models.model, draft: models.draftModel)
      texts.append(choice.text)
      notes += choice.notes.filter { !notes.contains($0) }
      var options = options
      options.preset = choice.text
      let made = try ModelPair.load(target: models.model, draft: models.draftModel, options: options)
      return try PairTarget(mode, target: made.target, draft: made.draft, options: options, team: team)
    }
    for note in notes { Console.current.writeError("note: \(note)\n") }
    let session = EvaluationSession(
      base: base, others: others, tokenizer: tokenizer, gamma: draftMax, forcesProgress: progress)
    let settings = try [
      "target \(ModelDirectory(path: models.model).fingerprint())",
      "draft \(models.draftModel.map { try ModelDirectory(path: $0).fingerprint() } ?? "none")",
      "numerics \(options.numerics.rawValue)", "draft-max \(draftMax)", "tokens \(tokens)",
      "drift-tokens \(driftTokens)", "arr-rounds \(arrRounds)",
      "tasks \(tasks.map(\.rawValue).sorted().joined(separator: " "))",
      "verification \(texts.joined(separator: " "))",
      "prompts \(prompts.map { try fingerprint(ofFile: $0) } ?? "seed \(seed)\(perText > 1 ? " per-text \(perText)" : "")")",
      "kinds \(kinds.map(\.rawValue).sorted().joined(separator: " "))", "books \(pg19 ?? books)",
      "longbench \(longBench ?? "none") \(lengths ?? "")",
      "template \(template.map { try fingerprint(ofFile: $0) } ?? "none")",
    ]
    let evaluation = Evaluation(
      session,
      state: try resume.map { try EvaluationState.read($0, settings: settings) } ?? EvaluationState(settings: settings))
    evaluation.file = resume
    var wasInterrupted = false
    do { try measure(evaluation) } catch is Interrupted { wasInterrupted = true } catch {
      // What was measured is told before what went wrong; nothing takes no report's place.
      if evaluation.hasFigures { try? output(evaluation, wasInterrupted: true) }
      throw error
    }
    if evaluation.hasFigures || !wasInterrupted { try output(evaluation, wasInterrupted: wasInterrupted) }
    if wasInterrupted { throw Interrupted() }
  }

  private func measure(_ evaluation: Evaluation) throws {
    let session = evaluation.session
    let lengths = try chosenLengths()
    let behind = tasks.contains(.perplexity) ? tokens : 0
    let room = tasks.contains(.drift) ? max(behind, driftTokens) : behind
    for length in lengths where length + room > session.contextSize {
      throw DiagnosticError(
        "context",
        "a length of \(grouped(length)) tokens\(room > 0 ? " and \(grouped(room)) behind them" : "") is beyond the "
          + "context of \(grouped(session.contextSize))")
    }
    var read: [Book]?
    func allBooks() throws -> [Book] {
      let books =
        try read ?? pg19.map { try PG19.read($0, tokenizer: session.tokenizer) }
        ?? readBooks(books, use: .judge, tokenizer: session.tokenizer)
      read = books
      return books
    }
    if tasks.contains(.retrieval) {
      var given: [EvaluationPrompt] = []
      if let prompts {
        given = try readEvaluationPrompts(prompts, tokenizer: session.tokenizer, lengths: lengths, count: count)
      }
      let count = count ?? 32
      for length in lengths {
        let asked =
          prompts != nil
          ? given.filter { $0.length == length }
          : try RetrievalGenerator(books: allBooks(), tokenizer: session.tokenizer, seed: seed)
            .prompts(length: length, count: count, perText: perText, kinds: kinds)
        try evaluation.retrieval(asked)
      }
    }
    if let longBench {
      let items = try LongBench.read(longBench, limit: count)
      try evaluation.longBench(
        items, template: template.map { try PromptTemplate(file: $0) } ?? PromptTemplate(),
        limit: self.lengths == nil ? session.contextSize : lengths.last ?? session.contextSize,
        endTokens: Set(session.base.target.generation.eosTokenIDs.compactMap { Int32(exactly: $0) }))
    }
    evaluation.showsWordPerplexity = pg19 != nil
    let windowTasks = tasks.subtracting([.retrieval])
    if windowTasks.isEmpty { return }
    for length in lengths {
      let window = try BookWindow.spread(
        over: allBooks(), count: windows, length: length, continuation: tokens,
        decode: { session.tokenizer.decode($0, skipSpecial: true) })
      var work = Evaluation.WindowTasks()
      work.perplexity = windowTasks.contains(.perplexity)
      work.recovery = windowTasks.contains(.arr)
      work.drift = windowTasks.contains(.drift)
      work.driftTokens = driftTokens
      work.recoveryRounds = arrRounds
      try evaluation.windows(window, length: length, tasks: work)
    }
  }

  private func output(_ evaluation: Evaluation, wasInterrupted: Bool) throws {
    if let report {
      var facts = [
        (name: "command", value: CommandLine.arguments.map(shellWord).joined(separator: " ")),
        (name: "version", value: versionText().split(separator: "\n").joined(separator: ", ")),
        (name: "machine", value: "\(processorName()), threads: \(machine.threadCount)"),
      ]
      if wasInterrupted {
        facts.append((name: "note", value: "stopped before the end: the figures are of what was done"))
      }
      try writeResult(ReportPage(evaluation: evaluation, facts: facts).text, to: report)
    }
    if report == "-" { return }
    if json {
      try Console.current.write(evaluation.jsonLines.map { $0.text + "\n" }.joined())
    } else {
      try Console.current.write(evaluation.tables)
    }
  }
}

/// Tells whether a resumed evaluation reads what it began with.
private func fingerprint(ofFile path: String) throws -> String {
  var hash = ByteHash()
  hash.add(try readFile(path))
  return hash.text
}

/// Pairs that verify as presets say, of the same two models and with what their sparsity file knows.
func evaluationPairs(target: String, draft: String?, options: LoadOptions) -> PairFactory {
  { preset in
    var options = options
    options.preset = try PresetChoice(preset, sparsity: nil, target: target, draft: draft).text
    let pair = try ModelPair.load(target: target, draft: draft, options: options)
    return (pair.target, pair.draft)
  }
}

extension RetrievalTask.Kind: ExpressibleByArgument {}
