#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

// Angles grow with the position, and the last place of a frequency with them (0.002 rad at position 32768). PyTorch
// computes frequencies in f32, each step rounded: these functions take the same steps in the same order. The power is the
// one step that libraries round differently. It is taken in f64 and rounded once, so it is the nearest f32; PyTorch's
// vector code differs from that in the last place of about one power in forty.

extension RopeParameters {
  /// Angle per position of each of the `headDim / 2` pairs, as transformers computes them in f32.
  public func frequencies(headDim: Int) -> [Float] {
    guard headDim >= 2 else { return [] }
    let powers = (0..<headDim / 2).map { pair in
      Float(pow(Double(Float(theta)), Double(Float(2 * pair) / Float(headDim))))
    }
    let plain = powers.map { 1 / $0 }
    switch scaling {
    case .none:
      return plain
    case .linear(let factor):
      return plain.map { $0 / Float(factor) }
    case .llama3(let factor, let low, let high, let original):
      return plain.map { RopeParameters.llama3($0, Float(factor), low, high, Double(original)) }
    case .yarn(let yarn):
      return yarn.blend(powers, headDim: headDim, theta: theta)
    }
  }

  private static func llama3(
    _ frequency: Float, _ factor: Float, _ low: Double, _ high: Double, _ original: Double
  ) -> Float {
    let wavelength = (1 / frequency) * Float(2 * Double.pi)
    if wavelength > Float(original / low) { return frequency / factor }
    if wavelength < Float(original / high) { return frequency }
    let smooth = ((1 / wavelength) * Float(original) - Float(low)) / Float(high - low)
    let interpolated = (1 - smooth) * frequency / factor
    let kept = smooth * frequency
    return interpolated + kept
  }
}

extension RopeParameters.YaRN {
  /// 0.1 m ln(s) + 1 (section 3.4).
  static func magnitude(_ scale: Double, _ multiplier: Double) -> Double {
    scale <= 1 ? 1 : 0.1 * multiplier * log(scale) + 1
  }

  /// `powers` holds theta^(2i/D); the blend of its reciprocals with the interpolated ones (section 3.2).
  func blend(_ powers: [Float], headDim: Int, theta: Double) -> [Float] {
    /// The dimension whose wave turns `rotations` times over the original context.
    func dimension(_ rotations: Double) -> Double {
      let turns = Double(originalMaxPositions) / (rotations * 2 * Double.pi)
      return Double(headDim) * log(turns) / (2 * log(theta))
    }
    var low = dimension(betaFast)
    var high = dimension(betaSlow)
    if truncate {
      low = low.rounded(.down)
      high = high.rounded(.up)
    }
    low = max(low, 0)
    high = min(high, Double(headDim - 1))
    if low == high { high += 0.001 }
    return powers.enumerated().map { pair, power in
      let ramp = min(max((Float(pair) - Float(low)) / Float(high - low), 0), 1)
      let keep = 1 - ramp
      let interpolated = 1 / (Float(factor) * power) * (1 - keep)
      let kept = 1 / power * keep
      return interpolated + kept
    }
  }
}
