import DustinIR
import DustinModels
import DustinPasses
import DustinSupport

/// `sparsity.json`: what `dustin calibrate` found for a pair of models, as options of presets.
///
///     {"version": 1, "target": "0123456789abcdef", "draft": "…", "options": {"look": "1:1", "pool": "5"}, "why": […]}
struct SparsityFile: Sendable {
  static let version = 1
  static let name = "sparsity.json"

  var path: String
  /// Fingerprints of the models.
  var target: String
  var draft: String
  /// Texts of options, by name: those that a preset takes from a calibration and nobody gives are set from here.
  var options: [(name: String, value: String)]
  /// What was measured, for people.
  var why: [String]

  /// - Throws: `DiagnosticError` with id `sparsity-file` that names the file and points at what is wrong.
  init(path: String) throws {
    let buffer = SourceBuffer(name: path, utf8: try readFile(path, limit: 1 << 24))
    let root = try JSONValue.parse(buffer)
    func wrong(_ message: String, _ value: JSONValue?) -> DiagnosticError {
      DiagnosticError(
        "sparsity-file", "'\(path)': \(message)", at: (value ?? root).range,
        notes: [.note("'dustin calibrate' writes such files")])
    }
    guard case .object? = Optional(root.kind), let version = root["version"]?.intValue else {
      throw wrong("this is no sparsity file: it has no \"version\"", root["version"])
    }
    guard version == Self.version else {
      throw wrong("version \(version) is not known to this dustin, only \(Self.version)", root["version"])
    }
    func fingerprint(_ key: String) throws -> String {
      guard let text = root[key]?.stringValue else {
        throw wrong("\"\(key)\" must be the fingerprint of a model", root[key])
      }
      return text
    }
    let (target, draft) = (try fingerprint("target"), try fingerprint("draft"))
    guard case .object(let entries)? = root["options"]?.kind else {
      throw wrong("\"options\" must be an object", root["options"])
    }
    self.path = path
    self.target = target
    self.draft = draft
    options = try entries.map { key, value in
      guard let text = value.stringValue else { throw wrong("the option \"\(key)\" must be a text", value) }
      let known = PassRegistry.tool.presets.compactMap { preset in
        preset.options.first { $0.name == key && preset.calibratedOptions.contains(key) }
      }
      guard !known.isEmpty else { throw wrong("no preset takes an option \"\(key)\" from a calibration", value) }
      // Each has the option of the same name for the same thing.
      guard known.allSatisfy({ $0.read(text) }) else {
        throw wrong("the option \"\(key)\" must be \(known[0].kind), not \"\(text)\"", value)
      }
      return (key, text)
    }
    why = root["why"]?.arrayValue?.compactMap(\.stringValue) ?? []
    for preset in PassRegistry.tool.presets {
      let usual = preset.validate()
      fill(preset)
      if let problem = preset.validate(), problem != usual { throw wrong(problem, root["options"]) }
    }
  }

  /// Sets the options that the preset takes from a calibration.
  func fill(_ preset: any Preset) {
    for option in options where preset.calibratedOptions.contains(option.name) {
      _ = preset.options.first { $0.name == option.name }?.read(option.value)
    }
  }

  init(target: String, draft: String, options: [(name: String, value: String)], why: [String]) {
    path = Self.name
    self.target = target
    self.draft = draft
    self.options = options
    self.why = why
  }

  var json: JSON {
    .object([
      (key: "version", value: .int(Self.version)),
      (key: "target", value: .string(target)), (key: "draft", value: .string(draft)),
      (key: "options", value: .object(options.map { (key: $0.name, value: .string($0.value)) })),
      (key: "why", value: .array(why.map { .string($0) })),
    ])
  }

  /// The file that is given, or the one next to the target, if there is one for these two models.
  ///
  /// - Returns: The file, and a sentence when one lies there that was made with another draft.
  /// - Throws: `DiagnosticError` with id `sparsity-file` when the file is another target's, or damaged.
  static func find(given: String? = nil, target: String, draft: String?) throws -> (file: SparsityFile?, note: String?)
  {
    let path = given ?? target + (target.hasSuffix("/") ? "" : "/") + name
    guard given != nil || fileExists(path) else { return (nil, nil) }
    let file = try SparsityFile(path: path)
    guard try ModelDirectory(path: target).fingerprint() == file.target else {
      throw DiagnosticError(
        "sparsity-file", "'\(path)' was made for another target than '\(target)'",
        notes: [.note("make it anew with 'dustin calibrate', or remove it")])
    }
    if let draft, try ModelDirectory(path: draft).fingerprint() != file.draft {
      if given != nil {
        throw DiagnosticError(
          "sparsity-file", "'\(path)' was made for another draft than '\(draft)'",
          notes: [.note("make one for this pair with 'dustin calibrate'")])
      }
      return (nil, "'\(path)' was made with another draft and is not used")
    }
    return (file, nil)
  }
}
