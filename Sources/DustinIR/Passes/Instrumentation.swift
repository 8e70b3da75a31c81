import DustinSupport

/// What became of one pass.
public struct PassOutcome {
  public let isChanged: Bool
  /// In the order in which the pass first mentioned them.
  public let statistics: [(name: String, value: Int)]
  public let duration: Duration

  public init(isChanged: Bool, statistics: [(name: String, value: Int)], duration: Duration) {
    self.isChanged = isChanged
    self.statistics = statistics
    self.duration = duration
  }
}

/// Watches the passes of a pipeline. Dumps, timing and statistics are instrumentations; a tool may add its own.
/// None of the hooks may change the module.
public protocol Instrumentation: AnyObject {
  /// - Parameter index: number of the pass in the pipeline, from 0.
  func willRun(_ pass: any Pass, at index: Int, on module: Module)
  func didRun(_ pass: any Pass, at index: Int, on module: Module, outcome: PassOutcome)
  /// The pass threw, or the verifier did after it; the module is as the pass left it.
  func didFail(_ pass: any Pass, at index: Int, on module: Module, error: DiagnosticError)
}

extension Instrumentation {
  public func willRun(_ pass: any Pass, at index: Int, on module: Module) {}
  public func didRun(_ pass: any Pass, at index: Int, on module: Module, outcome: PassOutcome) {}
  public func didFail(_ pass: any Pass, at index: Int, on module: Module, error: DiagnosticError) {}
}

/// Adds up the wall time of every pass.
public final class PassTiming: Instrumentation {
  public private(set) var entries: [(pass: String, duration: Duration)] = []

  public init() {}

  public func didRun(_ pass: any Pass, at index: Int, on module: Module, outcome: PassOutcome) {
    entries.append((pass.name, outcome.duration))
  }

  /// A line per pass in the order of the pipeline: milliseconds, share of the total, name.
  public func report() -> String {
    let total = entries.reduce(Duration.zero) { $0 + $1.duration }
    var lines = entries.map { line($0.duration, of: total, $0.pass) }
    lines.append(line(total, of: total, "total"))
    return lines.joined(separator: "\n") + "\n"
  }

  private func line(_ duration: Duration, of total: Duration, _ name: String) -> String {
    let microseconds = duration / .microseconds(1)
    let whole = Int(microseconds)
    let share = total > .zero ? Int((100 * (duration / total)).rounded()) : 0
    let fraction = String(1000 + whole % 1000).dropFirst()
    return "\(padded("\(whole / 1000).\(fraction)", 10)) ms \(padded("\(share)", 4)) %  \(name)"
  }
}

/// Collects the counters of every pass.
public final class PassStatistics: Instrumentation {
  public private(set) var entries: [(pass: String, name: String, value: Int)] = []

  public init() {}

  public func didRun(_ pass: any Pass, at index: Int, on module: Module, outcome: PassOutcome) {
    for (name, value) in outcome.statistics { entries.append((pass.name, name, value)) }
  }

  /// A line per counter in the order of the pipeline: value, pass, name.
  public func report() -> String {
    entries.map { "\(padded(String($0.value), 14)) \($0.pass): \($0.name)\n" }.joined()
  }
}

private func padded(_ text: String, _ width: Int) -> String {
  String(repeating: " ", count: max(0, width - text.count)) + text
}
