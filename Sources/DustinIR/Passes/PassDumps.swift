import DustinSupport

/// Prints the module around passes; what it prints is a `.dust` text that parses. The comments above a module that a pass
/// changed say what changed: operations, counters of the pass, and what a token costs before and after.
public final class PassDumps: Instrumentation {
  /// Which passes a dump concerns.
  public enum Selection: Sendable, Equatable {
    case none, all
    case named(Set<String>)

    func contains(_ pass: any Pass) -> Bool {
      switch self {
      case .none: false
      case .all: true
      case .named(let names): names.contains(pass.name)
      }
    }
  }
  public var before = Selection.none
  public var after = Selection.none
  /// After every pass that changed something.
  public var afterChange = false
  public var afterFailure = false
  /// Committed positions at which bytes and operations count; nil: `Module.usualLength`.
  public var length: Int?
  private let sink: (String) -> Void
  private var snapshot: ModuleSnapshot?

  /// - Parameter sink: takes whole texts, each ended by a line end.
  public init(
    before: Selection = .none, after: Selection = .none, afterChange: Bool = false, afterFailure: Bool = false,
    sink: @escaping (String) -> Void
  ) {
    self.before = before
    self.after = after
    self.afterChange = afterChange
    self.afterFailure = afterFailure
    self.sink = sink
  }

  public func willRun(_ pass: any Pass, at index: Int, on module: Module) {
    snapshot = after.contains(pass) || afterChange ? ModuleSnapshot(module, length: length) : nil
    if before.contains(pass) { sink(Self.banner("before", pass, index) + module.text()) }
  }

  public func didRun(_ pass: any Pass, at index: Int, on module: Module, outcome: PassOutcome) {
    guard after.contains(pass) || (afterChange && outcome.isChanged) else { return }
    sink(Self.text(after: pass, index, module, outcome, since: snapshot, length: length))
  }

  public func didFail(_ pass: any Pass, at index: Int, on module: Module, error: DiagnosticError) {
    guard afterFailure else { return }
    sink(Self.banner("failed in", pass, index, notes: error.diagnostics.map(\.message)) + module.text())
  }

  /// A module after a pass, below what the pass did.
  static func text(
    after pass: any Pass, _ index: Int, _ module: Module, _ outcome: PassOutcome, since snapshot: ModuleSnapshot?,
    length: Int?
  ) -> String {
    var notes = outcome.isChanged ? [] : ["no change"]
    let now = ModuleSnapshot(module, length: length)
    if let snapshot { notes += now.changes(since: snapshot) }
    notes += outcome.statistics.map { "\($0.name) = \($0.value)" }
    return banner("after", pass, index, notes: notes) + now.text
  }

  /// Comment lines: which pass, and what there is to say.
  static func banner(_ moment: String, _ pass: any Pass, _ index: Int, notes: [String] = []) -> String {
    var text = "// ---- \(moment) pass \(index + 1): \(PassPipeline.text(of: pass).replacing("\n", with: " "))\n"
    for note in notes {
      for line in note.split(separator: "\n") { text += "//      \(line)\n" }
    }
    return text
  }
}

/// Prints what every pass changed as a unified diff of the printed modules.
public final class PassDiffs: Instrumentation {
  private let sink: (String) -> Void
  private var before = ""

  /// - Parameter sink: takes whole diffs, each ended by a line end.
  public init(sink: @escaping (String) -> Void) { self.sink = sink }

  public func willRun(_ pass: any Pass, at index: Int, on module: Module) { before = module.text() }

  public func didRun(_ pass: any Pass, at index: Int, on module: Module, outcome: PassOutcome) {
    let text = PassPipeline.text(of: pass)
    let diff = LineDifference(from: before, to: module.text())
      .unified(from: "before pass \(index + 1): \(text)", to: "after pass \(index + 1): \(text)")
    if !diff.isEmpty { sink(diff) }
  }
}

/// Gives every module of a pipeline a file: `000-input.dust`, `001-canonicalize.dust`, … . Each is a module that parses,
/// below a comment that says what the pass did.
public final class PassFiles: Instrumentation {
  private let length: Int?
  private let sink: (_ name: String, _ text: String) -> Void
  private var snapshot: ModuleSnapshot?

  /// - Parameters:
  ///   - length: Committed positions at which bytes and operations count; nil: `Module.usualLength`.
  ///   - sink: Takes a file's name, without a directory, and its text.
  public init(length: Int? = nil, sink: @escaping (_ name: String, _ text: String) -> Void) {
    self.length = length
    self.sink = sink
  }

  public func willRun(_ pass: any Pass, at index: Int, on module: Module) {
    let now = ModuleSnapshot(module, length: length)
    if index == 0 { sink(Self.name(0, "input"), "// ---- input\n" + now.text) }
    snapshot = now
  }

  public func didRun(_ pass: any Pass, at index: Int, on module: Module, outcome: PassOutcome) {
    let text = PassDumps.text(after: pass, index, module, outcome, since: snapshot, length: length)
    sink(Self.name(index + 1, pass.name), text)
  }

  /// Numbers sort as the passes ran.
  private static func name(_ number: Int, _ pass: String) -> String {
    let harmless = pass.map { $0.isLetter || $0.isNumber || $0 == "-" || $0 == "_" ? $0 : "_" }
    let digits = String(number)
    return String(repeating: "0", count: max(0, 3 - digits.count)) + digits + "-" + String(harmless) + ".dust"
  }
}
