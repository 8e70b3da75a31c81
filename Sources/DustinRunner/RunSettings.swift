import DustinRuntime
import DustinSupport

/// What a run is asked for: the options that `dustin run` and an executable share, with their defaults.
package struct RunSettings: Sendable {
  package var prompt: String?
  package var file: String?
  package var promptIds: String?
  package var prompts: String?
  package var promptLimit: Int?
  package var count = 128
  package var contextSize: Int?
  package var threads: Int?
  package var draftMax = 4
  package var batchSize = 16
  package var sampling = Sampling()
  package var stop: [String] = []
  package var ignoreEos = false
  package var json = false
  package var noStream = false
  package var quiet = false
  package var progress = false
  package var logits: String?
  package var exact = false

  package init() {}

  package var source: PromptSource {
    if let prompt { return .text(prompt) }
    if let file { return .file(file) }
    if let promptIds { return .ids(promptIds) }
    return .lines(prompts ?? "-")
  }

  /// What the loop is told.
  package func generationOptions(for pair: RunnablePair) -> GenerationOptions {
    var options = GenerationOptions()
    options.gamma = draftMax
    options.sampling = sampling
    options.contextSize = pair.target.contextSize
    options.stopStrings = stop
    if !ignoreEos { options.endTokens = pair.endTokens }
    if let tokenizer = pair.tokenizer {
      options.tokenBytes = { tokenizer.isSpecial($0) ? [] : tokenizer.bytes(of: $0) ?? [] }
    }
    return options
  }

  package var threadCount: Int { threads ?? usableCores() }

  /// The first thing that cannot be meant, as a sentence; nil when all is well.
  package func problem(hasDraft: Bool, hasPreset: Bool) -> String? {
    let sources = [prompt, file, promptIds, prompts].compactMap { $0 }.count
    if sources == 0 {
      return "There is nothing to continue: give -p TEXT, -f FILE, --prompt-ids FILE or --prompts FILE."
    }
    if sources > 1 { return "Give only one of -p, -f, --prompt-ids and --prompts." }
    if count < 0 { return "-n must be 0 or more, not \(count)." }
    if let contextSize, contextSize < 1 { return "-c must be 1 or more, not \(contextSize)." }
    if !(0...256).contains(draftMax) { return "--draft-max must be from 0 to 256, not \(draftMax)." }
    if !(1...512).contains(batchSize) { return "--batch-size must be from 1 to 512, not \(batchSize)." }
    if logits != nil, prompts != nil { return "--logits is for a single prompt, not for --prompts." }
    if exact, hasPreset, !hasDraft || draftMax == 0 {
      return "--exact with a preset needs a draft: give -md DIR, and --draft-max above 0."
    }
    if let promptLimit, promptLimit < 1 { return "--prompt-limit must be 1 or more, not \(promptLimit)." }
    if stop.contains("") { return "--stop needs a string that is not empty." }
    return Self.problem(threads: threads) ?? samplingProblem
  }

  /// They meet dozens of times a token: many more of them than cores never finish.
  package static func problem(threads: Int?) -> String? {
    let cores = usableCores()
    guard let threads, !(1...8 * cores).contains(threads) else { return nil }
    return "--threads must be from 1 to \(8 * cores) with \(cores) cores, not \(threads)."
  }

  private var samplingProblem: String? {
    do {
      try sampling.validate()
      return nil
    } catch {
      // The runtime calls the first one 'temperature', the others as the options without dashes.
      let message =
        (error as? DiagnosticError)?.diagnostics.first?.message ?? "temp or another sampling option is wrong"
      let name = "temperature"
      return (message.hasPrefix(name) ? "--temp" + message.dropFirst(name.count) : "--" + message) + "."
    }
  }
}
