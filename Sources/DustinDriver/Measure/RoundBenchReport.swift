import DustinRunner
import DustinRuntime
import DustinSupport

/// What `dustin bench --preset` prints.
struct RoundBenchReport {
  let benchmark: RoundBenchmark
  let limits: MachineLimits
  let choice: PresetChoice
  /// Longer contexts are copies of what was read.
  let readable: Int

  private func plain(_ line: RoundBenchmark.Line) -> RoundBenchmark.Line? {
    benchmark.lines.first { $0.way == .plain && $0.length == line.length && $0.batch == line.batch }
  }

  /// Against plain decoding behind the same contexts: as measured, and as the limits say with the acceptance that was seen.
  private func ratios(_ line: RoundBenchmark.Line) -> (measured: Double, predicted: Double)? {
    guard let plain = plain(line), plain.rate > 0, line.leastSecondsPerToken > 0 else { return nil }
    return (line.rate / plain.rate, plain.leastSecondsPerToken / line.leastSecondsPerToken)
  }

  var text: String {
    let all = limits.all
    var text = "\(choice.text), \(benchmark.tokens) new tokens a sequence, γ = \(benchmark.gamma), greedy\n"
    text += "limits: read \(fixed(all.readBytes / 1e9, 1)) GB/s, bf16 \(fixed(all.bf16 / 1e9, 0)) GFLOP/s, "
    text += "\(all.threads) threads; ratios are against plain decoding of the same run\n"
    if benchmark.lines.contains(where: { $0.length > readable }) {
      text += "beyond \(grouped(readable)) tokens caches hold copies of what was read: times only\n"
    }
    text += "\n"
    var table = TextTable([
      "way", "context", "batch", "tokens/s", "least … most", "ratio", "predicted", "tokens a round", "of the limit",
    ])
    for line in benchmark.lines {
      let ratios = ratios(line)
      table.add([
        line.way.rawValue, grouped(line.length), "\(line.batch)", fixed(line.rate, 1),
        "\(fixed(line.rates.first ?? 0, 1)) … \(fixed(line.rates.last ?? 0, 1))",
        ratios.map { fixed($0.measured, 2) } ?? "", ratios.map { fixed($0.predicted, 2) } ?? "",
        fixed(line.metrics.speculation.meanAcceptedLength, 2),
        "\(fixed(100 * line.leastSecondsPerToken * line.rate, 0)) %",
      ])
    }
    text += table.text + "\n"
    var phases = TextTable([
      "milliseconds a round", "context", "batch", "draft", "select", "verify", "accept", "other", "KV MB a token",
      "of dense", "ARR estimate",
    ])
    for line in benchmark.lines {
      let run = line.metrics
      let rounds = max(1, Double(run.speculation.rounds) / Double(line.batch))
      func each(_ seconds: Double) -> String { fixed(1e3 * seconds / rounds, 2) }
      let read = Double(run.targetTraffic.bytesRead + run.draftTraffic.bytesRead) / Double(max(1, run.decodeTokens))
      let dense = plain(line).map {
        Double($0.metrics.targetTraffic.bytesRead) / Double(max(1, $0.metrics.decodeTokens))
      }
      phases.add([
        line.way.rawValue, grouped(line.length), "\(line.batch)", each(run.draftSeconds), each(run.selectSeconds),
        each(run.verifySeconds), each(run.acceptSeconds), each(run.otherSeconds), fixed(read / 1e6, 2),
        dense.map { "\(fixed(100 * read / $0, 1)) %" } ?? "",
        (line.stack?.signalCoverage ?? run.signalCoverage).map { "\(fixed(100 * $0, 1)) %" } ?? "",
      ])
    }
    text += phases.text
    for line in benchmark.lines where !line.steps.isEmpty {
      text += "\nsteps of sparse rounds behind \(grouped(line.length)), batch \(line.batch), call by call:\n"
      for step in line.steps {
        let parts = step.kernels.prefix(8).map {
          "\($0.name) \(fixed(100 * $0.seconds / max(step.seconds, 1e-12), 0)) %"
        }
        let rows = step.rows == 0 ? counted(line.batch, "sequence") : "\(line.batch) x \(counted(step.rows, "row"))"
        text += "  @\(step.function), \(rows): "
        text += "\(fixed(step.seconds * 1e3, 2)) ms: \(parts.joined(separator: ", "))\n"
      }
    }
    for line in benchmark.lines {
      guard let stack = line.stack else { continue }
      text +=
        "\nexact stack behind \(grouped(line.length)), batch \(line.batch): \(fixed(stack.meanRounds, 2)) sparse rounds a "
        + "dense pass, agreement \(fixed(100 * stack.agreement, 1)) % of the tokens that dense passes looked at\n"
      for budget in stack.budgets { text += "  \(budget.text)\n" }
    }
    return text
  }

  var json: JSON {
    .object([
      (key: "preset", value: .string(choice.text)), (key: "gamma", value: .int(benchmark.gamma)),
      (key: "tokens", value: .int(benchmark.tokens)),
      (
        key: "limits",
        value: .object([
          (key: "threads", value: .int(limits.all.threads)),
          (key: "read_bytes_per_s", value: .double(limits.all.readBytes)),
          (key: "bf16_flop_per_s", value: .double(limits.all.bf16)),
        ])
      ),
      (key: "lines", value: .array(benchmark.lines.map(json))),
    ])
  }

  private func json(_ line: RoundBenchmark.Line) -> JSON {
    let run = line.metrics
    let ratios = ratios(line)
    let coverage = line.stack?.signalCoverage ?? run.signalCoverage
    let steps: [(key: String, value: JSON)] = line.steps.map { step in
      let kernels = step.kernels.map { (key: $0.name, value: JSON.double($0.seconds)) }
      return (key: "\(step.function)_kernel_seconds", value: .object(kernels))
    }
    let exact: [(key: String, value: JSON)] = [
      (key: "exact_agreement", value: line.stack.map { .double($0.agreement) } ?? .null),
      (key: "exact_rounds", value: line.stack.map { .double($0.meanRounds) } ?? .null),
      (key: "exact_budgets", value: .array(line.stack?.budgets.map(\.json) ?? [])),
    ]
    func seconds(_ value: Double) -> JSON {
      .double(value / max(1, Double(run.speculation.rounds) / Double(line.batch)))
    }
    let entries: [(key: String, value: JSON)] = [
      (key: "way", value: .string(line.way.rawValue)), (key: "context", value: .int(line.length)),
      (key: "batch", value: .int(line.batch)), (key: "tokens_per_s", value: .double(line.rate)),
      (key: "runs", value: .array(line.rates.map { .double($0) })),
      (key: "ratio", value: ratios.map { .double($0.measured) } ?? .null),
      (key: "predicted_ratio", value: ratios.map { .double($0.predicted) } ?? .null),
      (key: "tokens_per_round", value: .double(run.speculation.meanAcceptedLength)),
      (
        key: "seconds_per_round",
        value: .object([
          (key: "draft", value: seconds(run.draftSeconds)), (key: "select", value: seconds(run.selectSeconds)),
          (key: "verify", value: seconds(run.verifySeconds)), (key: "accept", value: seconds(run.acceptSeconds)),
          (key: "other", value: seconds(run.otherSeconds)),
        ])
      ),
      (key: "target_kv_bytes", value: .int(run.targetTraffic.bytesRead)),
      (key: "draft_kv_bytes", value: .int(run.draftTraffic.bytesRead)),
      (key: "new_tokens", value: .int(run.decodeTokens)),
      (key: "arr_estimate", value: coverage.map { .double($0) } ?? .null),
    ]
    return .object(entries + steps + exact)
  }
}
