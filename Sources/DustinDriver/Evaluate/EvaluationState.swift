import DustinModels
import DustinSupport
import Foundation

/// What an evaluation has done so far: as it grows, and as it is kept in a file between runs.
struct EvaluationState: Codable {
  static let currentVersion = 1
  var version = currentVersion
  /// What the figures depend on: models, ways of verifying, tokens a window. Lengths and counts may differ between runs.
  let settings: [String]
  /// Names of prompts and windows.
  var done: Set<String> = []
  var cells: [EvaluationCell] = []
  /// Plain dense decoding, without a draft, by length: what all speeds are compared with.
  var plain: [Int: SpeedTally] = [:]
  /// By data set and way of verifying.
  var longBench: [LongBenchTally] = []

  init(settings: [String]) { self.settings = settings }

  /// What a file holds, or nothing yet when there is no file.
  ///
  /// - Throws: `DiagnosticError` with id `resume` when the file is damaged or of a run with other settings.
  static func read(_ path: String, settings: [String]) throws -> EvaluationState {
    guard fileExists(path) else { return EvaluationState(settings: settings) }
    let bytes = try readFile(path, limit: 1 << 30)
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    guard let state = try? decoder.decode(EvaluationState.self, from: Data(bytes)),
      state.version == currentVersion
    else { throw DiagnosticError("resume", "'\(path)' is not what an evaluation left, or is damaged") }
    guard state.settings == settings else {
      let other = zip(state.settings, settings).first { $0 != $1 }
      throw DiagnosticError(
        "resume", "'\(path)' is of an evaluation with other settings",
        notes: other.map { [.note("there it is '\($0.0)', here '\($0.1)'")] } ?? [])
    }
    return state
  }

  func write(to path: String) throws {
    let encoder = JSONEncoder()
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    try writeFileAtomically(path, bytes: Array(encoder.encode(self)))
  }
}
