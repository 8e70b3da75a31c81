import DustinRuntime
import DustinSupport

/// What is known of one sequence and of the run that it was part of.
package struct RunReport {
  package var id: JSON?
  package var promptTokens: Int
  package var result: GenerationResult
  package var run: RunMetrics
  var loadSeconds: Double
  var compileSeconds: Double
  /// Whether a draft proposed.
  var isSpeculative: Bool
  var preset: PresetSummary?
  /// The middle level of an exact run with a preset.
  var stack: StackDrafter.Metrics?

  /// - Parameter index: of the prompt in its batch.
  package init(_ prompt: Prompt, _ batch: Generator.Batch, _ index: Int, _ generator: Generator) {
    id = prompt.id
    promptTokens = prompt.tokens.count
    result = batch.results[index]
    run = batch.metrics
    loadSeconds = generator.pair.loadSeconds
    compileSeconds = generator.pair.compileSeconds
    preset = generator.pair.preset
    stack = batch.stack
    isSpeculative = generator.pair.draft != nil && generator.options.gamma > 0
  }

  /// The machine interface: keys are added, never renamed or removed.
  package var json: JSON {
    let speculation = result.speculation
    var entries: [(key: String, value: JSON)] = []
    if let id { entries.append((key: "id", value: id)) }
    entries += [
      (key: "prompt_tokens", value: .int(promptTokens)),
      (key: "tokens", value: .array(result.tokens.map { .int(Int($0)) })),
      (key: "text", value: .string(String(decoding: result.text, as: UTF8.self))),
      (
        key: "timings",
        value: .object([
          (key: "load_s", value: .double(loadSeconds)),
          (key: "compile_s", value: .double(compileSeconds)),
          (key: "prefill_s", value: .double(run.prefillSeconds)),
          (key: "ttft_s", value: .double(result.timeToFirstToken ?? run.prefillSeconds)),
          (key: "decode_s", value: .double(run.decodeSeconds)),
          (key: "decode_tokens_per_s", value: .double(run.decodeTokensPerSecond)),
        ])
      ),
      (
        key: "speculation",
        value: .object([
          (key: "rounds", value: .int(speculation.rounds)),
          (key: "drafted", value: .int(speculation.drafted)),
          (key: "accepted", value: .int(speculation.accepted)),
          (key: "mean_accepted_length", value: .double(speculation.meanAcceptedLength)),
          (key: "accepted_per_position", value: .array(speculation.acceptedPerPosition.map { .int($0) })),
        ])
      ),
      (
        key: "kv",
        value: .object([
          (key: "target", value: traffic(run.targetTraffic)),
          (key: "draft", value: traffic(run.draftTraffic)),
          (key: "scoring", value: scoring),
        ])
      ),
    ]
    if let preset { entries.append((key: "verification", value: verification(preset))) }
    return .object(entries)
  }

  private func verification(_ preset: PresetSummary) -> JSON {
    func number(_ value: Double?) -> JSON { value.map { .double($0) } ?? .null }
    var entries: [(key: String, value: JSON)] = [
      (key: "preset", value: .string(preset.text)),
      (key: "budget", value: preset.budget.map { .int($0) } ?? .null),
      (key: "arr_estimate", value: number(stack?.signalCoverage ?? run.signalCoverage)),
      (key: "dense_rounds", value: .int(run.denseRounds)),
      (key: "select_s", value: .double(run.selectSeconds)),
    ]
    if let stack {
      entries.append(
        (
          key: "exact",
          value: .object([
            (key: "agreement", value: .double(stack.agreement)), (key: "mean_rounds", value: .double(stack.meanRounds)),
            (key: "budgets", value: .array(stack.budgets.map(\.json))),
          ])
        ))
    }
    return .object(entries)
  }

  /// Keys that chose positions; they are among the bytes of target and draft.
  private var scoring: JSON {
    var scored = CacheTraffic()
    scored.bytesRead = run.targetTraffic.scoringBytes + run.draftTraffic.scoringBytes
    return traffic(scored)
  }

  private func traffic(_ traffic: CacheTraffic) -> JSON {
    func perToken(_ bytes: Int) -> JSON { .double(run.decodeTokens > 0 ? Double(bytes) / Double(run.decodeTokens) : 0) }
    return .object([
      (key: "bytes_read_per_token", value: perToken(traffic.bytesRead)),
      (key: "dense_bytes_per_token", value: perToken(traffic.denseBytes)),
    ])
  }

  /// A few lines for people.
  package var summary: String {
    let prefillRate = run.prefillSeconds > 0 ? Double(run.prefillTokens) / run.prefillSeconds : 0
    var lines = [
      "load \(fixed(loadSeconds, 2)) s, compile \(fixed(compileSeconds, 2)) s",
      "prefill \(grouped(run.prefillTokens)) tokens in \(fixed(run.prefillSeconds, 2)) s, \(fixed(prefillRate, 1)) tokens/s",
    ]
    if run.draftPrefillSeconds > 0 { lines.append("the draft's prefill \(fixed(run.draftPrefillSeconds, 2)) s") }
    if let first = run.timeToFirstToken { lines.append("first token after \(fixed(first, 2)) s") }
    if run.decodeTokens > 0 {
      lines.append(
        "decode \(grouped(run.decodeTokens)) tokens in \(fixed(run.decodeSeconds, 2)) s, "
          + "\(fixed(run.decodeTokensPerSecond, 1)) tokens/s")
    }
    let speculation = run.speculation
    if isSpeculative, speculation.drafted > 0 {
      let share = 100 * Double(speculation.accepted) / Double(speculation.drafted)
      lines.append(
        "accepted \(speculation.accepted) of \(speculation.drafted) drafted tokens (\(fixed(share, 1)) %), "
          + "\(fixed(speculation.meanAcceptedLength, 2)) tokens a round")
    }
    if let preset { lines += sparsityLines(preset) }
    return lines.map { $0 + "\n" }.joined()
  }

  /// Budget, what the sets cover and the bytes that they save.
  private func sparsityLines(_ preset: PresetSummary) -> [String] {
    var lines: [String] = []
    var line = "verification \(preset.text)"
    if let budget = preset.budget { line += ", budget \(grouped(budget))" }
    if let coverage = stack?.signalCoverage ?? run.signalCoverage {
      line += ", ARR estimate \(fixed(100 * coverage, 1)) % (share of the look-ahead's scores that the sets hold)"
    }
    lines.append(line)
    if run.decodeTokens > 0 {
      func kilobytes(_ bytes: Int) -> String { grouped(bytes / run.decodeTokens / 1024) }
      let (target, draft) = (run.targetTraffic, run.draftTraffic)
      lines.append(
        "KV read per token: target \(kilobytes(target.bytesRead)) KiB of \(kilobytes(target.denseBytes)) KiB dense, "
          + "draft \(kilobytes(draft.bytesRead)) of \(kilobytes(draft.denseBytes)) KiB, scoring included")
    }
    if let stack {
      lines.append(
        "exact: \(fixed(stack.meanRounds, 1)) sparse rounds a dense pass, which kept "
          + "\(fixed(100 * stack.agreement, 1)) % of the tokens that it looked at")
      lines += stack.budgets.map { "exact, \($0.text)" }
    } else if run.denseRounds > 0 {
      lines.append("verified densely: \(counted(run.denseRounds, "round"))")
    }
    return lines
  }
}

extension StackDrafter.Metrics.Budget {
  package var text: String {
    guard let agreement else { return "budget \(budget): not tried" }
    let worth =
      ratio.map { ", worth \(fixed($0, 2)) x plain decoding with \(counted(bestRounds, "round")) a dense pass" } ?? ""
    return "budget \(budget): \(counted(blocks, "block")), agreement \(fixed(100 * agreement, 1)) %\(worth)"
  }

  package var json: JSON {
    .object([
      (key: "budget", value: .int(budget)), (key: "blocks", value: .int(blocks)), (key: "rounds", value: .int(rounds)),
      (key: "agreement", value: agreement.map { .double($0) } ?? .null),
      (key: "implied_ratio", value: ratio.map { .double($0) } ?? .null),
    ])
  }
}
