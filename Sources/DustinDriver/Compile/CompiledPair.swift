import CDustin
import DustinCodegen
import DustinModels
import DustinRunner
import DustinRuntime
import DustinSupport
import DustinText
import Synchronization

/// What goes into an executable but for the weights, which are packed when they are written.
struct CompiledPair {
  struct Part {
    let role: ModelRole
    let planned: PlannedModel
    /// One for each level, in the order of `info.levels`.
    let code: [Code]
  }
  /// One level's.
  struct Code: @unchecked Sendable {
    // Sendable: a plan is not changed after its lowering.
    let plan: KernelPlan
    let image: CodeImage
    var program: Program { plan.program }
  }

  let info: ApplicationInfo
  /// `Tokenizer.serialized` of the target's.
  let tokenizer: [UInt8]?
  let parts: [Part]

  /// Compiles a pair for several levels, all of it at the same time.
  ///
  /// - Parameters:
  ///   - levels: at least one.
  ///   - weightsFile: the name of the file beside the executable that the weights go into; nil: into the executable.
  /// - Throws: what `ModelPair.load` throws; `Interrupted` after Ctrl-C.
  init(
    target: String, draft: String?, options: LoadOptions, levels: [CPULevel], preset: PresetSummary?,
    weightsFile: String?
  ) throws {
    let bar = Mutex(ProgressBar("compiling", unit: "parts"))
    defer { bar.withLock { $0.clear() } }
    let paths = [(ModelRole.target, target)] + (draft.map { [(.draft, $0)] } ?? [])
    let total = paths.count * (levels.count + 1)
    let done = Mutex(0)
    @Sendable func finishOne() {
      let count = done.withLock { count in
        count += 1
        return count
      }
      bar.withLock { $0.update(count, of: total) }
    }

    var loading = Loading()
    let models = paths.map { _ in Slot<PlannedModel>() }
    let tokenizers = paths.map { _ in Slot<Tokenizer?>() }
    for (index, (role, path)) in paths.enumerated() {
      let options = role == .draft ? options.forDraft : options
      loading.add {
        models[index].fill { try PlannedModel(path: path, role: role, options: options) }
        finishOne()
      }
      loading.add { tokenizers[index].fill { try ModelPair.tokenizer(of: path) } }
    }
    loading.run()
    try checkInterruption()
    let planned = try models.map { try $0.value() }
    // As in a run: an odd tokenizer is no reason to refuse, since token ids may be given.
    var problems: [String] = []
    let read = try tokenizers.map { slot -> Tokenizer? in
      do { return try slot.value() } catch let error as DiagnosticError {
        problems.append(error.diagnostics.first?.message ?? "no tokenizer")
        return nil
      }
    }
    if planned.count > 1 {
      func side(_ index: Int) -> (path: String, config: ModelConfig, tokenizer: Tokenizer?) {
        (planned[index].directory.path, planned[index].directory.config, read[index])
      }
      try ModelPair.checkVocabulary(side(0), side(1))
    }

    var compiling = Loading()
    let outputs = planned.map { _ in levels.map { _ in Slot<Code>() } }
    for (model, slots) in zip(planned, outputs) {
      for (level, slot) in zip(levels, slots) {
        compiling.add {
          slot.fill {
            try checkInterruption()
            let output = try Compiler.compile(model.module, for: CPUTarget(level))
            return Code(plan: output.plan, image: output.code)
          }
          finishOne()
        }
      }
    }
    compiling.run()
    try checkInterruption()
    parts = try zip(paths, zip(planned, outputs)).map { path, made in
      Part(role: path.0, planned: made.0, code: try made.1.map { try $0.value() })
    }
    for part in parts {
      // All levels of a file read the same weights.
      guard part.code.allSatisfy({ $0.program.weightBytes == part.code[0].program.weightBytes }) else {
        throw DiagnosticError(
          "weights", "the levels' code reads the weights of '\(part.planned.directory.path)' differently")
      }
    }

    tokenizer = read[0]?.serialized()
    info = ApplicationInfo(
      dustin: dustinVersion, llvm: Compiler.llvmVersion, abi: Int(DUSTIN_ABI_VERSION),
      numerics: options.numerics.rawValue, preset: preset, levels: levels,
      endTokens: planned[0].directory.generation.endTokens.map { Int($0) }.sorted(), hasTokenizer: tokenizer != nil,
      tokenizerProblem: tokenizer == nil ? problems.first : nil,
      models: try parts.map { part in
        ApplicationInfo.Model(
          role: part.role.rawValue,
          name: part.planned.directory.path.split(separator: "/").last.map(String.init) ?? "",
          hash: try ModelDirectory(path: part.planned.directory.path).fingerprint(),
          vocabularySize: part.planned.directory.config.vocabSize, contextSize: part.planned.contextSize,
          contextLength: part.planned.directory.config.contextLength, passes: part.planned.passes)
      }, weightsFile: weightsFile)
  }
}
