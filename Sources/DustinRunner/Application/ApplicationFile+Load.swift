import CDustin
import DustinRuntime
import DustinSupport
import DustinText

/// How an application is brought up.
package struct ApplicationOptions: Sendable {
  /// Most tokens of prompt and answer; nil: all that it was compiled for.
  package var contextSize: Int?
  /// The code to run; nil: the best that this machine can.
  package var level: CPULevel?
  /// The file of weights that lie outside; nil: beside the application, under the name that it was compiled with.
  package var weights: String?

  package init() {}
}

extension ApplicationFile {
  package func info() throws -> ApplicationInfo { try ApplicationInfo(bytes("info"), name: name) }

  /// The level whose code is to run.
  ///
  /// - Parameter runnable: what this machine can, best first.
  /// - Throws: `DiagnosticError` with id `unsupported-cpu` that says what there is and what the machine has.
  package func level(
    _ info: ApplicationInfo, wanted: CPULevel?, runnable: [CPULevel] = CPULevel.runnable
  ) throws -> CPULevel {
    let names = info.levels.map(\.rawValue).joined(separator: ", ")
    let best = runnable.first.map { "'\($0)'" } ?? "less than '\(CPULevel.v2)'"
    if let wanted {
      guard info.levels.contains(wanted) else {
        throw DiagnosticError("unsupported-cpu", "'\(name)' has no code for '\(wanted)', only for \(names)")
      }
      guard runnable.contains(wanted) else {
        throw DiagnosticError("unsupported-cpu", "this CPU cannot run code for '\(wanted)'; its best is \(best)")
      }
      return wanted
    }
    guard let level = runnable.first(where: info.levels.contains) else {
      throw DiagnosticError(
        "unsupported-cpu", "'\(name)' has code for \(names), and this CPU is \(best)",
        notes: [.note("compile it with '--cpu \(runnable.first ?? .v2)', which may be one of several")])
    }
    return level
  }

  package func program(_ role: String, _ level: CPULevel) throws -> Program {
    let section = "\(role)/\(level)/program"
    return try Program(serialized: bytes(section), "the section '\(section)' of '\(name)'")
  }

  /// Maps code and weights; reads the rest.
  ///
  /// - Parameter folder: where the application lies, for weights beside it.
  /// - Throws: `DiagnosticError` with id `unsupported-cpu`, `damaged`, `program`, `application`, `context` or `file`.
  package func load(_ options: ApplicationOptions, folder: String) throws -> RunnablePair {
    let start = monotonicSeconds()
    let info = try info()
    guard info.abi == Int(DUSTIN_ABI_VERSION) else {
      throw DiagnosticError(
        "application", "the code of '\(name)' is for the runtime \(info.abi), and this one is \(DUSTIN_ABI_VERSION)",
        notes: [.note("compile it anew")])
    }
    let level = try level(info, wanted: options.level)
    let most = info.models[0].contextSize
    if let size = options.contextSize, !(1...most).contains(size) {
      throw DiagnosticError(
        "context", "a context of \(size) tokens is outside 1 … \(most), which '\(name)' is made for")
    }
    let weights = try weightsFile(options.weights, folder: folder)
    var models = try info.models.map { try runnable($0, level, weights) }
    models[0].contextSize = options.contextSize ?? models[0].contextSize
    var tokenizer: Tokenizer?
    if info.hasTokenizer {
      tokenizer = try Tokenizer(serialized: bytes("tokenizer"), "the tokenizer of '\(name)'")
    }
    return RunnablePair(
      target: models[0], draft: models.count > 1 ? models[1] : nil, tokenizer: tokenizer,
      tokenizerError: info.tokenizerProblem.map { DiagnosticError("tokenizer", $0) },
      endTokens: Set(info.endTokens.compactMap { Int32(exactly: $0) }), preset: info.preset,
      loadSeconds: monotonicSeconds() - start, compileSeconds: 0)
  }

  private func runnable(
    _ model: ApplicationInfo.Model, _ level: CPULevel, _ weights: ApplicationFile
  ) throws -> RunnableModel {
    let program = try program(model.role, level)
    let packed = try weights.view("\(model.role)/weights")
    guard packed.count == program.weightBytes else {
      throw DiagnosticError(
        "damaged",
        "'\(weights.name)' holds \(packed.count) bytes of the \(model.role)'s weights, not \(program.weightBytes)")
    }
    let compiled = try CompiledModel(
      program: program, code: try code("\(model.role)/\(level)/code"), weights: packed.baseAddress, owners: [weights])
    return RunnableModel(
      name: name, compiled: compiled, vocabularySize: model.vocabularySize, contextSize: model.contextSize,
      contextLength: model.contextLength)
  }

  /// The file that holds the weights: this one, or the one beside it, or the given one.
  func weightsFile(_ given: String?, folder: String) throws -> ApplicationFile {
    if let usual = try info().weightsFile { return try otherFile(given, beside: "\(folder)/\(usual)") }
    if given != nil {
      throw DiagnosticError("application", "'\(name)' holds its weights itself: it takes no --weights")
    }
    return self
  }

  /// The file that holds the weights of this one: the same bytes, by size and checksum in both tables of contents.
  private func otherFile(_ given: String?, beside usual: String) throws -> ApplicationFile {
    let path = given ?? usual
    let other: ApplicationFile
    do { other = try ApplicationFile(path: path) } catch let error as DiagnosticError {
      guard given == nil, let first = error.diagnostics.first, first.id == "file" else { throw error }
      throw DiagnosticError(
        "file", first.message, notes: [.note("'\(name)' keeps its weights there; --weights FILE names another place")])
    }
    for section in table.sections where section.isElsewhere {
      let found = other.table.sections.first { $0.name == section.name }
      guard let found, found.count == section.count, found.checksum == section.checksum else {
        throw DiagnosticError(
          "application", "the weights in '\(path)' are not those that '\(name)' was compiled with",
          notes: [.note("both are written together by 'dustin compile'")])
      }
    }
    return other
  }
}
