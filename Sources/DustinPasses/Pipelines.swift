import DustinIR
import DustinSupport

extension NamedPipeline {
  /// From the front end's one `@forward` to kernels with places in the arena.
  public static let standard = [
    NamedPipeline(
      "target-fast", "The target in bf16 with f32 accumulation: @prefill and @verify.",
      "target,numerics{mode=fast},kernels"),
    NamedPipeline(
      "target-f32", "The target in f32, weights as in the file: @prefill and @verify.",
      "target,numerics{mode=f32},kernels"),
    NamedPipeline(
      "draft-fast", "The draft in bf16 with f32 accumulation: @prefill and @draft.",
      "draft,numerics{mode=fast},kernels"),
    NamedPipeline(
      "draft-f32", "The draft in f32, weights as in the file: @prefill and @draft.",
      "draft,numerics{mode=f32},kernels"),

    // The parts that they share.
    NamedPipeline(
      "target", "@forward becomes @prefill, logits of the last row, and @verify, logits of all rows.",
      """
      canonicalize,cse,
      derive{from=forward as=prefill rows=last role=prefill},
      derive{from=forward as=verify rows=all role=verify},
      drop{function=forward},canonicalize,dce
      """),
    NamedPipeline(
      "draft", "@forward becomes @prefill and @draft, both with the logits of the last row.",
      """
      canonicalize,cse,
      derive{from=forward as=prefill rows=last role=prefill},
      derive{from=forward as=draft rows=last role=draft},
      drop{function=forward},canonicalize,dce
      """),
    NamedPipeline(
      "kernels", "Fuses ops into kernels and plans the arena; the numerics must be decided.",
      "fusion,plan-memory"),
    NamedPipeline(
      "fusion", "Stage tensor to stage kernel: fuses ops into kernels; the numerics must be decided.",
      """
      canonicalize,cse,lower-to-kernel,
      fuse-qkv,fuse-swiglu,fuse-residual,fuse-norm,fuse-rope-append,fold-casts,
      canonicalize,dce
      """),
  ]
}

extension PassPipeline {
  /// The text of the standard passes that a module still needs to be at the end of a stage.
  ///
  /// - Parameters:
  ///   - role: `target` or `draft`: the pipeline that makes the functions out of `@forward`.
  ///   - numerics: `fast` or `f32`, for functions that have none yet.
  ///   - preset: the text of a preset, which belongs behind the numerics.
  /// - Throws: `DiagnosticError` with id `wrong-stage` when the module is behind the stage already.
  public static func missing(
    in module: Module, to stage: Stage, role: String, numerics: String, preset: String? = nil
  ) throws -> String {
    guard module.stage <= stage else {
      throw DiagnosticError(
        "wrong-stage", "the module is in stage \(module.stage.rawValue), which comes behind \(stage.rawValue)")
    }
    var parts: [String] = []
    if module.stage == .tensor {
      let hasForward = module.function("forward") != nil
      if hasForward { parts.append(role) }
      if hasForward || module.functions.contains(where: { $0.numerics == .abstract }) {
        parts.append("numerics{mode=\(numerics)}")
      }
      if let preset { parts.append(preset) }
      let readsThroughSets = module.functions.contains { $0.body.contains { $0.name == "gather" } }
      if preset != nil || readsThroughSets { parts.append("choose-kv-layout") }
    } else if let preset {
      throw DiagnosticError(
        "wrong-stage", "the preset '\(preset)' needs stage tensor, and the module is in stage \(module.stage.rawValue)")
    }
    switch (module.stage, stage) {
    case (.tensor, .planned): parts.append("kernels")
    case (.tensor, .kernel): parts.append("fusion")
    case (.kernel, .planned): parts.append("plan-memory")
    default: break
    }
    return parts.joined(separator: ",")
  }
}
