import DustinSupport

/// Runs pipelines over modules.
///
///     var manager = PassManager()
///     manager.verifyEach = true
///     try manager.run(try PassPipeline.parse("canonicalize,cse", registry: .standard), on: module)
public struct PassManager {
  /// The ops that the module may hold.
  public var registry = OpRegistry.standard
  /// Verify after every pass rather than only after the last.
  public var verifyEach = false
  /// Run only so many passes of a pipeline: to find the first one that breaks something by bisection. Nil for all.
  public var passLimit: Int?
  public var instrumentations: [any Instrumentation] = []
  /// Takes a `.dust` text that repeats a failure: the module before the failing pass, and what was left of the pipeline
  /// as a RUN line, so that `dustin test` fails as the run did. Asking for it costs one printed module per pass, and every
  /// pass is verified: the pass that broke the module is the one to repeat.
  public var reproducer: ((String) -> Void)?
  /// What whoever runs the reproducer must give besides the file, for passes from outside: a RUN line names no programs.
  public var reproducerOptions: [String] = []

  public init() {}

  /// Changes the module in place.
  /// - Parameter first: number of the first pass, when others ran before this pipeline; `passLimit` counts them too.
  /// - Returns: whether any pass changed something.
  /// - Throws: what a pass or the verifier found; the module is then as the failing pass left it, fit for dumps only.
  @discardableResult
  public func run(_ pipeline: PassPipeline, on module: Module, first: Int = 0) throws -> Bool {
    let limit = max(0, min((passLimit ?? .max) - first, pipeline.passes.count))
    var isChanged = false
    for (place, pass) in pipeline.passes.prefix(limit).enumerated() {
      let index = first + place
      let before = reproducer == nil ? nil : module.text()
      for instrumentation in instrumentations { instrumentation.willRun(pass, at: index, on: module) }
      let context = PassContext(passName: pass.name, registry: registry)
      let start = ContinuousClock.now
      do {
        if let sentence = pass.validate() { throw DiagnosticError("pass-options", sentence) }
        try run(pass, on: module, context)
        let duration = ContinuousClock.now - start
        if verifyEach || reproducer != nil || place == limit - 1 { try verify(module, after: pass) }
        isChanged = isChanged || context.isChanged
        let outcome = PassOutcome(isChanged: context.isChanged, statistics: context.statistics, duration: duration)
        for instrumentation in instrumentations {
          instrumentation.didRun(pass, at: index, on: module, outcome: outcome)
        }
      } catch let error as DiagnosticError {
        for instrumentation in instrumentations {
          instrumentation.didFail(pass, at: index, on: module, error: error)
        }
        if let reproducer, let before {
          let rest = PassPipeline(Array(pipeline.passes[place..<limit]))
          reproducer(self.reproducer(of: error, rest: rest, before: before))
        }
        throw error
      }
    }
    return isChanged
  }

  /// A pass from outside may throw anything.
  private func run(_ pass: any Pass, on module: Module, _ context: PassContext) throws {
    do {
      try RunningPass.noting(pass.name) { try pass.run(on: module, context: context) }
    } catch let error where !(error is DiagnosticError || error is any PassEnding) {
      throw DiagnosticError("pass-failed", "\(pass.name): \(error)")
    }
  }

  /// Errors after a pass point into the module as the pass left it, which no file shows: it is printed, read back and
  /// verified there, so that the caret stands below the culprit's line.
  private func verify(_ module: Module, after pass: any Pass) throws {
    do {
      try Verifier.check(module)
    } catch let error as DiagnosticError {
      let buffer = SourceBuffer(name: "<after \(pass.name)>", text: module.text())
      var located = error
      do {
        try Verifier.check(try ModuleParser.parse(buffer, registry: registry))
      } catch let again as DiagnosticError {
        located = again
      }
      let head = Diagnostic("invalid-after-pass", "the module is not valid after '\(PassPipeline.text(of: pass))'")
      throw DiagnosticError([head] + located.diagnostics)
    }
  }

  private func reproducer(of error: DiagnosticError, rest: PassPipeline, before: String) -> String {
    // A quote inside of a word stands in quotes of the other kind.
    func word(_ text: String) -> String {
      "'\(text.replacing("\n", with: " ").replacing("'", with: #"'"'"'"#))'"
    }
    let options = reproducerOptions.map { $0.hasPrefix("--") ? $0 : word($0) }
    let given = options.isEmpty ? "" : " and " + options.joined(separator: " ")
    var text = "// RUN: opt -p \(word("\(rest)")) --verify-each\n"
    text += "// 'dustin test' with this file\(given) fails as the pipeline did:\n"
    for diagnostic in error.diagnostics {
      for line in diagnostic.rendered().split(separator: "\n") {
        // What it quotes must not look like a comment that tests obey.
        text += "//   \(line.replacing("//", with: "/ /"))\n"
      }
    }
    return text + before
  }
}

/// An error by which a pass ends without having failed, as after Ctrl-C: it is passed on as it is.
public protocol PassEnding: Error {}
