import DustinIR

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
      """
      canonicalize,cse,lower-to-kernel,
      fuse-qkv,fuse-swiglu,fuse-residual,fuse-norm,fuse-rope-append,fold-casts,
      canonicalize,dce,plan-memory
      """),
  ]
}
