import DustinSupport

/// How a token is chosen from logits. Applied identically to the target and to the draft, before acceptance.
public struct Sampling: Sendable, Equatable {
  /// 0 (default): the greatest logit. Otherwise logits are divided by it first. Finite, not negative.
  public var temperature: Float
  /// Only the k most probable tokens; 0 (default): all.
  public var topK: Int
  /// Only the fewest most probable tokens that together reach this probability, in (0, 1]; 1 (default): all.
  public var topP: Float
  /// Only tokens with at least this share of the greatest probability, in [0, 1]; 0 (default): all.
  public var minP: Float
  /// Random numbers are a function of seed, sequence and position. Default 0.
  public var seed: UInt64

  public init(temperature: Float = 0, topK: Int = 0, topP: Float = 1, minP: Float = 0, seed: UInt64 = 0) {
    self.temperature = temperature
    self.topK = topK
    self.topP = topP
    self.minP = minP
    self.seed = seed
  }

  public var isGreedy: Bool { temperature == 0 }

  /// - Throws: `DiagnosticError` with id `sampling` that names the value and its range.
  public func validate() throws {
    guard temperature.isFinite, temperature >= 0 else {
      throw DiagnosticError("sampling", "temperature must be a number from 0 up, not \(temperature)")
    }
    guard topK >= 0 else { throw DiagnosticError("sampling", "top-k must be 0 (all) or more, not \(topK)") }
    guard topP > 0, topP <= 1 else {
      throw DiagnosticError("sampling", "top-p must be above 0 and at most 1, not \(topP)")
    }
    guard minP >= 0, minP <= 1 else { throw DiagnosticError("sampling", "min-p must be 0 … 1, not \(minP)") }
  }
}
