import DustinRunner
import DustinRuntime
import DustinSupport

/// A speculative run beside a plain one of the same prompt, which is read only once.
struct PlainComparison {
  let promptTokens: Int
  let speculative: Generator.Batch
  let plain: Generator.Batch

  /// - Parameter prompt: is run with the draft; its text streams as usual.
  init(_ generator: Generator, _ prompt: Prompt, maxNewTokens: Int) throws {
    let model = generator.pair.target
    let positions = min(model.contextSize, prompt.tokens.count + min(maxNewTokens, model.contextSize))
    let cache = try KVCache(model.compiled, positions: positions)
    promptTokens = prompt.tokens.count
    speculative = try generator.run([prompt], maxNewTokens: maxNewTokens, targetCaches: [cache])
    // The second run finds the prompt in the cache and computes its last position again.
    let onEvent = generator.onEvent
    generator.onEvent = nil
    defer { generator.onEvent = onEvent }
    plain = try generator.run([prompt], maxNewTokens: maxNewTokens, drafts: false, targetCaches: [cache])
  }

  var isEqual: Bool { plain.results.map(\.tokens) == speculative.results.map(\.tokens) }

  /// - Parameter isGreedy: Equal tokens are promised for greedy decoding only.
  func table(isGreedy: Bool) -> String {
    let (fast, slow) = (speculative.metrics, plain.metrics)
    var table = TextTable(["", "plain", "speculative"])
    let prefill = fast.prefillSeconds > 0 ? Double(fast.prefillTokens) / fast.prefillSeconds : 0
    table.add(["prompt tokens", grouped(promptTokens), grouped(promptTokens)])
    table.add(["prefill of the target, tokens/s", "the same", fixed(prefill, 1)])
    // Plain decoding does without the draft, and could have begun when the target had read the prompt.
    let first = fast.timeToFirstToken ?? fast.prefillSeconds
    table.add(["time to first token, s", fixed(fast.prefillSeconds, 2), fixed(first, 2)])
    table.add(["new tokens", grouped(plain.results[0].tokens.count), grouped(speculative.results[0].tokens.count)])
    table.add(["decode, tokens/s", fixed(slow.decodeTokensPerSecond, 1), fixed(fast.decodeTokensPerSecond, 1)])
    table.add([
      "tokens a round", fixed(slow.speculation.meanAcceptedLength, 2), fixed(fast.speculation.meanAcceptedLength, 2),
    ])
    let drafted = fast.speculation.drafted
    let share = drafted > 0 ? 100 * Double(fast.speculation.accepted) / Double(drafted) : 0
    table.add(["accepted of drafted", "", "\(fast.speculation.accepted) of \(drafted) (\(fixed(share, 1)) %)"])
    if slow.decodeTokensPerSecond > 0 {
      table.add(["speedup", "1.00", fixed(fast.decodeTokensPerSecond / slow.decodeTokensPerSecond, 2)])
    }
    if isGreedy { table.add(["same tokens", "", isEqual ? "yes" : "NO"]) }
    return table.text
  }
}
