import DustinIR

extension PassRegistry {
  /// The built-in passes and named pipelines.
  public static let standard: PassRegistry = {
    var registry = PassRegistry()
    registry.register(Canonicalize())
    registry.register(CommonSubexpressions())
    registry.register(DeadCode())
    registry.register(Derive())
    registry.register(Drop())
    registry.register(DecideNumerics())
    registry.register(LookAhead())
    registry.register(FuseLookAhead())
    registry.register(SparsifyDraft())
    registry.register(SparsifyVerify())
    registry.register(ShareSelection())
    registry.register(Policies())
    registry.register(AddBudgets())
    registry.register(ChooseKVLayout())
    registry.register(LowerToKernel())
    registry.register(FuseQKV())
    registry.register(FuseSwiGLU())
    registry.register(FuseResidual())
    registry.register(FuseNorm())
    registry.register(FuseRopeAppend())
    registry.register(FoldCasts())
    registry.register(PlanMemory())
    for preset in presets { registry.register(preset()) }
    for pipeline in NamedPipeline.standard { registry.register(pipeline) }
    return registry
  }()
}
