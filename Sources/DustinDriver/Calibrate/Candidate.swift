import DustinIR
import DustinPasses

/// One choice of what a calibration chooses: options of preset `dustin`.
struct Candidate: Hashable {
  /// Layers and heads of the draft that score; nil: every head of its last layer.
  var look: HeadChoice?
  var pool = 5
  var granularity = 1
  /// Most positions that the draft reads; 0: all.
  var draft = 256
  /// Layer and heads of the target that score, and how many positions the look-ahead leaves them not.
  var history: HeadChoice?
  var m: Int?

  static let draftRecent = 64

  /// Heads of the target have positions to choose.
  func usesHistory(budget: Int) -> Bool {
    guard history != nil else { return false }
    return m.map { $0 < Self.free(budget: budget, granularity: granularity) } ?? true
  }
  /// Heads of the draft have positions to choose.
  var usesLook: Bool { history == nil || m != 0 }

  /// Positions that the sinks and the recent ones of the preset leave.
  static func free(budget: Int, granularity: Int) -> Int {
    let preset = DustinPreset()
    return SetSize(budget: budget, sink: preset.sink, recent: preset.recent, granularity: granularity).free
  }

  func preset(budget: Int) -> DustinPreset {
    let preset = forTarget(budget: budget)
    if let look { preset.look = look }
    preset.pool = pool
    preset.draft = draft
    if draft > 0 { preset.draftRecent = Self.draftRecent }
    return preset
  }

  /// Only what matters to the target's program: candidates that differ in the draft share it.
  func forTarget(budget: Int) -> DustinPreset {
    let preset = DustinPreset()
    preset.budget = budget
    preset.granularity = granularity
    if usesHistory(budget: budget) {
      preset.history = history
      preset.m = m
      preset.pool = pool
    }
    return preset
  }

  /// Only what matters to the draft's program.
  func forDraft(budget: Int) -> DustinPreset {
    guard usesLook else {
      // Nothing looks ahead: the draft is as without a preset.
      let preset = DustinPreset()
      preset.history = history
      preset.m = 0
      return preset
    }
    let preset = DustinPreset()
    if let look { preset.look = look }
    preset.pool = pool
    preset.draft = draft
    if draft > 0 { preset.draftRecent = Self.draftRecent }
    return preset
  }

  /// As `--preset` takes it.
  func text(budget: Int) -> String { PassPipeline.text(of: preset(budget: budget)) }

  /// Bytes of keys that scoring reads a position: of the distinct KV heads of the heads that score.
  func scoringBytes(_ target: ScoredModel, _ draft: ScoredModel, budget: Int) -> Int {
    (usesLook ? draft.bytes(of: look) : 0) + (usesHistory(budget: budget) ? target.bytes(of: history) : 0)
  }

  /// Query heads that score.
  func scoredHeads(_ target: ScoredModel, _ draft: ScoredModel, budget: Int) -> Int {
    (usesLook ? draft.heads(of: look) : 0) + (usesHistory(budget: budget) ? target.heads(of: history) : 0)
  }
}

/// The attention of a model, as far as scoring has to do with it.
struct ScoredModel {
  struct Layer {
    let heads: Int
    let keyHeads: Int
    /// Of one KV head's key.
    let keyBytes: Int
  }
  let layers: [Layer]

  init(layers: [Layer]) { self.layers = layers }

  init(_ model: LoadedModel) {
    layers = model.compiled.program.cacheRegions.filter { $0.isKeys && $0.layout == .packed }.map {
      Layer(heads: model.config.heads, keyHeads: $0.heads, keyBytes: $0.dim * $0.elementBytes)
    }
  }

  private func choice(_ choice: HeadChoice?) -> [HeadChoice.Layer] {
    choice?.layers ?? [HeadChoice.Layer(layers.count - 1, nil)]
  }

  func heads(of choice: HeadChoice?) -> Int {
    self.choice(choice).reduce(0) { sum, part in
      layers.indices.contains(part.layer) ? sum + (part.heads?.count ?? layers[part.layer].heads) : sum
    }
  }

  /// Keys are read once for all heads of their KV head.
  func bytes(of choice: HeadChoice?) -> Int {
    self.choice(choice).reduce(0) { sum, part in
      guard layers.indices.contains(part.layer) else { return sum }
      let layer = layers[part.layer]
      let group = max(1, layer.heads / max(1, layer.keyHeads))
      let keyHeads = part.heads.map { Set($0.map { $0 / group }).count } ?? layer.keyHeads
      return sum + keyHeads * layer.keyBytes
    }
  }
}
