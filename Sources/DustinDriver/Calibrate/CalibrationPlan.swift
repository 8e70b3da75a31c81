/// On what a calibration measures. Everything that its figures depend on is in `key`.
struct CalibrationPlan {
  /// Positions that verification reads at most.
  var budget = 512
  var seed: UInt64 = 1
  /// Tokens drafted a round.
  var gamma = 4
  /// Lengths of the windows of prose, in tokens, and windows of each.
  var proseLengths = [8192, 16_384]
  var windows = 3
  /// Tokens of each window's continuation that are scored.
  var tokens = 288
  /// Lengths of the retrieval prompts, and prompts of each.
  var promptLengths = [2048, 4096, 8192]
  var prompts = 8
  /// Greedy tokens behind each window of prose: how many a round brings.
  var generated = 96
  /// Rounds of a window whose attention is looked at; only windows of the least length are.
  var recoveryRounds = 4

  /// Layers of the draft, and of the target, that are tried.
  var draftLayers = 4
  var targetLayers = 3
  var pools = [1, 5, 9]
  var granularities = [1, 16]
  var draftSets = [0, 128, 256, 512]
  /// Quarters of the free positions that the look-ahead chooses beside a history.
  var shares = [0, 1, 2, 3]

  var key: String {
    "\(budget) \(seed) \(gamma) \(proseLengths) \(windows) \(tokens) \(promptLengths) \(prompts) \(generated) "
      + "\(recoveryRounds) \(Candidate.draftRecent)"
  }

  /// Leaves out what contexts are too short for.
  ///
  /// - Parameter context: Positions that both models can take.
  mutating func fit(context: Int) {
    let room = tokens + gamma + 1
    let fitting = proseLengths.filter { $0 + room <= context }
    // A model for short texts is calibrated on texts that nearly fill it.
    proseLengths = fitting.isEmpty ? [max(1, context - room)] : fitting
    let prompts = promptLengths.filter { $0 + gamma + 1 <= context }
    promptLengths = prompts.isEmpty ? [max(1, context - gamma - 1)] : prompts
  }
}

extension CalibrationPlan {
  /// Texts that every candidate is measured on.
  var textCount: Int { proseLengths.count * windows + promptLengths.count * prompts }
}
