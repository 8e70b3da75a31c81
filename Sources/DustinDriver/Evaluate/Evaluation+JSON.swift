import DustinSupport

extension Evaluation {
  /// One object for every way of verifying and length. The machine interface: keys are added, never renamed or removed.
  var jsonLines: [JSON] {
    lengths.flatMap { length in cells.filter { $0.length == length }.map(json) } + longBench.map(\.json)
  }

  private func json(_ cell: EvaluationCell) -> JSON {
    var entries: [(key: String, value: JSON)] = [
      (key: "preset", value: .string(cell.mode.text)),
      (key: "name", value: .string(cell.mode.preset)),
      (key: "budget", value: cell.mode.budget.map { .int($0) } ?? .null),
      (key: "length", value: .int(cell.length)),
    ]
    if let tally = cell.retrieval { entries.append((key: "retrieval", value: json(tally))) }
    if let tally = cell.perplexity { entries.append((key: "perplexity", value: json(tally))) }
    if let tally = cell.recovery { entries.append((key: "arr", value: json(tally))) }
    if let tally = cell.drift { entries.append((key: "drift", value: json(tally))) }
    if let tally = cell.answerSpeed { entries.append((key: "answers", value: json(tally, cell.length))) }
    if let tally = cell.proseSpeed { entries.append((key: "prose", value: json(tally, cell.length))) }
    return .object(entries)
  }

  private func json(_ tally: RetrievalTally) -> JSON {
    func paired(_ count: PairedCount) -> [(key: String, value: JSON)] {
      [
        (key: "prompts", value: .int(count.count)), (key: "right", value: .int(count.right)),
        (key: "dense_right", value: .int(count.baseRight)), (key: "lost", value: .int(count.lost)),
        (key: "won", value: .int(count.won)), (key: "accuracy", value: .double(count.accuracy)),
      ]
    }
    func table(_ counts: [(key: String, value: PairedCount)]) -> JSON {
      .object(counts.map { (key: $0.key, value: .object(paired($0.value))) })
    }
    var entries = paired(tally.all)
    entries += [
      (key: "loss_rate", value: .double(tally.all.lossRate)),
      (key: "loss_rate_se", value: tally.all.standardError.map { .double($0) } ?? .null),
      (key: "agreement", value: .double(tally.agreement.mean)),
      (key: "by_task", value: table(tally.byTask.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })),
      (key: "by_depth", value: table(tally.byDepth.sorted { $0.key < $1.key }.map { ("\($0.key)", $0.value) })),
      (key: "by_names", value: table(tally.byNames.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })),
      (key: "copies", value: .int(tally.copies.count)),
      (key: "copy_tokens_right", value: tally.copyShare.map { .double($0) } ?? .null),
      (key: "dense_copy_tokens_right", value: tally.baseCopyShare.map { .double($0) } ?? .null),
    ]
    return .object(entries)
  }

  private func json(_ tally: PerplexityTally) -> JSON {
    .object([
      (key: "tokens", value: .int(tally.loss.count)),
      (key: "windows", value: .int(tally.loss.sums.count)),
      (key: "perplexity", value: .double(tally.perplexity)),
      (key: "word_perplexity", value: tally.wordPerplexity.map { .double($0) } ?? .null),
      (key: "nats", value: .double(tally.loss.mean)),
      (key: "dense_nats", value: .double(tally.denseLoss.mean)),
      (key: "change", value: .double(tally.change)),
      (key: "change_se", value: tally.changeError.map { .double($0) } ?? .null),
      (key: "kl", value: .double(tally.divergence.mean)),
      (key: "kl_se", value: tally.divergence.standardError.map { .double($0) } ?? .null),
      (key: "greedy_agreement", value: .double(tally.agreement.mean)),
      (key: "bin_tokens", value: .int(PerplexityTally.binSize)),
      (key: "nats_change_by_bin", value: .array(tally.differenceByBin.map { .double($0.mean) })),
    ])
  }

  private func json(_ tally: RecoveryTally) -> JSON {
    .object([
      (key: "rounds", value: .int(tally.byRow.first?.count ?? 0)),
      (key: "arr", value: .double(tally.mean)),
      (key: "oracle", value: .double(tally.oracle)),
      (key: "by_row", value: .array(tally.byRow.map { .double($0.mean) })),
      (key: "oracle_by_row", value: .array(tally.oracleByRow.map { .double($0.mean) })),
      (key: "by_layer", value: .array(tally.byLayer.map { .double($0.mean) })),
    ])
  }

  private func json(_ tally: DriftTally) -> JSON {
    .object([
      (key: "tokens", value: .int(tally.tokens)),
      (key: "bin_tokens", value: .int(DriftTally.binSize)),
      (key: "agreement", value: .double(tally.meanAgreement)),
      (key: "agreement_by_bin", value: .array(tally.agreement.map { .double($0.mean) })),
      (key: "dense_nats_by_bin", value: .array(tally.loss.map { .double($0.mean) })),
      (key: "equal_tokens", value: .double(tally.meanEqualTokens)),
    ])
  }

  private func json(_ tally: SpeedTally, _ length: Int) -> JSON {
    let plain = plain[length]?.tokensPerSecond ?? 0
    return .object([
      (key: "tokens", value: .int(tally.tokens)), (key: "rounds", value: .int(tally.rounds)),
      (key: "tokens_per_round", value: .double(tally.tokensPerRound)),
      (key: "decode_tokens_per_s", value: .double(tally.tokensPerSecond)),
      (key: "over_plain", value: plain > 0 ? .double(tally.tokensPerSecond / plain) : .null),
      (key: "seconds", value: .object(tally.phases.map { (key: $0.name, value: .double($0.seconds)) })),
      (
        key: "kv",
        value: .object([
          (
            key: "target",
            value: .object([
              (key: "bytes_read_per_token", value: .double(tally.targetBytesPerToken)),
              (key: "dense_bytes_per_token", value: .double(tally.targetDenseBytesPerToken)),
            ])
          ),
          (
            key: "draft",
            value: .object([
              (key: "bytes_read_per_token", value: .double(tally.draftBytesPerToken)),
              (key: "dense_bytes_per_token", value: .double(tally.draftDenseBytesPerToken)),
            ])
          ),
        ])
      ),
    ])
  }
}
