import DustinIR
import DustinSupport

/// Lets the draft read through a set of its own: first and recent positions, and what its last look-ahead found.
///
///     func @look(…) -> (%look)      →  func @look(…) -> (%look, %near: i32[N] {role = round})
///     func @draft(…, caches)        →  func @draft(…, %near, caches)
///       %a = attend %q, cache(%kc1, %vc1)
///         →  %ks, %vs = gather %near, cache(%kc1, %vc1)
///            %a = attend %q, cache(%ks, %vs), tail(%kc1, %vc1), after(%near)
///
/// Legal wherever proposals may be anything: a draft decides how many tokens a round brings, never which. `@draft` becomes
/// approximate. Scoring still sees every position; the set serves the rounds until the next look-ahead, and whatever was
/// committed since lies in the tail.
public struct SparsifyDraft: Pass {
  public let name = "sparsify-draft"
  public let summary = "Lets the draft read through a set: first and recent positions and its own look-ahead."
  @PassOption("budget", "most positions of the set; the round's own proposals are read besides")
  public var budget = 256
  @PassOption("sink", "first positions, always read") public var sink = 4
  @PassOption("recent", "last positions, always read, at least 1; with static=true all that the budget leaves")
  public var recent = 64
  @PassOption("granularity", "positions of a block of the choice: 1 or 16") public var granularity = 1
  @PassOption("static", "first and recent positions only, as many as the budget holds: nothing is scored")
  public var isStatic = false

  public init() {}

  public func validate() -> String? {
    SetSize(budget: budget, sink: sink, recent: isStatic ? 1 : recent, granularity: granularity).problem(name)
  }

  private var size: SetSize {
    isStatic
      ? .recent(filling: budget, sink, granularity)
      : SetSize(budget: budget, sink: sink, recent: recent, granularity: granularity)
  }

  public func run(on module: Module, context: PassContext) throws {
    try context.require(.tensor, of: module)
    let draft = try context.function("draft", of: module)
    let attention = try AttentionLayers(draft, name) { context.place(of: draft, $0, in: module) }
    let look: Function
    if let known = module.function("look") {
      look = known
    } else if isStatic {
      look = Function("look")
      look.numerics = draft.numerics
      _ = look.addCaches(like: draft)
      module.functions.append(look)
    } else {
      throw DiagnosticError("no-signal", "\(name): there is no @look; run look-ahead first, or give static=true")
    }
    let signal = isStatic ? nil : look.returns.first { $0.isSequenceValue && $0.type.element == .f32 }
    guard isStatic || signal != nil else {
      throw DiagnosticError(
        "no-signal", "\(name): @look makes no signal; give static=true",
        at: context.place(of: look, in: module))
    }
    let positions = attention.layers[0].keys.type.shape[0]
    let extent = size.declare("N", of: positions, in: module)
    let cache = look.arguments.first { $0.isCache }
    let near = try FunctionBuilder(look).emit(
      .select, [("", signal.map { [$0] } ?? []), ("cache", signal == nil ? cache.map { [$0] } ?? [] : [])],
      size.attributes(), names: ["near"], types: [TensorType(.i32, [extent])])[0]
    look.addReturn(near, role: .round)

    let set = try draft.take("near", near.type, name)
    context.rewrite(draft) { rewriter in
      for layer in attention.layers { layer.read(through: set, rewriter) }
    }
    draft.fidelity = .approximate(name)
    context.count("sparse-layers", attention.layers.count)
    context.noteChange()
  }
}
