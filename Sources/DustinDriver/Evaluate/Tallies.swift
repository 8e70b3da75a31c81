import DustinRuntime
import DustinSupport

/// Answers of one way of verifying to the prompts of one length, beside the dense answers to the same prompts.
struct RetrievalTally: Codable {
  /// Without `copy`.
  private(set) var all = PairedCount()
  private(set) var byTask: [String: PairedCount] = [:]
  private(set) var byDepth: [Int: PairedCount] = [:]
  private(set) var byNames: [String: PairedCount] = [:]
  /// Of `copy`: shares of tokens right, one a prompt, and the dense ones.
  private(set) var copies: [Copy] = []
  /// Tokens that equal the dense output's, up to the first difference, over the dense output's.
  private(set) var agreement = GroupedMean()

  struct Copy: Codable {
    let share: Double
    let base: Double
  }

  mutating func add(_ prompt: EvaluationPrompt, _ output: Continuation, dense: Continuation) {
    let same = zip(output.tokens, dense.tokens).prefix { $0 == $1 }.count
    agreement.add(sum: Double(same), count: dense.tokens.count)
    if prompt.isCopy {
      copies.append(
        Copy(
          share: tokensRight(output.tokens, prompt.answerTokens),
          base: tokensRight(dense.tokens, prompt.answerTokens)))
      return
    }
    let (isRight, isBaseRight) = (answers(output.text, prompt.answer), answers(dense.text, prompt.answer))
    all.add(isRight, base: isBaseRight)
    byTask[prompt.task, default: PairedCount()].add(isRight, base: isBaseRight)
    if let depth = prompt.depthBin { byDepth[depth, default: PairedCount()].add(isRight, base: isBaseRight) }
    if let names = prompt.names { byNames[names, default: PairedCount()].add(isRight, base: isBaseRight) }
  }

  var prompts: Int { all.count + copies.count }
  /// Nil without a copy.
  var copyShare: Double? { copies.isEmpty ? nil : copies.reduce(0) { $0 + $1.share } / Double(copies.count) }
  var baseCopyShare: Double? { copies.isEmpty ? nil : copies.reduce(0) { $0 + $1.base } / Double(copies.count) }
}

/// Scores of a given text's tokens under one way of verifying, beside the dense scores. One group a window.
struct PerplexityTally: Codable {
  /// −ln p of a token, in nats.
  private(set) var loss = GroupedMean()
  private(set) var denseLoss = GroupedMean()
  /// loss − dense loss.
  private(set) var difference = GroupedMean()
  /// D(dense ‖ this), in nats.
  private(set) var divergence = GroupedMean()
  /// The most probable token is the dense one.
  private(set) var agreement = GroupedMean()
  /// `difference` by the token's distance from the end of the prompt, in bins of `binSize`.
  private(set) var differenceByBin: [GroupedMean] = []
  /// White-space separated words in the scored text.
  private(set) var words = 0

  static let binSize = 128

  /// One scored token.
  struct Token {
    var loss: Double
    var denseLoss: Double
    var divergence: Double
    var agrees: Bool
  }

  mutating func add(window tokens: [Token], words: Int) {
    func sum(_ value: (Token) -> Double) -> Double { tokens.reduce(0) { $0 + value($1) } }
    loss.add(sum: sum(\.loss), count: tokens.count)
    denseLoss.add(sum: sum(\.denseLoss), count: tokens.count)
    difference.add(sum: sum { $0.loss - $0.denseLoss }, count: tokens.count)
    divergence.add(sum: sum(\.divergence), count: tokens.count)
    agreement.add(sum: sum { $0.agrees ? 1 : 0 }, count: tokens.count)
    for start in stride(from: 0, to: tokens.count, by: Self.binSize) {
      let bin = tokens[start..<min(start + Self.binSize, tokens.count)]
      if start / Self.binSize == differenceByBin.count { differenceByBin.append(GroupedMean()) }
      differenceByBin[start / Self.binSize].add(
        sum: bin.reduce(0) { $0 + $1.loss - $1.denseLoss }, count: bin.count)
    }
    self.words += words
  }

  var perplexity: Double { exponential(loss.mean) }
  /// exp(total loss / words): comparable between tokenizers, as PG-19 asks for. Nil without words.
  var wordPerplexity: Double? { words == 0 ? nil : exponential(loss.sums.reduce(0, +) / Double(words)) }
  /// Change of the perplexity against dense, as a share: 0.02 is +2 %.
  var change: Double { exponential(difference.mean) - 1 }
  /// Of `change`, by the slope of exp.
  var changeError: Double? { difference.standardError.map { exponential(difference.mean) * $0 } }
}

/// Attention recovery: the share of the target's own attention that falls on what a round read.
struct RecoveryTally: Codable {
  /// By row of the round; one group a round. Row 0 is the last committed token.
  private(set) var byRow: [GroupedMean] = []
  /// Of the best sets of the same size, by row.
  private(set) var oracleByRow: [GroupedMean] = []
  /// By layer, over all rows.
  private(set) var byLayer: [GroupedMean] = []

  mutating func add(_ measured: RecoveryProbe.Measured) {
    func add(_ values: [Double], to means: inout [GroupedMean]) {
      while means.count < values.count { means.append(GroupedMean()) }
      for (index, value) in values.enumerated() { means[index].add(sum: value, count: 1) }
    }
    add(measured.byRow, to: &byRow)
    add(measured.oracleByRow, to: &oracleByRow)
    add(measured.byLayer, to: &byLayer)
  }

  private static func mean(_ means: [GroupedMean]) -> Double {
    means.isEmpty ? 0 : means.reduce(0) { $0 + $1.mean } / Double(means.count)
  }
  /// Mean over the rows.
  var mean: Double { Self.mean(byRow) }
  var oracle: Double { Self.mean(oracleByRow) }
}

/// Long greedy outputs, read again by dense verification.
struct DriftTally: Codable {
  static let binSize = 128
  /// Tokens that the dense target would have chosen after the same text, by distance from the prompt's end.
  private(set) var agreement: [GroupedMean] = []
  /// −ln p of the output's tokens under dense verification, in nats.
  private(set) var loss: [GroupedMean] = []
  /// Tokens until the output leaves the dense one, one a window; the whole length when it does not.
  private(set) var equalTokens: [Int] = []
  private(set) var tokens = 0

  mutating func add(agrees: [Bool], loss losses: [Double], equalTokens: Int) {
    for start in stride(from: 0, to: agrees.count, by: Self.binSize) {
      let range = start..<min(start + Self.binSize, agrees.count)
      let bin = start / Self.binSize
      if bin == agreement.count {
        agreement.append(GroupedMean())
        loss.append(GroupedMean())
      }
      agreement[bin].add(sum: agrees[range].reduce(0) { $0 + ($1 ? 1 : 0) }, count: range.count)
      loss[bin].add(sum: losses[range].reduce(0, +), count: range.count)
    }
    self.equalTokens.append(equalTokens)
    tokens += agrees.count
  }

  private static func mean(_ bins: [GroupedMean]) -> Double {
    let count = bins.reduce(0) { $0 + $1.count }
    return count == 0 ? 0 : bins.reduce(0) { $0 + $1.sums.reduce(0, +) } / Double(count)
  }
  var meanAgreement: Double { Self.mean(agreement) }
  var meanEqualTokens: Double {
    equalTokens.isEmpty ? 0 : Double(equalTokens.reduce(0, +)) / Double(equalTokens.count)
  }
}

/// Rounds that generated text: times, tokens and bytes.
struct SpeedTally: Codable {
  struct Phase: Codable {
    let name: String
    var seconds: Double
  }

  private(set) var decodeSeconds = 0.0
  /// Draft, select, verify, accept and what is left, in seconds.
  private(set) var phases: [Phase] = []
  private(set) var tokens = 0
  private(set) var rounds = 0
  private(set) var targetBytes = 0
  private(set) var targetDenseBytes = 0
  private(set) var draftBytes = 0
  private(set) var draftDenseBytes = 0

  mutating func add(_ metrics: RunMetrics) {
    decodeSeconds += metrics.decodeSeconds
    for (index, (name, seconds)) in Self.phases(of: metrics).enumerated() {
      if index == phases.count { phases.append(Phase(name: name, seconds: 0)) }
      phases[index].seconds += seconds
    }
    tokens += metrics.decodeTokens
    rounds += metrics.speculation.rounds
    targetBytes += metrics.targetTraffic.bytesRead
    targetDenseBytes += metrics.targetTraffic.denseBytes
    draftBytes += metrics.draftTraffic.bytesRead
    draftDenseBytes += metrics.draftTraffic.denseBytes
  }

  /// The parts that the loop's decode time divides into.
  private static func phases(of metrics: RunMetrics) -> [(name: String, seconds: Double)] {
    [
      ("draft", metrics.draftSeconds), ("select", metrics.selectSeconds), ("verify", metrics.verifySeconds),
      ("accept", metrics.acceptSeconds), ("other", metrics.otherSeconds),
    ]
  }

  var tokensPerRound: Double { rounds == 0 ? 0 : Double(tokens) / Double(rounds) }
  var tokensPerSecond: Double { decodeSeconds > 0 ? Double(tokens) / decodeSeconds : 0 }
  private func perToken(_ bytes: Int) -> Double { tokens == 0 ? 0 : Double(bytes) / Double(tokens) }
  /// KV bytes read a token, of target and draft together.
  var bytesPerToken: Double { perToken(targetBytes) + perToken(draftBytes) }
  var targetBytesPerToken: Double { perToken(targetBytes) }
  var targetDenseBytesPerToken: Double { perToken(targetDenseBytes) }
  var draftBytesPerToken: Double { perToken(draftBytes) }
  var draftDenseBytesPerToken: Double { perToken(draftDenseBytes) }
  /// KV bytes that the target's rounds read, over what dense rounds of the same rows read.
  var targetShare: Double { targetDenseBytes == 0 ? 1 : Double(targetBytes) / Double(targetDenseBytes) }
}

/// All that is known of one way of verifying at one length.
struct EvaluationCell: Codable {
  let mode: EvaluationMode
  let length: Int
  var retrieval: RetrievalTally?
  var perplexity: PerplexityTally?
  var recovery: RecoveryTally?
  var drift: DriftTally?
  /// Of answers to retrieval prompts, and of long outputs: texts of other kinds.
  var answerSpeed: SpeedTally?
  var proseSpeed: SpeedTally?

  init(mode: EvaluationMode, length: Int) {
    self.mode = mode
    self.length = length
  }

  /// Long outputs say more of speed than short answers.
  var speed: SpeedTally? { proseSpeed ?? answerSpeed }
}
