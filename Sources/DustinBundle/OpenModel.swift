import CBundle
import DustinRunner
import DustinRuntime
import DustinSupport

/// What a `dustin_model` points at.
final class OpenModel {
  private let pair: RunnablePair
  private let team: ThreadTeam

  /// - Parameter threads: 0: one for each core.
  init(weights: String, threads: Int) throws {
    let wanted = threads == 0 ? nil : threads
    if let problem = RunSettings.problem(threads: wanted) { throw DiagnosticError("threads", problem) }
    let payload = UnsafeRawBufferPointer(start: dustin_payload(), count: dustin_payload_bytes())
    let file = try ApplicationFile(payload, name: "the model's object")
    var options = ApplicationOptions()
    options.weights = weights
    pair = try file.load(options, folder: ".")
    team = try ThreadTeam(threads: wanted ?? usableCores())
  }

  func encode(_ text: [UInt8]) throws -> [Int32] {
    guard let tokenizer = pair.tokenizer else { throw pair.missingTokenizer }
    return tokenizer.encode(text)
  }

  /// - Returns: the number of new tokens.
  func generate(
    _ prompt: [Int32], _ given: dustin_settings, _ callback: dustin_callback?, _ context: UnsafeMutableRawPointer?
  ) throws -> Int {
    var settings = RunSettings()
    settings.prompt = ""
    settings.count = Int(given.max_new_tokens)
    settings.draftMax = Int(given.draft_max)
    settings.sampling = Sampling(
      temperature: given.temperature, topK: Int(given.top_k), topP: given.top_p, minP: given.min_p, seed: given.seed)
    settings.ignoreEos = given.ignore_eos != 0
    settings.exact = given.exact != 0
    if let problem = settings.problem(hasDraft: pair.draft != nil, hasPreset: pair.preset != nil) {
      throw DiagnosticError("settings", problem)
    }
    let generator = try Generator(pair, team: team, options: settings.generationOptions(for: pair))
    generator.isExact = settings.exact
    let prompts = [Prompt(tokens: prompt)]
    try generator.check(prompts)
    if let callback {
      generator.onEvent = { [generator] _, event in
        if Self.tell(event, callback, context) != 0 { generator.cancel.cancel() }
      }
    }
    // The closure holds the generator that holds it.
    defer { generator.onEvent = nil }
    return try generator.run(prompts, maxNewTokens: settings.count).results.first?.tokens.count ?? 0
  }

  private static func tell(
    _ event: GenerationEvent, _ callback: dustin_callback, _ context: UnsafeMutableRawPointer?
  ) -> Int32 {
    if event.tokens.isEmpty, event.text.isEmpty { return 0 }
    return event.tokens.withUnsafeBufferPointer { tokens in
      event.text.withUnsafeBufferPointer { text in
        text.withMemoryRebound(to: CChar.self) { text in
          callback(context, tokens.baseAddress, tokens.count, text.baseAddress, text.count)
        }
      }
    }
  }
}
