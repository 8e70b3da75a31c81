import DustinRunner

/// From values to places along an axis, with the ticks to draw.
struct PlotScale {
  enum Kind { case linear, powersOfTwo }

  let kind: Kind
  let low: Double
  let high: Double
  let ticks: [Double]

  /// - Parameters:
  ///   - values: What must fit in; infinities and NaN are left out.
  ///   - including: Values that the axis shows besides, such as 0.
  ///   - limits: What the axis never goes beyond, such as 0 … 100 %.
  init(_ kind: Kind, values: [Double], including: [Double] = [], limits: ClosedRange<Double>? = nil) {
    var all = (values + including).filter(\.isFinite)
    if kind == .powersOfTwo { all = all.filter { $0 > 0 } }
    if all.isEmpty { all = kind == .powersOfTwo ? [1, 2] : [0, 1] }
    var (low, high) = (all.min() ?? 0, all.max() ?? 1)
    self.kind = kind
    switch kind {
    case .powersOfTwo:
      var tick = 1.0
      while tick * 2 <= low { tick *= 2 }
      while tick > low { tick /= 2 }
      var ticks: [Double] = []
      repeat {
        ticks.append(tick)
        tick *= 2
      } while ticks.last ?? high < high && ticks.count < 64
      self.ticks = ticks
      self.low = ticks.first ?? low
      self.high = max(ticks.last ?? high, self.low * 2)
    case .linear:
      if high - low < max(abs(high), 1) * 1e-9 {
        let room = max(abs(high) * 0.1, 0.5)
        (low, high) = (low - room, high + room)
      }
      if let limits { (low, high) = (max(low, limits.lowerBound), min(high, limits.upperBound)) }
      if high <= low { high = low + 1 }
      let step = Self.step(high - low)
      let first = (low / step).rounded(.down)
      let last = (high / step).rounded(.up)
      ticks = (0...Int(max(1, min(last - first, 20)))).map { (first + Double($0)) * step }
      self.low = ticks.first ?? low
      self.high = ticks.last ?? high
    }
  }

  /// 1, 2 or 5 times a power of ten, so that an axis has four to eight of them.
  private static func step(_ span: Double) -> Double {
    var power = 1.0
    while power * 10 <= span / 4 { power *= 10 }
    while power > span / 4 { power /= 10 }
    for factor in [1.0, 2, 5] where span / (power * factor) <= 8 { return power * factor }
    return power * 10
  }

  /// 0 … 1 along the axis.
  func place(_ value: Double) -> Double {
    switch kind {
    case .linear: (value - low) / (high - low)
    case .powersOfTwo: value <= 0 ? 0 : (log2(value) - log2(low)) / (log2(high) - log2(low))
    }
  }

  private func log2(_ value: Double) -> Double {
    // The C library's: files that draw need nothing else of it.
    logarithm(value) / logarithm(2)
  }

  func label(_ tick: Double) -> String {
    if tick == 0 { return "0" }
    let size = abs(tick)
    if size >= 10_000, tick == tick.rounded() { return grouped(Int(tick)) }
    let decimals = size >= 1 && tick == tick.rounded() ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.01 ? 3 : 5
    let text = fixed(tick, decimals)
    guard text.contains(".") else { return text }
    let kept = String(text.reversed().drop { $0 == "0" }.drop { $0 == "." }.reversed())
    return kept.isEmpty ? "0" : kept
  }
}
