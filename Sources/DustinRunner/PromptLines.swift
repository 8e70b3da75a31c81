import DustinRuntime

/// Answers many prompts with a line of JSON each, in their order: a line is written as soon as its prompt and all before
/// it are done.
package struct PromptLines {
  package let generator: Generator
  /// Prompts that run at the same time.
  package let batchSize: Int

  package init(_ generator: Generator, batchSize: Int) {
    self.generator = generator
    self.batchSize = batchSize
  }

  /// - Throws: `Interrupted` after Ctrl-C, when the lines of all prompts that were done by then are written.
  package func run(_ prompts: [Prompt], maxNewTokens: Int) throws {
    defer { generator.onEnd = nil }
    for first in stride(from: 0, to: prompts.count, by: batchSize) {
      let batch = Array(prompts[first..<min(first + batchSize, prompts.count)])
      var written = 0
      var latest: Generator.Batch?
      generator.onEnd = { state in
        latest = state
        var lines = ""
        while written < batch.count, state.results[written].finish != .cancelled {
          lines += line(batch, written, state)
          written += 1
        }
        if !lines.isEmpty { try Console.current.write(lines) }
      }
      do {
        _ = try generator.run(batch, maxNewTokens: maxNewTokens, first: first)
      } catch {
        // No line before these will come any more: what is done need not wait for it.
        if let latest, !(error is OutputClosed) {
          let done = batch.indices.dropFirst(written).filter { latest.results[$0].finish != .cancelled }
          try? Console.current.write(done.map { line(batch, $0, latest) }.joined())
        }
        throw error
      }
    }
  }

  private func line(_ batch: [Prompt], _ index: Int, _ state: Generator.Batch) -> String {
    RunReport(batch[index], state, index, generator).json.text + "\n"
  }
}
