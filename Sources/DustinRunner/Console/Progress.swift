import DustinSupport

/// A bar on standard error for long work; silent unless somebody looks, or asks for it.
package struct ProgressBar {
  private let title: String
  private let unit: String
  private let isShown: Bool
  private let start = monotonicSeconds()
  private var lastDrawn = 0.0
  private static let width = 30

  /// - Parameter isForced: show the bar although standard error is no terminal.
  package init(_ title: String, unit: String, isForced: Bool = false) {
    self.title = title
    self.unit = unit
    isShown = isForced || Console.current.errorsAreWatched
  }

  package mutating func update(_ done: Int, of total: Int) {
    let now = monotonicSeconds()
    guard isShown, total > 0, now - lastDrawn > 0.1 || done == total else { return }
    lastDrawn = now
    let filled = Self.width * done / total
    let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: Self.width - filled)
    let rate = Int(min(Double(done) / max(now - start, 1e-6), 1e15))
    Console.current.writeError("\r\u{1B}[K\(title) [\(bar)] \(done)/\(total) \(unit), \(rate) \(unit)/s")
  }

  /// Removes the bar, if there is one: what stands on the line otherwise is not the bar's.
  package mutating func clear() {
    if isShown, lastDrawn > 0 { Console.current.writeError("\r\u{1B}[K") }
    lastDrawn = 0
  }
}

/// Long work in parts: a bar where somebody looks at standard error; elsewhere a line that says what will be done, and if
/// it is asked for a line behind every part.
package struct PartProgress {
  private let title: String
  private let unit: String
  private let total: Int
  private let tellsParts: Bool
  private var bar: ProgressBar

  /// - Parameters:
  ///   - unit: one of the parts: `prompt`.
  ///   - isAsked: for a line behind every part.
  package init(_ title: String, _ total: Int, unit: String, isAsked: Bool) {
    self.title = title
    self.unit = unit
    self.total = total
    let console = Console.current
    tellsParts = isAsked && !console.errorsAreWatched
    bar = ProgressBar(title, unit: unit + "s")
    if console.errorsAreWatched {
      bar.update(0, of: total)
    } else if total > 0 {
      console.writeError("\(title): \(counted(total, unit))\n")
    }
  }

  /// A part was done before; so many are, it included.
  package mutating func skip(_ done: Int) { bar.update(done, of: total) }

  /// - Parameters:
  ///   - done: parts, this one included.
  ///   - what: a word about this one.
  package mutating func finish(_ done: Int, _ what: String = "") {
    bar.update(done, of: total)
    if tellsParts {
      Console.current.writeError("\(title): \(unit) \(done) of \(total)\(what.isEmpty ? "" : ", \(what)")\n")
    }
  }

  package mutating func clear() { bar.clear() }
}
