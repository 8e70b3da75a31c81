import DustinSupport

/// What a compiled pair was made from, and what a run must know beside programs and weights. Written as JSON, which is
/// also what `--info --json` prints.
package struct ApplicationInfo: Sendable, Equatable {
  package struct Model: Sendable, Equatable {
    /// `target` or `draft`.
    package var role: String
    /// The directory's own name.
    package var name: String
    /// `ModelDirectory.fingerprint`.
    package var hash: String
    package var vocabularySize: Int
    package var contextSize: Int
    package var contextLength: Int
    /// The pipeline that made its program.
    package var passes: String

    package init(
      role: String, name: String, hash: String, vocabularySize: Int, contextSize: Int, contextLength: Int,
      passes: String
    ) {
      self.role = role
      self.name = name
      self.hash = hash
      self.vocabularySize = vocabularySize
      self.contextSize = contextSize
      self.contextLength = contextLength
      self.passes = passes
    }
  }

  /// Of the tool that made it.
  package var dustin: String
  package var llvm: String
  /// `DUSTIN_ABI_VERSION` of its code.
  package var abi: Int
  package var numerics: String
  package var preset: PresetSummary?
  /// CPU levels, best first.
  package var levels: [CPULevel]
  package var endTokens: [Int]
  package var hasTokenizer: Bool
  /// Why there is none although the target's directory has a file for one.
  package var tokenizerProblem: String?
  /// The target, and the draft if there is one.
  package var models: [Model]
  /// The name of the file beside the executable that holds the weights; nil: the executable does.
  package var weightsFile: String?

  package init(
    dustin: String, llvm: String, abi: Int, numerics: String, preset: PresetSummary?, levels: [CPULevel],
    endTokens: [Int], hasTokenizer: Bool, tokenizerProblem: String?, models: [Model], weightsFile: String?
  ) {
    self.dustin = dustin
    self.llvm = llvm
    self.abi = abi
    self.numerics = numerics
    self.preset = preset
    self.levels = levels
    self.endTokens = endTokens
    self.hasTokenizer = hasTokenizer
    self.tokenizerProblem = tokenizerProblem
    self.models = models
    self.weightsFile = weightsFile
  }

  package var json: JSON {
    func text(_ value: String?) -> JSON { value.map { .string($0) } ?? .null }
    return .object([
      (key: "dustin", value: .string(dustin)), (key: "llvm", value: .string(llvm)), (key: "abi", value: .int(abi)),
      (key: "numerics", value: .string(numerics)),
      (
        key: "preset",
        value: preset.map { preset in
          .object([
            (key: "text", value: .string(preset.text)), (key: "budget", value: preset.budget.map { .int($0) } ?? .null),
            (key: "notes", value: .array(preset.notes.map { .string($0) })),
          ])
        } ?? .null
      ),
      (key: "cpu", value: .array(levels.map { .string($0.rawValue) })),
      (key: "end_tokens", value: .array(endTokens.map { .int($0) })), (key: "tokenizer", value: .bool(hasTokenizer)),
      (key: "tokenizer_problem", value: text(tokenizerProblem)),
      (
        key: "models",
        value: .array(
          models.map { model in
            .object([
              (key: "role", value: .string(model.role)), (key: "name", value: .string(model.name)),
              (key: "hash", value: .string(model.hash)), (key: "vocabulary", value: .int(model.vocabularySize)),
              (key: "context", value: .int(model.contextSize)),
              (key: "context_length", value: .int(model.contextLength)), (key: "passes", value: .string(model.passes)),
            ])
          })
      ),
      (key: "weights_file", value: text(weightsFile)),
    ])
  }

  /// - Throws: `DiagnosticError` with id `application` or `json`.
  package init(_ bytes: [UInt8], name: String) throws {
    let root = try JSONValue.parse(SourceBuffer(name: "the info of '\(name)'", utf8: bytes))
    func need<Value>(_ value: Value?, _ key: String) throws -> Value {
      guard let value else { throw DiagnosticError("application", "the info of '\(name)' lacks a valid '\(key)'") }
      return value
    }
    func text(_ key: String, of value: JSONValue = root) throws -> String { try need(value[key]?.stringValue, key) }
    func number(_ key: String, of value: JSONValue = root, atLeast least: Int = 0) throws -> Int {
      let number = try need(value[key]?.intValue, key)
      return try need(number >= least ? number : nil, key)
    }
    dustin = try text("dustin")
    llvm = try text("llvm")
    abi = try number("abi")
    numerics = try text("numerics")
    preset = try root["preset"].flatMap { preset in
      preset.isNull
        ? nil
        : PresetSummary(
          text: try text("text", of: preset), budget: preset["budget"]?.intValue,
          notes: preset["notes"]?.arrayValue?.compactMap(\.stringValue) ?? [])
    }
    // A level that this runner does not know cannot run here.
    levels = try need(root["cpu"]?.arrayValue, "cpu").compactMap { $0.stringValue.flatMap(CPULevel.init) }
    endTokens = try need(root["end_tokens"]?.arrayValue, "end_tokens").compactMap(\.intValue)
    hasTokenizer = try need(root["tokenizer"]?.boolValue, "tokenizer")
    tokenizerProblem = try root["tokenizer_problem"].flatMap {
      $0.isNull ? nil : try need($0.stringValue, "tokenizer_problem")
    }
    models = try need(root["models"]?.arrayValue, "models").map { model in
      Model(
        role: try text("role", of: model), name: try text("name", of: model), hash: try text("hash", of: model),
        vocabularySize: try number("vocabulary", of: model, atLeast: 1),
        contextSize: try number("context", of: model, atLeast: 1),
        contextLength: try number("context_length", of: model), passes: try text("passes", of: model))
    }
    guard models.map(\.role) == ["target"] || models.map(\.role) == ["target", "draft"] else {
      throw DiagnosticError("application", "the info of '\(name)' names neither a target nor a target and its draft")
    }
    weightsFile = try root["weights_file"].flatMap { $0.isNull ? nil : try need($0.stringValue, "weights_file") }
  }
}
