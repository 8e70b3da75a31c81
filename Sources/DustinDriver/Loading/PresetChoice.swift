import DustinIR
import DustinModels
import DustinPasses
import DustinRunner
import DustinSupport

/// A `--preset` that was read, with what the models' sparsity file adds.
struct PresetChoice: Sendable {
  /// The preset with all options that somebody set: what stands in the pipelines.
  let text: String
  let name: String
  /// Positions that verification reads at most; nil for a preset whose verification is dense.
  let budget: Int?
  /// Heads of the draft that score, if somebody chose them.
  private let look: HeadChoice?
  /// Sentences for people: where options came from, what was left out.
  let notes: [String]

  /// What a run tells of it.
  var summary: PresetSummary { PresetSummary(text: text, budget: budget, notes: notes) }

  /// - Parameters:
  ///   - sparsity: The path of a sparsity file; nil: the one beside the target, if there is one.
  ///   - target: The target's directory.
  ///   - draft: The draft's directory, if there is a draft.
  init(_ text: String, sparsity: String?, target: String, draft: String?) throws {
    let found = try SparsityFile.find(given: sparsity, target: target, draft: draft)
    try self.init(text, file: found.file, fileNote: found.note, hasDraft: draft != nil)
    if let look, let draft { try Self.check(look, in: text, draft: draft) }
  }

  /// Refuses heads that the draft does not have: the target's passes cannot know.
  /// - Throws: `DiagnosticError` with id `heads`, with a caret below the option if `text` holds it.
  private static func check(_ look: HeadChoice, in text: String, draft: String) throws {
    let config = try ModelDirectory(path: draft).config
    func refused(_ message: String) -> DiagnosticError {
      let buffer = SourceBuffer(name: "--preset", text: text)
      let option = text.firstRange(of: "look=").map { option in
        let value = text[option.upperBound...].prefix { !" }\n".contains($0) }
        let start = text[..<option.lowerBound].utf8.count
        return SourceRange(buffer, start, start + "look=".utf8.count + value.utf8.count)
      }
      return DiagnosticError("heads", message, at: option)
    }
    for layer in look.layers {
      guard layer.layer < config.layers else {
        throw refused("the draft has no layer \(layer.layer), only 0 … \(config.layers - 1)")
      }
      if let head = layer.heads?.first(where: { $0 >= config.heads }) {
        throw refused("layer \(layer.layer) of the draft has no head \(head), only 0 … \(config.heads - 1)")
      }
    }
  }

  /// - Parameter text: `dustin`, `dustin{budget=128}`; one preset.
  /// - Throws: `DiagnosticError` with a caret for a misspelt name or option, and with id `preset-draft` when the preset
  ///   needs a draft and there is none.
  init(_ text: String, file: SparsityFile?, fileNote: String? = nil, hasDraft: Bool) throws {
    let namesHistory = text.contains("history=") && !text.contains("m=")
    var registry = PassRegistry()
    let known = PassRegistry.tool
    for name in known.presets.map(\.name) {
      guard let make = known.maker(name) else { continue }
      registry.register(Self.filled(make(), file, hasDraft: hasDraft, namesHistory: namesHistory))
    }
    let buffer = SourceBuffer(name: "--preset", text: text)
    let word = String(text.prefix { !"{, ".contains($0) })
    if !word.isEmpty, registry.make(word) == nil {
      let hint = suggestion(for: word, in: registry.names)
      throw DiagnosticError(
        "unknown-preset", "there is no preset '\(word)'\(hint)", at: SourceRange(buffer, 0, word.utf8.count),
        notes: [.note("'dustin presets' lists them")])
    }
    let passes = try PassPipeline.parse(buffer, registry: registry).passes
    guard passes.count == 1, let preset = passes[0] as? any Preset else {
      throw DiagnosticError(
        "preset", "--preset takes one preset, not \(passes.count == 0 ? "none" : String(passes.count))",
        at: SourceRange(buffer, 0, max(1, text.utf8.count)))
    }
    // Without a draft nothing looks ahead: what history the user names chooses everything.
    if !hasDraft, let dustin = preset as? DustinPreset, dustin.history != nil, dustin.m == nil { dustin.m = 0 }
    guard hasDraft || !preset.needsDraft else {
      throw DiagnosticError(
        "preset-draft", "preset '\(preset.name)' chooses positions by the draft's look-ahead, and there is no draft",
        notes: [.note("give one with -md DIR, or choose a preset that needs none: see 'dustin presets'")])
    }
    var notes = fileNote.map { [$0] } ?? []
    if let dustin = preset as? DustinPreset {
      if !hasDraft { notes.append("without a draft the whole set is chosen by the target's history (m=0)") }
      if dustin.needsDraft, dustin.look == nil {
        let rest = dustin.history == nil ? ", and the whole set is look-ahead" : ""
        notes.append(
          "no heads of the draft are known: every head of its last layer scores\(rest); 'dustin calibrate' finds better ones"
        )
      }
    }
    self.text = PassPipeline.text(of: preset)
    self.notes = notes
    name = preset.name
    look = preset.options.first { $0.name == "look" }.flatMap { HeadChoice(optionText: $0.text) }
    let sparse = preset.pipeline(for: .target)
    budget = sparse.isEmpty ? nil : preset.options.first { $0.name == "budget" }.flatMap { Int($0.text) }
  }

  /// A preset with the file's options, before the user's own are read.
  private static func filled(
    _ pass: any Pass, _ file: SparsityFile?, hasDraft: Bool, namesHistory: Bool
  ) -> any Pass {
    guard let preset = pass as? any Preset else { return pass }
    file?.fill(preset)
    // The file's share was measured with its own history.
    if namesHistory, let dustin = preset as? DustinPreset { dustin.m = nil }
    if !hasDraft, let dustin = preset as? DustinPreset, dustin.history != nil { dustin.m = 0 }
    return preset
  }
}
