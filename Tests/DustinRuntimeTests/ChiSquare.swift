import Foundation

/// Pearson's test of counts against probabilities.
struct ChiSquare {
  let statistic: Double
  let freedom: Int

  /// Cells with fewer than 5 expected draws are thrown together.
  init(counts: [Int], expected probabilities: [Double]) {
    let total = Double(counts.reduce(0, +))
    var cells: [(Double, Double)] = []
    var small = (0.0, 0.0)
    for (count, probability) in zip(counts, probabilities) {
      if probability * total >= 5 {
        cells.append((Double(count), probability * total))
      } else {
        small = (small.0 + Double(count), small.1 + probability * total)
      }
    }
    // Draws that cannot be are infinitely wrong, not a small cell.
    if small.1 > 0 || small.0 > 0 { cells.append(small) }
    statistic = cells.reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) / max($1.1, 1e-9) }
    freedom = cells.count - 1
  }

  /// Two samples of the same distribution.
  init(_ a: [Int], _ b: [Int]) {
    let (n, m) = (Double(a.reduce(0, +)), Double(b.reduce(0, +)))
    var sum = 0.0
    var cells = 0
    for (x, y) in zip(a, b) where x + y >= 10 {
      let difference = Double(x) * (m / n).squareRoot() - Double(y) * (n / m).squareRoot()
      sum += difference * difference / Double(x + y)
      cells += 1
    }
    statistic = sum
    freedom = cells - 1
  }

  /// Probability of a statistic at least this great when the hypothesis holds: the regularised upper incomplete gamma
  /// function Q(freedom/2, statistic/2), by its series or its continued fraction.
  var pValue: Double {
    let (a, x) = (Double(max(freedom, 1)) / 2, statistic / 2)
    if x <= 0 { return 1 }
    let scale = exp(a * log(x) - x - lgamma(a))
    if x < a + 1 {
      var (term, sum) = (1 / a, 1 / a)
      for n in 1..<2_000 {
        term *= x / (a + Double(n))
        sum += term
      }
      return 1 - scale * sum
    }
    var b = x + 1 - a
    var c = 1e300
    var d = 1 / b
    var h = d
    for n in 1..<2_000 {
      let k = -Double(n) * (Double(n) - a)
      b += 2
      d = 1 / (k * d + b)
      c = b + k / c
      h *= d * c
    }
    return scale * h
  }
}
