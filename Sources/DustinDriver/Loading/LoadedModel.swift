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
    let directory = try ModelDirectory(path: path)
    module = try directory.importModule(
      context: options.contextSize, maxRows: options.maxRows, mayBeLonger: options.mayBeLonger)
    self.path = directory.path
    config = directory.config
    generation = directory.generation
    contextSize = options.contextSize ?? directory.config.contextLength

    let start = monotonicSeconds()
    try options.pipeline(for: role).run(on: module)
    let output = try Compiler.compile(module, for: options.target)
    compileSeconds = monotonicSeconds() - start
    plan = output.plan

    let weights = try Memory(count: output.program.weightBytes, for: "the weights of '\(path)'")
    let store = try directory.weights()
    try output.plan.packWeights(into: weights.base) { name in
      let tensor = try store.tensor(name)
      return (tensor.element, tensor.bytes)
    }
    store.release()
    compiled = try CompiledModel(
      program: output.program, code: output.code, weights: UnsafeRawPointer(weights.base),
      owners: [weights])
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
  /// Verify the module after every pass.
  public var verifyEach = false

  public init(target: CPUTarget) {
    self.target = target
    passes = .tool
  }
}
