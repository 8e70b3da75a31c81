import DustinRuntime
import DustinSupport
import DustinText

/// A model as a run needs it, wherever it came from: compiled in this process, or mapped from an executable.
package struct RunnableModel: Sendable {
  /// What messages call it: its directory, or the executable's file.
  package var name: String
  package var compiled: CompiledModel
  /// Token ids are below this.
  package var vocabularySize: Int
  /// Most positions of the context.
  package var contextSize: Int
  /// Positions that the model was made for.
  package var contextLength: Int

  package init(
    name: String, compiled: CompiledModel, vocabularySize: Int, contextSize: Int, contextLength: Int
  ) {
    self.name = name
    self.compiled = compiled
    self.vocabularySize = vocabularySize
    self.contextSize = contextSize
    self.contextLength = contextLength
  }
}

/// A target, and the draft and the tokenizer if there are any, with what a run must know of them.
package struct RunnablePair: Sendable {
  package var target: RunnableModel
  package var draft: RunnableModel?
  package var tokenizer: Tokenizer?
  /// Why there is no tokenizer although there should be one.
  package var tokenizerError: DiagnosticError?
  /// Tokens that end a text.
  package var endTokens: Set<Int32>
  /// What makes verification sparse, if anything does.
  package var preset: PresetSummary?
  package var loadSeconds: Double
  package var compileSeconds: Double

  package init(
    target: RunnableModel, draft: RunnableModel?, tokenizer: Tokenizer?, tokenizerError: DiagnosticError? = nil,
    endTokens: Set<Int32>, preset: PresetSummary? = nil, loadSeconds: Double, compileSeconds: Double
  ) {
    self.target = target
    self.draft = draft
    self.tokenizer = tokenizer
    self.tokenizerError = tokenizerError
    self.endTokens = endTokens
    self.preset = preset
    self.loadSeconds = loadSeconds
    self.compileSeconds = compileSeconds
  }

  /// Why a text cannot become tokens.
  package var missingTokenizer: DiagnosticError {
    tokenizerError
      ?? DiagnosticError(
        "tokenizer", "'\(target.name)' has no tokenizer.json: it takes token ids only",
        notes: [.note("give the prompt as a JSON array of token ids, with --prompt-ids FILE")])
  }
}

/// What people and `--json` are told of a preset.
package struct PresetSummary: Sendable, Equatable {
  /// The preset with all options that somebody set.
  package var text: String
  /// Positions that verification reads at most; nil for a preset whose verification is dense.
  package var budget: Int?
  /// Sentences for people: where options came from, what was left out.
  package var notes: [String]

  package init(text: String, budget: Int?, notes: [String]) {
    self.text = text
    self.budget = budget
    self.notes = notes
  }
}
