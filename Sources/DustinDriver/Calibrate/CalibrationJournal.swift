import DustinModels
import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What a calibration has measured so far, one JSON object a line, so that a second start goes on where the first ended.
///
///     {"key": "…", "heads": {"target": [[0.1, …], …], "draft": [[…]]}}
///     {"key": "…", "candidate": "dustin{budget=512 look=1:1 …}", "kl": 0.03, …}
///
/// `key` is a hash of models, texts and settings; lines of other calibrations stay as they are. A line that was cut off is
/// no line.
struct CalibrationJournal {
  let path: String
  let key: String
  private var lines: [String] = []
  /// Of other calibrations.
  private var others: [String] = []
  private(set) var heads: (target: HeadScores, draft: HeadScores)?
  private(set) var results: [String: CandidateResult] = [:]

  /// - Parameters:
  ///   - settings: Everything that figures depend on.
  ///   - isAsked: The user wants to go on with this journal: one that is not there, or is of another calibration, is an
  ///     error.
  /// - Throws: `DiagnosticError` with id `journal`, or `file`.
  init(path: String, settings: String, isAsked: Bool) throws {
    self.path = path
    var hash = ByteHash()
    hash.add(settings.utf8)
    key = hash.text
    guard isAsked || fileExists(path) else { return }
    let text = String(decoding: try readFile(path, limit: 1 << 28), as: UTF8.self)
    for line in text.split(separator: "\n") {
      guard let value = try? JSONValue.parse(SourceBuffer(name: path, text: String(line))),
        let itsKey = value["key"]?.stringValue
      else { continue }
      guard itsKey == key else {
        others.append(String(line))
        continue
      }
      if let candidate = value["candidate"]?.stringValue, let result = CandidateResult(value) {
        results[candidate] = result
      } else if let target = Self.scores(value["heads"]?["target"]), let draft = Self.scores(value["heads"]?["draft"]) {
        heads = (target, draft)
      } else {
        continue
      }
      lines.append(String(line))
    }
    if isAsked, lines.isEmpty {
      throw DiagnosticError(
        "journal", "'\(path)' holds nothing of a calibration of these models with these texts and options",
        notes: [.note("models, books, --budget and --seed must be those of the calibration that was stopped")])
    }
  }

  private static func scores(_ value: JSONValue?) -> HeadScores? {
    guard let layers = value?.arrayValue, !layers.isEmpty else { return nil }
    let scores = layers.map { ($0.arrayValue ?? []).compactMap(\.doubleValue) }
    return scores.allSatisfy { !$0.isEmpty } ? HeadScores(scores: scores) : nil
  }

  var isEmpty: Bool { lines.isEmpty }

  mutating func add(target: HeadScores, draft: HeadScores) throws {
    func json(_ heads: HeadScores) -> JSON { .array(heads.scores.map { .array($0.map { .double($0) }) }) }
    heads = (target, draft)
    try add([
      (key: "heads", value: .object([(key: "target", value: json(target)), (key: "draft", value: json(draft))]))
    ])
  }

  mutating func add(_ candidate: String, _ result: CandidateResult) throws {
    results[candidate] = result
    try add([(key: "candidate", value: .string(candidate))] + result.json)
  }

  private mutating func add(_ members: [(key: String, value: JSON)]) throws {
    lines.append(JSON.object([(key: "key", value: .string(key))] + members).text)
    try write()
  }

  /// The file is complete or as it was.
  func write() throws {
    try writeFileAtomically(path, bytes: Array((others + lines).map { $0 + "\n" }.joined().utf8))
  }

  /// The calibration has ended well.
  mutating func remove() throws {
    lines = []
    if others.isEmpty { unlink(path) } else { try write() }
  }
}
