import DustinIR
import DustinSupport

/// Rewrites verification attention to read a set of positions in the place of all of them.
///
///     func @verify(%ids, %pos, caches) -> (%logits, caches)
///       %a = attend %q, cache(%kc1, %vc1) {role = verify, scale = 0.125}
///     →
///     func @verify(%ids, %pos, caches, %set: i32[S] {role = round}) -> (%logits, %history.6 {role = row}, caches)
///       %ks, %vs = gather %set, cache(%kc1, %vc1)
///       %a = attend %q, cache(%ks, %vs), tail(%kc1, %vc1), after(%set) {role = verify, scale = 0.125}
///     func @select(%history.6 {role = row}, caches, %look: f32[L] {role = round}) -> (%set {role = round})
///       %hist = score %history.6, cache(%kc.6) {heads = …}
///       %set = select %look, %hist {budget = 512, …}
///     func @dense(…)                                                       the @verify of before, still exact
///
/// Legal only by consent: `@verify` becomes approximate and says so, `@dense` keeps the exact function for corrections and
/// for exact stacks. Rows in flight are always read, and so is every position behind the set's last one: a set that is a
/// few rounds old loses nothing that came since. Where the signals come from decides where sets are made: in `@select`
/// from what the draft and earlier rounds left, in `@verify` itself from the layer's own queries (`bounds`), or in
/// `@observe`, a dense run over the last tokens (`window`: once, behind the prompt; `oracle`: every round).
public struct SparsifyVerify: Pass {
  /// Where a score per position comes from.
  public enum Signal: String, CaseIterable, PassOptionValue {
    /// The draft's look-ahead.
    case look
    /// Queries of rows that were verified before.
    case history
    /// Block bounds under the layer's own queries.
    case bounds
    /// The prompt's last tokens, once.
    case window
    /// The target's own attention of the rows to be verified: needs a dense run, evaluation only.
    case oracle
  }
  public enum Sharing: String, CaseIterable, PassOptionValue {
    case model, layer
    case kvHead = "kv-head"
  }
  public enum Rows: String, CaseIterable, PassOptionValue { case last, ends, all }

  public let name = "sparsify-verify"
  public let summary = "Verification reads a set of positions, chosen by signals, in the place of all of them."
  @PassOption("signals", "in the order in which they fill the set: look, history, bounds, window or oracle")
  public var signals: [Signal] = [.look, .history]
  @PassOption("budget", "most positions of the set; rows in flight are read besides") public var budget = 512
  @PassOption("sink", "first positions, always read") public var sink = 4
  @PassOption("recent", "last positions, always read, at least 1") public var recent = 16
  @PassOption("quotas", "positions for every signal but the last, which fills the budget; default equal shares")
  public var quotas: [Int]? = nil
  @PassOption("granularity", "positions of a block of the choice: 1 or 16") public var granularity = 1
  @PassOption("cover", "share of a signal's sum that is enough, above 0 and at most 1") public var cover = 1.0
  @PassOption("sets", "one set for the model, one per layer, or one per layer and KV head") public var sets = Sharing
    .model
  @PassOption("history", "layers and heads whose verified queries score; default each layer's own, all heads")
  public var history: HeadChoice? = nil
  @PassOption("rows", "verified rows of the last round that score as history") public var rows = Rows.last
  @PassOption("pool", "positions of the maximum filter over history, window and oracle scores, odd, at most 255")
  public var pool = 5
  @PassOption("reduce", "of the target's own scores over rows, heads and layers")
  public var reduce = LookAhead.Reduce.mean
  @PassOption("block", "positions of a block of bounds, at most 1024") public var block = 16
  @PassOption("window", "tokens of the prompt's end that score as window, at most 512") public var window = 32
  @PassOption("dense-layers", "layers that go on reading everything, numbered from 0; default none")
  public var denseLayers: [Int] = []

  public init() {}

  public func validate() -> String? {
    size.problem(name) ?? signalProblem() ?? quotaProblem() ?? rangeProblem()
  }

  var size: SetSize { SetSize(budget: budget, sink: sink, recent: recent, granularity: granularity) }

  private func signalProblem() -> String? {
    if Set(signals).count != signals.count { return "sparsify-verify: a signal is named twice" }
    if signals.contains(.oracle) && signals != [.oracle] { return "sparsify-verify: oracle takes no other signal" }
    if signals.contains(.window) && signals != [.window] {
      return "sparsify-verify: window makes its set behind the prompt and takes no other signal"
    }
    if signals.contains(.bounds) && signals.contains(.history) { return "sparsify-verify: bounds go with look only" }
    if signals.contains(.oracle) && sets != .model { return "sparsify-verify: the oracle makes one set for the model" }
    if signals.contains(.bounds) && sets == .model {
      return "sparsify-verify: bounds are each layer's own and need sets=layer or sets=kv-head"
    }
    if sets == .kvHead && signals.contains(.look) {
      return "sparsify-verify: the look-ahead knows no KV heads; use sets=layer or sets=model"
    }
    let scoresHistory = signals.contains(.history)
    if scoresHistory && sets == .model && history == nil {
      return "sparsify-verify: one set for the model needs history=LAYER:HEADS"
    }
    guard let history else { return nil }
    if !scoresHistory {
      return "sparsify-verify: history=\(history.optionText) is given, but signals do not name history"
    }
    if sets != .model { return "sparsify-verify: history=\(history.optionText) is for one set; leave it out" }
    return nil
  }

  private func quotaProblem() -> String? {
    guard let quotas else { return nil }
    let count = max(0, signals.count - 1)
    if quotas.count != count {
      return "sparsify-verify needs quotas of all signals but the last, \(count), not \(quotas.count)"
    }
    if let quota = quotas.first(where: { !(0...budget ~= $0) }) {
      return "sparsify-verify needs quotas of 0 … \(budget), not \(quota)"
    }
    if quotas.reduce(0, +) > size.free {
      return "sparsify-verify: budget=\(budget) does not hold the quotas, sink=\(sink) and recent=\(recent) positions"
    }
    return nil
  }

  private func rangeProblem() -> String? {
    if !(cover > 0 && cover <= 1) { return "sparsify-verify needs a cover above 0 and at most 1, not \(cover)" }
    if !(1...255 ~= pool && pool % 2 == 1) { return "sparsify-verify needs an odd pool=1 … 255, not \(pool)" }
    if !(1...512 ~= window) { return "sparsify-verify needs window=1 … 512, not \(window)" }
    if !(1...1024 ~= block) { return "sparsify-verify needs block=1 … 1024, not \(block)" }
    if Set(denseLayers).count != denseLayers.count { return "sparsify-verify: dense-layers name a layer twice" }
    return nil
  }

  public func run(on module: Module, context: PassContext) throws {
    try context.require(.tensor, of: module)
    let verify = try context.function("verify", of: module)
    let layers = try AttentionLayers(verify, name) { context.place(of: verify, $0, in: module) }.layers
    guard module.function("dense") == nil else {
      throw DiagnosticError("repeated-function", "\(name): the module already has a function @dense")
    }
    if let layer = denseLayers.first(where: { !layers.indices.contains($0) }) {
      throw DiagnosticError(
        "layers", "\(name): there is no layer \(layer) for dense-layers, only 0 … \(layers.count - 1)")
    }
    guard denseLayers.count < layers.count else {
      throw DiagnosticError(
        "layers", "\(name): dense-layers leave none of the \(layers.count) layers to read through a set")
    }
    let dense = verify.clone(as: "dense")
    var maker = SetMaker(pass: self, module: module, verify: verify)
    try maker.passHistoryOn(to: [module.function("prefill"), verify, dense].compactMap { $0 })
    let place = try maker.makeSets()
    try context.rewrite(verify) { rewriter in
      for (index, layer) in layers.enumerated() where !denseLayers.contains(index) {
        layer.read(through: try maker.set(ofLayer: index, for: layer, rewriter), rewriter)
      }
    }
    if let place { module.functions.append(place) }
    module.functions.append(dense)
    verify.fidelity = .approximate(name)
    if signals.contains(.window) { module.attributes["observe"] = .int(window) }
    context.count("sparse-layers", layers.count - denseLayers.count)
    context.noteChange()
  }
}
