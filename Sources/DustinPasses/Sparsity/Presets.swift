import DustinIR

extension PassRegistry {
  /// The presets by name, in the order in which they are listed.
  public static let presets: [@Sendable () -> any Preset] = [
    { DustinPreset() }, { DustinTargetPreset() }, { DustinDraftPreset() }, { OraclePreset() }, { StreamingPreset() },
    { SnapKVPreset() }, { QuestPreset() }, { SpecAttnPreset() }, { VegasRowsPreset() }, { SpecPVPreset() },
    { MagicDecPreset() }, { TriForcePreset() },
  ]
}

/// Both signals: the draft's look-ahead first, then what the last verified token looked at.
public struct DustinPreset: Preset {
  public let name = "dustin"
  public let summary =
    "Look-ahead of the draft, then history of the target, on a few heads each; one set for all layers."
  public let source = "Dustin, arXiv 2606.24957"
  public let deviations = [
    "look-ahead rows are γ+1 (the paper's count is not published), scores are max-pooled over neighbours",
    "m, heads, pooling and the draft's own set come from sparsity.json; without it every head of the draft's last layer "
      + "scores and the whole set is look-ahead",
    "the draft reads through a set of its own (draft=0: everything, as published)",
  ]
  @PassOption("budget", "most positions that verification reads, rows in flight not counted") public var budget = 512
  @PassOption("sink", "first positions, always read") public var sink = 4
  @PassOption("recent", "last positions, always read") public var recent = 16
  @PassOption(
    "m", "positions that the look-ahead chooses, as far as the budget goes; the rest is history's; default half of both"
  )
  public var m: Int? = nil
  @PassOption("look", "layers and heads of the draft that score; default all of its last layer")
  public var look: HeadChoice? = nil
  @PassOption("history", "layer and heads of the target that score; default: no history")
  public var history: HeadChoice? = nil
  @PassOption("pool", "positions of the maximum filter over scores, odd") public var pool = 5
  @PassOption("granularity", "1, or 16: whole blocks") public var granularity = 1
  @PassOption("draft", "most positions that the draft reads; 0: all") public var draft = 256
  @PassOption("draft-recent", "last positions among those, at most half of them") public var draftRecent = 64
  @PassOption("dense-layers", "layers of the target that read everything; default none")
  public var denseLayers: [Int] = []
  @PassOption("refresh", "rounds that a set is kept") public var refresh = 1
  @PassOption("dense-every", "tokens after which they are read densely once; 0: never") public var denseEvery = 0

  public init() {}
  public var needsDraft: Bool { signals.contains(.look) }
  public var calibratedOptions: [String] {
    ["m", "look", "history", "pool", "granularity", "draft", "draft-recent", "dense-layers"]
  }

  /// What the positions that are always read leave. Only for a budget that can be: others are refused by the passes.
  private var free: Int {
    let size = SetSize(budget: budget, sink: sink, recent: recent, granularity: granularity)
    return size.problem(name) == nil ? size.free : 0
  }
  private var quota: Int { min(free, m ?? (history == nil ? free : free / 2)) }
  private var signals: [SparsifyVerify.Signal] {
    if history == nil { return [.look] }
    if m == 0 { return [.history] }
    return quota >= free ? [.look] : [.look, .history]
  }

  public func validate() -> String? {
    if let m, m < 0 { return "dustin needs m=0 or more, not \(m)" }
    if let m, history == nil, m < free {
      return "dustin: m=\(m) leaves \(free - m) positions to the history, and history=LAYER:HEADS is not given"
    }
    if draft != 0 {
      if !(0...SetSize.limit ~= draft) { return "dustin needs draft=0 … \(SetSize.limit), not \(draft)" }
      if draftRecent < 1 { return "dustin needs draft-recent=1 or more, not \(draftRecent)" }
      if 0...SetSize.limit ~= sink, sink + draftPart > draft {
        return "dustin: draft=\(draft) does not hold sink=\(sink) and \(draftPart) last positions"
      }
    }
    return PassPipeline.problem(of: self)
  }

  /// Last positions of the draft's set.
  private var draftPart: Int { max(1, min(draftRecent, draft / 2)) }

  public func pipeline(for role: PresetRole) -> String {
    if role == .draft {
      guard needsDraft else { return "" }
      let ahead = passText("look-ahead", [("heads", look), ("pool", pool)])
      if draft == 0 { return ahead + fuseText(refresh: refresh) }
      return ahead + ","
        + passText(
          "sparsify-draft", [("budget", draft), ("sink", sink), ("recent", draftPart)])
    }
    let isMixed = signals.count == 2
    return passText(
      "sparsify-verify",
      [
        ("signals", signals), ("budget", budget), ("sink", sink), ("recent", recent),
        ("quotas", isMixed ? [quota] : nil),
        ("granularity", granularity), ("history", signals.contains(.history) ? history : nil), ("pool", pool),
        ("dense-layers", denseLayers.isEmpty ? nil : denseLayers),
      ]) + policyText(refresh: refresh, denseEvery: denseEvery)
  }
}

/// Behind the look-ahead of a dense draft, which proposes four tokens a round unless somebody says another number.
private func fuseText(refresh: Int = 1) -> String {
  // Numbers that cannot be are the policy's to refuse.
  "," + passText("fuse-lookahead", [("rows", 5 * min(max(1, refresh), 1 << 10))])
}

private func policyText(refresh: Int = 1, denseEvery: Int = 0) -> String {
  if refresh == 1 && denseEvery == 0 { return "" }
  return "," + passText("policy", [("refresh", refresh), ("dense-every", denseEvery)])
}

/// m = 0.
public struct DustinTargetPreset: Preset {
  public let name = "dustin-target"
  public let summary = "History of the target alone (dustin with m=0)."
  public let source = "Dustin, arXiv 2606.24957, ablation"
  @PassOption("budget", "most positions that verification reads, rows in flight not counted") public var budget = 512
  @PassOption("sink", "first positions, always read") public var sink = 4
  @PassOption("recent", "last positions, always read") public var recent = 16
  @PassOption("history", "layer and heads of the target that score; needed, sparsity.json has them")
  public var history: HeadChoice? = nil
  @PassOption("pool", "positions of the maximum filter over scores, odd") public var pool = 5

  public init() {}
  public var calibratedOptions: [String] { ["history", "pool"] }

  public func validate() -> String? {
    history == nil ? "dustin-target needs history=LAYER:HEADS, or a sparsity.json" : PassPipeline.problem(of: self)
  }

  public func pipeline(for role: PresetRole) -> String {
    role == .draft
      ? ""
      : passText(
        "sparsify-verify",
        [
          ("signals", [SparsifyVerify.Signal.history]), ("budget", budget), ("sink", sink), ("recent", recent),
          ("history", history), ("pool", pool),
        ])
  }
}

/// m = everything.
public struct DustinDraftPreset: Preset {
  public let name = "dustin-draft"
  public let summary = "Look-ahead of the draft alone, and a dense draft (dustin with m = all)."
  public let source = "Dustin, arXiv 2606.24957, ablation"
  @PassOption("budget", "most positions that verification reads, rows in flight not counted") public var budget = 512
  @PassOption("sink", "first positions, always read") public var sink = 4
  @PassOption("recent", "last positions, always read") public var recent = 16
  @PassOption("look", "layers and heads of the draft that score; default all of its last layer")
  public var look: HeadChoice? = nil
  @PassOption("pool", "positions of the maximum filter over scores, odd") public var pool = 5

  public init() {}
  public var needsDraft: Bool { true }
  public var calibratedOptions: [String] { ["look", "pool"] }

  public func pipeline(for role: PresetRole) -> String {
    if role == .draft { return passText("look-ahead", [("heads", look), ("pool", pool)]) + fuseText() }
    return passText(
      "sparsify-verify",
      [("signals", [SparsifyVerify.Signal.look]), ("budget", budget), ("sink", sink), ("recent", recent)])
  }
}

public struct OraclePreset: Preset {
  public let name = "oracle"
  public let summary = "The positions that the target itself looks at: an upper bound, for evaluation only."
  public let source = "mass oracle over the rows of a round (METHODS: SD oracle)"
  public let deviations = ["costs a dense pass more than dense verification"]
  @PassOption("budget", "most positions that verification reads, rows in flight not counted") public var budget = 512
  @PassOption("sink", "first positions, always read") public var sink = 4
  @PassOption("recent", "last positions, always read") public var recent = 16

  public init() {}

  public func pipeline(for role: PresetRole) -> String {
    role == .draft
      ? ""
      : passText(
        "sparsify-verify",
        [
          ("signals", [SparsifyVerify.Signal.oracle]), ("budget", budget), ("sink", sink), ("recent", recent),
          ("pool", 1),
        ])
  }
}

public struct StreamingPreset: Preset {
  public let name = "streaming-llm"
  public let summary = "First and most recent positions."
  public let source = "StreamingLLM, arXiv 2309.17453"
  public let deviations = ["positions stay absolute; published: numbered anew inside the window"]
  @PassOption("budget", "most positions that verification reads, rows in flight not counted") public var budget = 512
  @PassOption("sink", "first positions, always read") public var sink = 4

  public init() {}

  public func pipeline(for role: PresetRole) -> String {
    // Numbers that cannot be are the pass's to refuse.
    let recent = (0...SetSize.limit ~= sink && sink < budget) ? budget - sink : 1
    return role == .draft
      ? ""
      : passText(
        "sparsify-verify",
        [("signals", [SparsifyVerify.Signal]()), ("budget", budget), ("sink", sink), ("recent", recent)])
  }
}

public struct SnapKVPreset: Preset {
  public let name = "snapkv"
  public let summary = "What the prompt's last tokens looked at, per layer and KV head, chosen once behind the prompt."
  public let source = "SnapKV, arXiv 2404.14469"
  public let deviations = [
    "maximum in the place of average pooling; the window's rows score by a softmax over the positions before it",
    "every generated position stays in the set; published caches grow likewise",
    "heads of one KV head share a set by their mean",
  ]
  @PassOption("budget", "most positions that verification reads, rows in flight not counted") public var budget = 512
  @PassOption("window", "tokens of the prompt's end that choose, and are kept") public var window = 32
  @PassOption("pool", "positions of the maximum filter over scores, odd") public var pool = 5

  public init() {}

  public func validate() -> String? {
    if !(1...SetSize.limit ~= budget) { return "snapkv needs budget=1 … \(SetSize.limit), not \(budget)" }
    if 1...512 ~= window, budget <= window {
      return "snapkv: budget=\(budget) does not hold window=\(window) and what it chooses"
    }
    return PassPipeline.problem(of: self)
  }

  public func pipeline(for role: PresetRole) -> String {
    // The window itself lies behind the set: rows of the dense run are the tail.
    role == .draft
      ? ""
      : passText(
        "sparsify-verify",
        [
          ("signals", [SparsifyVerify.Signal.window]), ("sets", SparsifyVerify.Sharing.kvHead),
          ("budget", 1...512 ~= window && budget > window ? budget - window : budget), ("sink", 0), ("recent", 1),
          ("window", window), ("pool", pool),
        ])
  }
}

public struct QuestPreset: Preset {
  public let name = "quest"
  public let summary = "Blocks by upper bounds of their scores under the layer's own queries; two dense layers."
  public let source = "Quest, arXiv 2406.10774"
  public let deviations = [
    "bounds are computed from the keys every round, in the place of stored minima and maxima: fit for accuracy, not for speed",
    "rows of a round and query heads of a KV head share a set by their greatest bound; published: each query head its own",
  ]
  @PassOption("budget", "most positions that verification reads, rows in flight not counted") public var budget = 512
  @PassOption("dense-layers", "layers that read everything, numbered from 0") public var denseLayers = [0, 1]

  public init() {}

  public func pipeline(for role: PresetRole) -> String {
    role == .draft
      ? ""
      : passText(
        "sparsify-verify",
        [
          ("signals", [SparsifyVerify.Signal.bounds]), ("sets", SparsifyVerify.Sharing.kvHead), ("budget", budget),
          ("sink", 0), ("recent", 1), ("granularity", 16), ("reduce", LookAhead.Reduce.max),
          ("dense-layers", denseLayers),
        ])
  }
}

public struct SpecAttnPreset: Preset {
  public let name = "spec-attn"
  public let summary = "The draft's attention of the round, as many positions as cover most of it; two dense layers."
  public let source = "SpecAttn, arXiv 2510.27641"
  public let deviations = [
    "one set for all layers from the maximum over the draft's layers and heads; published: a set per layer through a map of layers",
    "the budget caps what the share asks for",
  ]
  @PassOption("budget", "most positions that verification reads, rows in flight not counted") public var budget = 512
  @PassOption("cover", "share of the draft's attention that is enough") public var cover = 0.97
  @PassOption("dense-layers", "layers that read everything, numbered from 0") public var denseLayers = [0, 1]
  @PassOption("look", "layers and heads of the draft that score; default all of its last layer")
  public var look: HeadChoice? = nil

  public init() {}
  public var needsDraft: Bool { true }
  public var calibratedOptions: [String] { ["look"] }

  public func pipeline(for role: PresetRole) -> String {
    if role == .draft {
      return passText("look-ahead", [("heads", look), ("pool", 1), ("reduce", LookAhead.Reduce.max)]) + fuseText()
    }
    return passText(
      "sparsify-verify",
      [
        ("signals", [SparsifyVerify.Signal.look]), ("budget", budget), ("sink", 4), ("recent", 16), ("cover", cover),
        ("dense-layers", denseLayers),
      ])
  }
}

public struct VegasRowsPreset: Preset {
  public let name = "vegas-rows"
  public let summary = "What the first and the last row of the last verification looked at, per layer."
  public let source = "Vegas, arXiv 2602.07223"
  public let deviations = [
    "the set serves verification; published: self-speculation drafts through it and verification stays dense",
    "the last 8 positions stand for those since the last verification; a fixed budget in the place of 7 % of the context",
  ]
  @PassOption("budget", "most positions that verification reads, rows in flight not counted") public var budget = 512

  public init() {}

  public func pipeline(for role: PresetRole) -> String {
    role == .draft
      ? ""
      : passText(
        "sparsify-verify",
        [
          ("signals", [SparsifyVerify.Signal.history]), ("sets", SparsifyVerify.Sharing.layer), ("budget", budget),
          ("sink", 0), ("recent", 8), ("rows", SparsifyVerify.Rows.ends), ("pool", 1),
        ])
  }
}

public struct SpecPVPreset: Preset {
  public let name = "spec-pv"
  public let summary =
    "Blocks by bounds, per layer and KV head, and a dense pass every 20 tokens that repairs the cache."
  public let source = "SpecPV, arXiv 2512.02337"
  public let deviations = [
    "blocks are chosen every round by Quest's bound; published: at dense passes only, by the greater of two products",
    "drafts are sequences of this project's draft; published: trees of EAGLE-3",
  ]
  @PassOption("budget", "most positions that verification reads, rows in flight not counted") public var budget = 512
  @PassOption("dense-every", "tokens after which they are read densely once") public var denseEvery = 20

  public init() {}

  public func pipeline(for role: PresetRole) -> String {
    if role == .draft { return "" }
    // Two blocks of sinks and eight recent ones where the budget has room for them.
    let sink = max(0, min(32, budget / 8 / 16 * 16))
    let recent = min(128, max(1, budget / 4 / 16 * 16))
    return passText(
      "sparsify-verify",
      [
        ("signals", [SparsifyVerify.Signal.bounds]), ("sets", SparsifyVerify.Sharing.kvHead), ("budget", budget),
        ("sink", sink), ("recent", recent), ("granularity", 16),
      ]) + policyText(denseEvery: denseEvery)
  }
}

public struct MagicDecPreset: Preset {
  public let name = "magicdec"
  public let summary = "A draft that reads first and recent positions only; verification stays dense and exact."
  public let source = "MagicDec, arXiv 2408.11049"
  public let deviations = ["a small draft of its own in the place of self-speculation"]
  @PassOption("budget", "most positions that the draft reads") public var budget = 256
  @PassOption("sink", "first positions, always read") public var sink = 4

  public init() {}

  public func pipeline(for role: PresetRole) -> String {
    role == .target ? "" : passText("sparsify-draft", [("budget", budget), ("sink", sink), ("static", true)])
  }
}

public struct TriForcePreset: Preset {
  public let name = "triforce"
  public let summary =
    "Blocks that the prompt's last token looked at, chosen once, and a draft of first and recent positions; for --exact."
  public let source = "TriForce, arXiv 2404.11912"
  public let deviations = [
    "published as the middle level of a stack only, which is this preset with --exact",
    "blocks of 16 by their attention; published: chunks of 8 by their mean key",
    "every generated position stays in the set; published: they take the place of the budget's last ones",
  ]
  @PassOption("budget", "most positions that verification reads, rows in flight not counted") public var budget = 4096
  @PassOption("sink", "first positions, always read by the draft") public var sink = 16
  @PassOption("draft", "most positions that the draft reads") public var draft = 512

  public init() {}

  public func pipeline(for role: PresetRole) -> String {
    if role == .draft {
      return passText("sparsify-draft", [("budget", draft), ("sink", sink), ("static", true)])
    }
    return passText(
      "sparsify-verify",
      [
        ("signals", [SparsifyVerify.Signal.window]), ("sets", SparsifyVerify.Sharing.kvHead), ("budget", budget),
        ("sink", 16), ("recent", 1), ("granularity", 16), ("window", 1), ("pool", 1),
      ])
  }
}
