import ArgumentParser
import DustinRuntime
import DustinSupport

struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Continues a text, with a draft model faster.",
    discussion: """
      Text goes to standard output as it comes, figures to standard error. Without --temp the most probable token is \
      taken, and a draft changes nothing but the speed; with --temp it changes no probability.
      """)

  @OptionGroup var models: ModelOptions
  @OptionGroup var presets: PresetOptions
  @Flag(
    help: "With a preset: its tokens are only proposed, and dense passes decide; the text is that of the model itself.")
  var exact = false

  @Option(
    name: [.customShort("p"), .long], parsing: .unconditional,
    help: ArgumentHelp("The text to continue.", valueName: "text"))
  var prompt: String?
  @Option(
    name: .shortAndLong,
    help: ArgumentHelp("A file with the text to continue; '-' is standard input.", valueName: "file"))
  var file: String?
  @Option(help: ArgumentHelp("A file with a JSON array of token ids to continue.", valueName: "file"))
  var promptIds: String?
  @Option(parsing: .unconditional, help: ArgumentHelp("Reads only the first tokens of the prompt.", valueName: "n"))
  var promptLimit: Int?
  @Option(
    help: ArgumentHelp(
      "A file of prompts, one JSON object a line: 'prompt' or 'prompt_ids', 'id', 'max_new_tokens'.",
      discussion: "One JSON object a line comes out, in the same order.", valueName: "file"))
  var prompts: String?

  @Option(
    name: [.customShort("n"), .customLong("predict"), .customLong("n-predict")], parsing: .unconditional,
    help: ArgumentHelp("Most new tokens; 0 only reads the prompt.", valueName: "n"))
  var count = 128
  @Option(
    name: [.customShort("c"), .customLong("ctx-size")], parsing: .unconditional,
    help: ArgumentHelp(
      "Most tokens of prompt and answer together; default: what fits, up to the model's limit.", valueName: "n"))
  var contextSize: Int?
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Tokens that the draft proposes a round; 0 decodes without it.", valueName: "n"))
  var draftMax = 4
  @Option(
    parsing: .unconditional, help: ArgumentHelp("Prompts of --prompts that run at the same time.", valueName: "n"))
  var batchSize = 16

  @Option(
    name: .customLong("temp"), parsing: .unconditional,
    help: ArgumentHelp("Temperature; 0 takes the most probable token.", valueName: "x"))
  var temperature: Float = 0
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Samples from the k most probable tokens only; 0: from all.", valueName: "k"))
  var topK = 0
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Samples from the most probable tokens that reach this sum; 1: from all.", valueName: "x"))
  var topP: Float = 1
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Samples from tokens with this share of the best one's probability.", valueName: "x"))
  var minP: Float = 0
  @Option(
    name: .shortAndLong, parsing: .unconditional, help: ArgumentHelp("Seed of the random numbers.", valueName: "n"))
  var seed: UInt64 = 0

  @Option(
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp("Ends the text before this string; may be repeated.", valueName: "text"))
  var stop: [String] = []
  @Flag(help: "Goes on behind the tokens that end a text.")
  var ignoreEos = false
  @Flag(help: "Prints one JSON object instead of the text.")
  var json = false
  @Flag(help: "Prints the text when it is complete.")
  var noStream = false
  @Flag(name: .shortAndLong, help: "Prints no figures.")
  var quiet = false
  @Flag(help: "Shows how far a long prompt is read although standard error is no terminal.")
  var progress = false
  @Option(
    help: ArgumentHelp(
      "Writes the logits behind the prompt: little-endian f32, one per token of the vocabulary.", valueName: "file"))
  var logits: String?
  @Option(
    help: ArgumentHelp(
      "plain: decodes once more without the draft and prints both runs' figures. interpreter: compares every compiled op.",
      discussion:
        "The comparison with the interpreter takes the prompt's first tokens and names the first op out of bound."))
  var compare: Reference?

  enum Reference: String, ExpressibleByArgument, CaseIterable { case plain, interpreter }

  func validate() throws {
    let sources = [prompt, file, promptIds, prompts].compactMap { $0 }.count
    if sources != 1 {
      throw ValidationError(
        sources == 0
          ? "There is nothing to continue: give -p TEXT, -f FILE, --prompt-ids FILE or --prompts FILE."
          : "Give only one of -p, -f, --prompt-ids and --prompts.")
    }
    if count < 0 { throw ValidationError("-n must be 0 or more, not \(count).") }
    if let contextSize, contextSize < 1 { throw ValidationError("-c must be 1 or more, not \(contextSize).") }
    if !(0...256).contains(draftMax) { throw ValidationError("--draft-max must be from 0 to 256, not \(draftMax).") }
    if !(1...512).contains(batchSize) { throw ValidationError("--batch-size must be from 1 to 512, not \(batchSize).") }
    if logits != nil, prompts != nil { throw ValidationError("--logits is for a single prompt, not for --prompts.") }
    if compare != nil, prompts != nil || json || logits != nil {
      throw ValidationError("--compare prints a table for a single prompt: it takes no --prompts, --json and --logits.")
    }
    if compare == .plain, presets.preset != nil, !exact {
      throw ValidationError("--compare plain with a preset needs --exact: sparse verification gives other tokens.")
    }
    if exact, presets.preset != nil, models.draftModel == nil || draftMax == 0 {
      throw ValidationError("--exact with a preset needs a draft: give -md DIR, and --draft-max above 0.")
    }
    if compare == .plain, models.draftModel == nil || draftMax == 0 {
      throw ValidationError("--compare plain needs a draft: give -md DIR, and --draft-max above 0.")
    }
    if let promptLimit, promptLimit < 1 {
      throw ValidationError("--prompt-limit must be 1 or more, not \(promptLimit).")
    }
    if stop.contains("") { throw ValidationError("--stop needs a string that is not empty.") }
    do {
      try sampling.validate()
    } catch let error as DiagnosticError {
      // The runtime calls the first one 'temperature', the others as the options without dashes.
      let message = error.diagnostics.first?.message ?? "temp or another sampling option is wrong"
      let name = "temperature"
      throw ValidationError((message.hasPrefix(name) ? "--temp" + message.dropFirst(name.count) : "--" + message) + ".")
    }
  }

  private var sampling: Sampling {
    Sampling(temperature: temperature, topK: topK, topP: topP, minP: minP, seed: seed)
  }

  private var source: PromptSource {
    if let prompt { return .text(prompt) }
    if let file { return .file(file) }
    if let promptIds { return .ids(promptIds) }
    return .lines(prompts ?? "-")
  }

  func run() throws {
    catchInterrupts()
    var loadOptions = try models.machine.loadOptions()
    loadOptions.contextSize = contextSize
    let choice = try presets.choice(target: models.model, draft: models.draftModel)
    loadOptions.preset = choice?.text
    let pair = try ModelPair.load(target: models.model, draft: models.draftModel, options: loadOptions)
    var prompts = try source.read(pair.tokenizer, missing: missingTokenizer(pair))
    if let promptLimit {
      for index in prompts.indices { prompts[index].tokens = Array(prompts[index].tokens.prefix(promptLimit)) }
    }
    if !stop.isEmpty, pair.tokenizer == nil { throw missingTokenizer(pair) }

    var options = GenerationOptions()
    options.gamma = draftMax
    options.sampling = sampling
    options.contextSize = pair.target.contextSize
    options.stopStrings = stop
    if !ignoreEos { options.endTokens = Set(pair.target.generation.eosTokenIDs.compactMap { Int32(exactly: $0) }) }
    if let tokenizer = pair.tokenizer {
      options.tokenBytes = { tokenizer.isSpecial($0) ? [] : tokenizer.bytes(of: $0) ?? [] }
    }
    let team = try ThreadTeam(threads: models.machine.threadCount)
    let generator = try Generator(pair, team: team, options: options)
    generator.forcesProgress = progress
    generator.preset = choice
    generator.isExact = exact
    if !quiet { for note in choice?.notes ?? [] { Console.current.writeError("note: \(note)\n") } }
    try generator.check(prompts)
    try checkInterruption()
    if sampling.isGreedy, !quiet {
      let idle = [topK != 0 ? "--top-k" : nil, topP != 1 ? "--top-p" : nil, minP != 0 ? "--min-p" : nil]
        .compactMap { $0 }.joined(separator: ", ")
      if !idle.isEmpty { Console.current.writeError("note: without --temp the text is greedy: no effect of \(idle)\n") }
    }
    if let file, !quiet, let byte = prompts.first?.brokenByte {
      Console.current.writeError("note: '\(file)' is not UTF-8 (byte \(byte))\n")
    }
    if compare == .interpreter { return try InterpreterComparison(pair, team: team).run(prompts[0].tokens) }
    if self.prompts != nil {
      try PromptLines(generator, batchSize: batchSize).run(prompts, maxNewTokens: count)
    } else {
      try runOne(prompts[0], generator)
    }
  }

  private func missingTokenizer(_ pair: ModelPair) -> DiagnosticError {
    pair.tokenizerError
      ?? DiagnosticError(
        "tokenizer", "'\(pair.target.path)' has no tokenizer.json: it takes token ids only",
        notes: [.note("give the prompt as a JSON array of token ids, with --prompt-ids FILE")])
  }

  private func runOne(_ prompt: Prompt, _ generator: Generator) throws {
    let console = Console.current
    let hasText = generator.pair.tokenizer != nil
    var printed = TextOutput(isOn: !json && !noStream)
    if let error = generator.pair.tokenizerError, !quiet {
      console.writeError("warning: there will be no text: \(error.diagnostics.first?.message ?? "no tokenizer")\n")
    }
    var failure: (any Error)?
    generator.onEvent = { _, event in
      // A full disk or a closed pipe: stop at the next step, and say why.
      do { try printed.add(event, hasText: hasText) } catch {
        failure = error
        generator.cancel.cancel()
      }
    }
    let batch: Generator.Batch
    var comparison: PlainComparison?
    do {
      if compare == .plain {
        let both = try PlainComparison(generator, prompt, maxNewTokens: count)
        (comparison, batch) = (both, both.speculative)
      } else {
        batch = try generator.run([prompt], maxNewTokens: count)
      }
    } catch {
      try? printed.finish()
      throw failure ?? error
    }
    if let failure { throw failure }
    let report = RunReport(prompt, batch, 0, generator)
    if let logits {
      let values = batch.promptLogits.first ?? []
      try writeFileAtomically(
        logits, bytes: values.flatMap { withUnsafeBytes(of: $0.bitPattern.littleEndian, Array.init) })
    }
    if json { return try console.write(report.json.text + "\n") }
    if noStream { try printed.all(report.result, hasText: hasText) }
    try printed.finish()
    if report.result.finish == .context, !quiet {
      let (size, most) = (generator.pair.target.contextSize, generator.pair.target.config.contextLength)
      let cure = size < most ? "-c takes up to \(most)" : "the model has no longer one"
      console.writeError("note: the context of \(size) tokens is full; \(cure)\n")
    }
    if let comparison {
      try console.write("\n" + comparison.table(isGreedy: sampling.isGreedy))
      guard !sampling.isGreedy || comparison.isEqual else {
        throw DiagnosticError("lossless", "plain and speculative decoding gave different tokens")
      }
    } else if !quiet {
      console.writeError(report.summary)
    }
  }
}

/// Text on its way to standard output, or token ids where there is no tokenizer.
private struct TextOutput {
  let isOn: Bool
  private var needsLineEnd = false
  private var wroteToken = false

  init(isOn: Bool) { self.isOn = isOn }

  mutating func add(_ event: GenerationEvent, hasText: Bool) throws {
    if isOn { try write(event.text, event.tokens, hasText: hasText) }
  }

  mutating func all(_ result: GenerationResult, hasText: Bool) throws {
    try write(result.text, result.tokens, hasText: hasText)
  }

  private mutating func write(_ text: [UInt8], _ tokens: [Int32], hasText: Bool) throws {
    var output = String(decoding: text, as: UTF8.self)
    if !hasText {
      output = tokens.map(String.init).joined(separator: " ")
      if wroteToken, !output.isEmpty { output = " " + output }
      wroteToken = wroteToken || !output.isEmpty
    }
    guard let last = output.utf8.last else { return }
    needsLineEnd = last != UInt8(ascii: "\n")
    try Console.current.write(output)
  }

  /// Ends the last line.
  mutating func finish() throws {
    if needsLineEnd { try Console.current.write("\n") }
    needsLineEnd = false
  }
}
