import DustinModels
import DustinRunner
import DustinRuntime
import DustinSupport

/// Compares a model with reference outputs that another implementation made from the same weights.
///
/// A file holds a prompt, the logits behind it, and greedy tokens with the distance of the two best logits at each
/// (`prompt_ids`, `target_fp32_last_logits`, `target_fp32_greedy`, `target_fp32_margin`). In f32 the logits must agree
/// within 1e-3 and all tokens must be equal. The fast path is measured against our own f32 path along the reference
/// tokens: with d the largest difference of any logit, which must be at most 0.5, its tokens must be equal up to the first
/// margin below 2 d.
public struct ExactCheck {
  public struct Outcome: Sendable {
    public let name: String
    public let promptTokens: Int
    /// Largest difference to the reference's logits behind the prompt, in f32.
    public let logitError: Float
    /// Leading tokens that are equal to the reference's, in f32, of how many.
    public let equalTokens: Int
    public let tokens: Int
    /// Largest difference of a logit between fast and f32 along the reference tokens.
    public let fastDifference: Float
    /// The same for `fast`, and how many of them must be equal.
    public let fastEqualTokens: Int
    public let fastRequiredTokens: Int

    /// NaN is within no bound.
    public var isRight: Bool {
      logitError <= ExactCheck.logitBound && equalTokens == tokens
        && fastDifference <= ExactCheck.fastBound && fastEqualTokens >= fastRequiredTokens
    }
  }
  /// For `logitError`.
  public static let logitBound: Float = 1e-3
  /// For `fastDifference`: without it, the worse the fast path were, the fewer of its tokens would have
  /// to be equal.
  public static let fastBound: Float = 0.5

  struct Reference {
    let prompt: [Int32]
    let logits: [Float]
    let tokens: [Int32]
    let margins: [Float]
  }

  private let directory: String
  private let f32: LoadedModel
  private let fast: LoadedModel
  private let team: ThreadTeam

  /// - Parameters:
  ///   - model: the target's directory.
  ///   - directory: holds one safetensors file a prompt.
  ///   - options: the numerics are ignored: both are loaded.
  public init(model: String, directory: String, options: LoadOptions, team: ThreadTeam) throws {
    var options = options
    options.numerics = .f32
    f32 = try LoadedModel(path: model, role: .target, options: options)
    options.numerics = .fast
    fast = try LoadedModel(path: model, role: .target, options: options)
    self.directory = directory
    self.team = team
  }

  public func run(_ name: String) throws -> Outcome {
    let reference = try read("\(directory)/\(name).safetensors")
    return Self.judge(name, reference, exact: try outputs(f32, reference), fast: try outputs(fast, reference))
  }

  static func judge(_ name: String, _ reference: Reference, exact: Outputs, fast: Outputs) -> Outcome {
    let logitError = largestDifference(exact.logits[0], reference.logits)
    let difference = zip(exact.logits, fast.logits).reduce(Float(0)) { largest, pair in
      larger(largest, largestDifference(pair.0, pair.1))
    }
    return Outcome(
      name: name, promptTokens: reference.prompt.count, logitError: logitError,
      equalTokens: equalPrefix(exact.tokens, reference.tokens), tokens: reference.tokens.count,
      fastDifference: difference, fastEqualTokens: equalPrefix(fast.tokens, reference.tokens),
      fastRequiredTokens: reference.margins.firstIndex { !($0 >= 2 * difference) } ?? reference.tokens.count)
  }

  /// Logits behind the prompt and behind each reference token but the last, and the model's own greedy tokens.
  typealias Outputs = (logits: [[Float]], tokens: [Int32])

  private func outputs(_ model: LoadedModel, _ reference: Reference) throws -> Outputs {
    let engine = try Engine(model: model.compiled, team: team)
    let count = reference.tokens.count
    let cache = try KVCache(model.compiled, positions: reference.prompt.count + count)
    let prefilled = try engine.prefill([StepRows(cache, reference.prompt)], cancel: interruption)
    guard prefilled.isComplete else { throw Interrupted() }
    var logits = prefilled.logits
    let forced = Array(reference.tokens.dropLast())
    if !forced.isEmpty {
      let step = try engine.step("verify", [StepRows(cache, forced)])
      for row in forced.indices { logits.append(Array(try step.logits(sequence: 0, row: row))) }
    }
    var options = GenerationOptions()
    options.gamma = 0
    let loop = try SpeculativeLoop(target: engine, options: options, cancel: interruption)
    let request = GenerationRequest(prompt: reference.prompt, maxNewTokens: count, targetCache: cache)
    let tokens = try loop.run([request])[0].tokens
    if interruption.isCancelled { throw Interrupted() }
    return (logits, tokens)
  }

  private func read(_ path: String) throws -> Reference {
    let store = try WeightStore(file: path)
    let reference = Reference(
      prompt: try store.tensor("prompt_ids").ints(), logits: try store.tensor("target_fp32_last_logits").floats(),
      tokens: try store.tensor("target_fp32_greedy").ints(), margins: try store.tensor("target_fp32_margin").floats())
    guard !reference.prompt.isEmpty, !reference.tokens.isEmpty, reference.margins.count == reference.tokens.count else {
      throw DiagnosticError("reference", "the reference '\(path)' has no prompt, no tokens, or not a margin for each")
    }
    return reference
  }
}

/// Entries that are equal from the first on.
private func equalPrefix(_ a: [Int32], _ b: [Int32]) -> Int { zip(a, b).prefix { $0 == $1 }.count }

/// The larger one; NaN wins.
private func larger(_ a: Float, _ b: Float) -> Float { b <= a ? a : b }

private func largestDifference(_ a: [Float], _ b: [Float]) -> Float {
  a.count == b.count ? zip(a, b).reduce(0) { larger($0, abs($1.0 - $1.1)) } : .infinity
}
