import DustinRuntime
import DustinSupport

/// One run of a pair: prompts in, text or JSON out. All of `dustin run` behind loading, and all of an executable.
package final class RunSession {
  package let settings: RunSettings
  package let generator: Generator
  package let team: ThreadTeam
  package let prompts: [Prompt]
  private var pair: RunnablePair { generator.pair }

  /// Reads the prompts and checks them, before anything is computed; tells what people should know.
  ///
  /// - Parameter pair: with the settings' context size.
  /// - Throws: `DiagnosticError` for prompts that cannot be read, or do not fit.
  package init(_ pair: RunnablePair, _ settings: RunSettings) throws {
    self.settings = settings
    var prompts = try settings.source.read(pair.tokenizer, missing: pair.missingTokenizer)
    if let limit = settings.promptLimit {
      for index in prompts.indices { prompts[index].tokens = Array(prompts[index].tokens.prefix(limit)) }
    }
    if !settings.stop.isEmpty, pair.tokenizer == nil { throw pair.missingTokenizer }
    self.prompts = prompts

    team = try ThreadTeam(threads: settings.threadCount)
    generator = try Generator(pair, team: team, options: settings.generationOptions(for: pair))
    generator.forcesProgress = settings.progress
    generator.isExact = settings.exact
    if !settings.quiet { for note in pair.preset?.notes ?? [] { Console.current.writeError("note: \(note)\n") } }
    try generator.check(prompts)
    try checkInterruption()
    if !settings.quiet { tellIdleOptions() }
  }

  private func tellIdleOptions() {
    let sampling = settings.sampling
    if sampling.isGreedy {
      let idle = [
        sampling.topK != 0 ? "--top-k" : nil, sampling.topP != 1 ? "--top-p" : nil,
        sampling.minP != 0 ? "--min-p" : nil,
      ].compactMap { $0 }.joined(separator: ", ")
      if !idle.isEmpty { Console.current.writeError("note: without --temp the text is greedy: no effect of \(idle)\n") }
    }
    if settings.exact, generator.isDense {
      Console.current.writeError("note: verification is dense already: --exact changes nothing\n")
    }
    if let file = settings.file, let byte = prompts.first?.brokenByte {
      Console.current.writeError("note: '\(file)' is not UTF-8 (byte \(byte))\n")
    }
  }

  /// Answers all prompts.
  package func run() throws {
    if settings.prompts != nil {
      try PromptLines(generator, batchSize: settings.batchSize).run(prompts, maxNewTokens: settings.count)
    } else {
      let report = try answer { try generator.run([prompts[0]], maxNewTokens: settings.count) }
      if !settings.json, !settings.quiet { Console.current.writeError(report.summary) }
    }
  }

  /// Prints the answer to the first prompt, while and after `generate` makes it.
  package func answer(_ generate: () throws -> Generator.Batch) throws -> RunReport {
    let console = Console.current
    let hasText = pair.tokenizer != nil
    var printed = TextOutput(isOn: !settings.json && !settings.noStream)
    if let error = pair.tokenizerError, !settings.quiet {
      console.writeError("warning: there will be no text: \(error.diagnostics.first?.message ?? "no tokenizer")\n")
    }
    var failure: (any Error)?
    generator.onEvent = { [generator] _, event in
      // A full disk or a closed pipe: stop at the next step, and say why.
      do { try printed.add(event, hasText: hasText) } catch {
        failure = error
        generator.cancel.cancel()
      }
    }
    defer { generator.onEvent = nil }
    let batch: Generator.Batch
    do { batch = try generate() } catch {
      try? printed.finish()
      throw failure ?? error
    }
    if let failure { throw failure }
    let report = RunReport(prompts[0], batch, 0, generator)
    if let logits = settings.logits {
      let values = batch.promptLogits.first ?? []
      try writeFileAtomically(
        logits, bytes: values.flatMap { withUnsafeBytes(of: $0.bitPattern.littleEndian, Array.init) })
    }
    if settings.json {
      try console.write(report.json.text + "\n")
      return report
    }
    if settings.noStream { try printed.all(report.result, hasText: hasText) }
    try printed.finish()
    if report.result.finish == .context, !settings.quiet {
      let (size, most) = (pair.target.contextSize, pair.target.contextLength)
      let cure = size < most ? "-c takes up to \(most)" : "the model has no longer one"
      console.writeError("note: the context of \(size) tokens is full; \(cure)\n")
    }
    return report
  }
}
