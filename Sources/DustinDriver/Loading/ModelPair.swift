import Dispatch
import DustinModels
import DustinRunner
import DustinSupport
import DustinText
import Synchronization

/// A target, and the draft and the tokenizer if there are any, ready to run.
public struct ModelPair: Sendable {
  public let target: LoadedModel
  public let draft: LoadedModel?
  /// Nil for a directory without `tokenizer.json`, and for a tokenizer that is not supported.
  public let tokenizer: Tokenizer?
  /// Why there is no tokenizer although the directory has a file for one.
  public let tokenizerError: DiagnosticError?
  /// Wall time of everything but compilation, which is the longer one of the two models.
  public let loadSeconds: Double
  public let compileSeconds: Double

  /// Loads both models at the same time.
  ///
  /// - Throws: `DiagnosticError` with id `vocabulary` when the draft does not speak the target's language, else what
  ///   loading throws.
  public static func load(target: String, draft: String? = nil, options: LoadOptions) throws -> ModelPair {
    let start = monotonicSeconds()
    var loading = Loading()
    let draftOptions = options.forDraft
    let (targetModel, draftModel) = (Slot<LoadedModel>(), Slot<LoadedModel>())
    let (targetTokenizer, draftTokenizer) = (Slot<Tokenizer?>(), Slot<Tokenizer?>())
    loading.add { targetModel.fill { try LoadedModel(path: target, role: .target, options: options) } }
    if let draft {
      loading.add { draftModel.fill { try LoadedModel(path: draft, role: .draft, options: draftOptions) } }
    }
    loading.add { targetTokenizer.fill { try Self.tokenizer(of: target) } }
    if let draft { loading.add { draftTokenizer.fill { try Self.tokenizer(of: draft) } } }
    loading.run()

    let loadedTarget = try targetModel.value()
    let loadedDraft = draft == nil ? nil : try draftModel.value()
    var tokenizer: Tokenizer?
    var tokenizerError: DiagnosticError?
    do { tokenizer = try targetTokenizer.value() } catch let error as DiagnosticError { tokenizerError = error }
    if let loadedDraft {
      try checkVocabulary(
        (loadedTarget.path, loadedTarget.config, tokenizer),
        (loadedDraft.path, loadedDraft.config, tokenizerError == nil ? try draftTokenizer.value() : nil))
    }
    let compile = max(loadedTarget.compileSeconds, loadedDraft?.compileSeconds ?? 0)
    return ModelPair(
      target: loadedTarget, draft: loadedDraft, tokenizer: tokenizer, tokenizerError: tokenizerError,
      loadSeconds: max(0, monotonicSeconds() - start - compile), compileSeconds: compile)
  }

  /// What a run needs of the pair.
  package func runnable(preset: PresetSummary? = nil) -> RunnablePair {
    RunnablePair(
      target: target.runnable, draft: draft?.runnable, tokenizer: tokenizer, tokenizerError: tokenizerError,
      endTokens: target.generation.endTokens, preset: preset, loadSeconds: loadSeconds, compileSeconds: compileSeconds)
  }

  static func tokenizer(of path: String) throws -> Tokenizer? {
    try ModelDirectory(path: path).tokenizerPath.map { try Tokenizer(file: $0) }
  }

  /// Equal tokenizers suffice: tables may be padded to different sizes. Without tokenizers the sizes must agree.
  static func checkVocabulary(
    _ target: (path: String, config: ModelConfig, tokenizer: Tokenizer?),
    _ draft: (path: String, config: ModelConfig, tokenizer: Tokenizer?)
  ) throws {
    if let targetTokenizer = target.tokenizer, let draftTokenizer = draft.tokenizer {
      if targetTokenizer.fingerprint == draftTokenizer.fingerprint { return }
    } else if target.config.vocabSize == draft.config.vocabSize {
      return
    }
    throw DiagnosticError(
      "vocabulary", "the draft '\(draft.path)' has another vocabulary than the target '\(target.path)'",
      notes: [
        .note(
          "a draft must have the target's tokenizer.json; the draft's table holds \(draft.config.vocabSize) tokens, the "
            + "target's \(target.config.vocabSize)")
      ])
  }
}

extension LoadedModel {
  var runnable: RunnableModel {
    RunnableModel(
      name: path, compiled: compiled, vocabularySize: config.vocabSize, contextSize: contextSize,
      contextLength: config.contextLength)
  }
}

extension GenerationConfig {
  /// Those of the end-of-text tokens that can be tokens.
  var endTokens: Set<Int32> { Set(eosTokenIDs.compactMap { Int32(exactly: $0) }) }
}

/// Work that runs at the same time on threads of its own.
struct Loading {
  private var tasks: [@Sendable () -> Void] = []

  mutating func add(_ task: @escaping @Sendable () -> Void) { tasks.append(task) }

  func run() {
    let tasks = tasks
    DispatchQueue.concurrentPerform(iterations: tasks.count) { tasks[$0]() }
  }
}

/// A value that another thread makes, or the error that it met.
final class Slot<Value: Sendable>: Sendable {
  private let result = Mutex<Result<Value, any Error>?>(nil)

  func fill(_ make: () throws -> Value) {
    let made = Result { try make() }
    result.withLock { $0 = made }
  }

  func value() throws -> Value {
    guard let result = result.withLock({ $0 }) else {
      throw DiagnosticError("load", "a part of the model was not loaded")
    }
    return try result.get()
  }
}
