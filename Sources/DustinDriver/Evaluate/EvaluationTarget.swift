import DustinRuntime
import DustinSupport

/// A text that target and draft have read, for any number of forks.
///
/// The last token is not read: every way of verifying reads it by itself, and so has what it keeps of a row.
final class PreparedContext {
  /// All tokens, the last one included.
  let tokens: [Int32]
  /// Hold all tokens but the last. Nil for a text of one token.
  let target: KVCache?
  let draft: KVCache?

  init(tokens: [Int32], target: KVCache?, draft: KVCache?) {
    self.tokens = tokens
    self.target = target
    self.draft = draft
  }
}

/// What greedy decoding made of a prompt.
struct Continuation {
  var tokens: [Int32]
  var text: [UInt8]
  var metrics: RunMetrics
}

/// Positions of the cache that the verification of one round read, beside the ones behind them.
struct ReadSets {
  /// Ascending positions of each plane.
  var sets: [[Int32]]
  /// The set of each KV head of each layer; nil: it reads everything.
  var ofLayer: [[Int?]]
}

/// Rounds over a text that is given: the draft proposes and the set is chosen as in a real round, but the verified rows
/// are the text's tokens.
protocol ForcedRounds: AnyObject {
  /// Runs draft, selection and verification; nothing is committed.
  ///
  /// - Parameter rows: The last committed token, then the text's next ones.
  /// - Returns: The target's rows, valid until the next call.
  func verify(_ rows: [Int32]) throws -> VerifiedRows
  /// Makes the first `count` rows of the last `verify` stay.
  func commit(_ count: Int) throws
  /// What the last `verify` read through; nil for a dense one.
  func sets() throws -> ReadSets?
}

/// What a forced round's verification left, until the engine's next call.
struct VerifiedRows {
  let step: StepResult
  /// Rows of the step in front of the round's own.
  var skipped = 0

  /// f32[vocabulary] behind a row of the round.
  func logits(_ row: Int) throws -> UnsafeBufferPointer<Float> { try step.logits(sequence: 0, row: skipped + row) }
}

/// A pair of models that verifies in one way, ready to run.
///
/// All targets of one evaluation share the layout of their caches, so that a text is read once and forked for each.
protocol EvaluationTarget: AnyObject {
  var mode: EvaluationMode { get }
  /// Continues the text of a context greedily.
  func generate(_ context: PreparedContext, maxNewTokens: Int, options: GenerationOptions) throws -> Continuation
  /// - Parameter positions: The most tokens of text and rows together.
  func rounds(_ context: PreparedContext, positions: Int, gamma: Int) throws -> any ForcedRounds
}

/// Loads a target and a draft that verify as a preset says.
typealias PairFactory = (_ preset: String) throws -> (target: LoadedModel, draft: LoadedModel?)
