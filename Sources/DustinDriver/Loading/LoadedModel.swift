import DustinCodegen
import DustinIR
import DustinModels
import DustinPasses
import DustinRuntime
import DustinSupport
import DustinText

/// A model that is ready to run: its directory's settings, the module it was compiled from, code and packed weights.
public final class LoadedModel: @unchecked Sendable {
  // Sendable: the module and the plan are not changed after loading; everything else is immutable.
  public let path: String
  public let config: ModelConfig
  public let generation: GenerationConfig
  /// In stage planned.
  public let module: Module
  public let plan: KernelPlan
  public let compiled: CompiledModel
  /// Most positions of the context.
  public let contextSize: Int
  /// Passes, plan and machine code.
  public let compileSeconds: Double

  /// Reads a model directory, compiles it and packs its weights; the files are not mapped any more afterwards.
  ///
  /// - Throws: `DiagnosticError` for whatever is wrong with the directory, the options or the pipeline.
  public init(path: String, role: ModelRole, options: LoadOptions) throws {
    let planned = try PlannedModel(path: path, role: role, options: options)
    module = planned.module
    self.path = planned.directory.path
    config = planned.directory.config
    generation = planned.directory.generation
    contextSize = planned.contextSize

    let start = monotonicSeconds()
    let output = try Compiler.compile(module, for: options.target)
    compileSeconds = planned.passSeconds + monotonicSeconds() - start
    plan = output.plan
    let weights = try planned.packedWeights(for: output.plan)
    compiled = try CompiledModel(
      program: output.program, code: output.code, weights: UnsafeRawPointer(weights.base),
      owners: [weights])
  }
}

/// A model directory and the module that its pipeline makes of it: what does not depend on the CPU.
final class PlannedModel: @unchecked Sendable {
  // Sendable: the module is not changed after init; the directory's weights are asked for by one thread at a time.
  let directory: ModelDirectory
  /// In stage planned.
  let module: Module
  /// Most positions of the context.
  let contextSize: Int
  /// The passes' text.
  let passes: String
  let passSeconds: Double

  init(path: String, role: ModelRole, options: LoadOptions) throws {
    directory = try ModelDirectory(path: path)
    module = try directory.importModule(
      context: options.contextSize, maxRows: options.maxRows, mayBeLonger: options.mayBeLonger)
    contextSize = options.contextSize ?? directory.config.contextLength
    let start = monotonicSeconds()
    let prepared = try options.pipeline(for: role, of: module)
    passes = prepared.text
    try prepared.run(on: module)
    passSeconds = monotonicSeconds() - start
  }

  /// The weights as the plan's kernels read them; the files are not mapped any more afterwards.
  func packedWeights(for plan: KernelPlan) throws -> Memory {
    let weights = try Memory(count: plan.program.weightBytes, for: "the weights of '\(directory.path)'")
    let store = try directory.weights()
    defer { store.release() }
    try plan.packWeights(into: weights.base) { name in
      let tensor = try store.tensor(name)
      return (tensor.element, tensor.bytes)
    }
    return weights
  }
}

/// What a model is for in speculative decoding.
public enum ModelRole: String, Sendable {
  case target, draft
}

/// Where numbers round: the pipelines' ending.
public enum NumericsChoice: String, Sendable, CaseIterable {
  /// Weights as in the file, everything else in f32.
  case f32
  /// bf16 weights, caches and dot inputs; f32 accumulation, softmax and residual.
  case fast
}

/// How models are compiled.
public struct LoadOptions: Sendable {
  public var numerics = NumericsChoice.fast
  public var target: CPUTarget
  /// Most positions of the context; nil: what the model was made for.
  public var contextSize: Int?
  /// Contexts may be longer than the models were made for: for times, not for text.
  public var mayBeLonger = false
  /// Most rows of one step: the prefill tile, and the rows in flight of a batch.
  public var maxRows = 512
  /// A preset's text: verification is made sparse by it; nil: dense.
  public var preset: String?
  /// What pipelines may name; those of the command that runs, else the built-in ones.
  public var passes: PassRegistry
  /// Passes that stand where a preset does, of the target and of the draft, when there is no preset.
  var passTexts: (target: String?, draft: String?) = (nil, nil)
  /// The preset may be the middle level of an exact stack, which chooses among sizes of its sets.
  public var isExact = false
  /// Verify the module after every pass.
  public var verifyEach = false

  public init(target: CPUTarget) {
    self.target = target
    passes = .tool
  }
}
