import DustinIR
import DustinPasses
import DustinRunner
import DustinSupport

/// Finds options of preset `dustin` for a pair of models: coordinate descent over its choices, judged by the divergence
/// of sparse verification's distribution from the dense one on prose and on answers to retrieval prompts. Attention
/// recovery is shown beside it and decides nothing: averaged over heads, flat ones outweigh those that retrieve.
final class Calibration {
  let plan: CalibrationPlan
  private let target: ScoredModel
  private let draft: ScoredModel
  private let heads: (target: HeadScores, draft: HeadScores)
  private let measure: (_ candidate: Candidate, _ bar: (Int) -> Void) throws -> CandidateResult
  private let forcesProgress: Bool
  /// Called with every stage once it is decided.
  private let tell: (CalibrationStage) throws -> Void
  private(set) var stages: [CalibrationStage] = []
  private(set) var best: Candidate
  /// The history that would be the best one, used or not.
  private(set) var history: HeadChoice?

  init(
    plan: CalibrationPlan, target: ScoredModel, draft: ScoredModel, heads: (target: HeadScores, draft: HeadScores),
    forcesProgress: Bool, tell: @escaping (CalibrationStage) throws -> Void,
    measure: @escaping (_ candidate: Candidate, _ bar: (Int) -> Void) throws -> CandidateResult
  ) {
    self.plan = plan
    self.target = target
    self.draft = draft
    self.heads = heads
    self.measure = measure
    self.forcesProgress = forcesProgress
    self.tell = tell
    best = Candidate()
    // The layer whose best head retrieves most is where to begin.
    if let first = heads.draft.layers(byBest: 1).first { best.look = HeadChoice([heads.draft.best(1, ofLayer: first)]) }
    best = valid(best, orWith: plan.draftSets)
  }

  /// Runs all stages.
  ///
  /// - Throws: `Interrupted` after Ctrl-C, else what measuring throws.
  func run() throws {
    try chooseLook("draft heads")
    try addLayers()
    try chooseHeads("heads of each layer")
    try choose("pooling", plan.pools.map { pool in ("\(pool)", changed { $0.pool = pool }) })
    try choose(
      "granularity",
      plan.granularities.map { size in
        (size == 1 ? "positions" : "blocks of \(size)", changed { $0.granularity = size })
      }
    )
    try chooseDraftSet("the draft's own set")
    try chooseHistory()
    // Once more, with the other choices in place.
    let before = best
    try chooseHeads("heads of each layer again")
    try choose("pooling again", plan.pools.map { pool in ("\(pool)", changed { $0.pool = pool }) })
    if best != before { try chooseDraftSet("the draft's own set again") }
  }

  // MARK: Stages

  /// One layer of the draft, with some or all of its heads.
  private func chooseLook(_ title: String) throws {
    let options = heads.draft.layers(byBest: 4).prefix(plan.draftLayers).flatMap { layer in
      sizes(ofLayer: layer).map { HeadChoice([heads.draft.best($0, ofLayer: layer)]) }
    }
    try choose(title, options.map { look in (look.optionText, changed { $0.look = look }) })
  }

  private func sizes(ofLayer layer: Int) -> [Int] {
    let count = heads.draft.scores[layer].count
    return Set([1, 2, 4, count].map { min($0, count) }).sorted()
  }

  /// More or fewer heads of one layer, and each layer left out, beside what the others are.
  private func chooseHeads(_ title: String) throws {
    guard let look = best.look else { return }
    var options = [look]
    for (place, part) in look.layers.enumerated() {
      var others = look.layers
      others.remove(at: place)
      let parts = sizes(ofLayer: part.layer).map { [heads.draft.best($0, ofLayer: part.layer)] } + [[]]
      for part in parts where !(others + part).isEmpty {
        let choice = HeadChoice((others + part).sorted { $0.layer < $1.layer })
        if !options.contains(choice) { options.append(choice) }
      }
    }
    try choose(title, options.map { look in (look.optionText, changed { $0.look = look }) })
  }

  /// Adds a layer of the draft as long as that helps.
  private func addLayers() throws {
    while let look = best.look, look.layers.count < plan.draftLayers {
      let others = heads.draft.layers(byBest: 4).prefix(plan.draftLayers).filter { layer in
        look.layers.allSatisfy { $0.layer != layer }
      }
      let options = others.flatMap { layer in
        [1, 4].map { size in
          HeadChoice((look.layers + [heads.draft.best(size, ofLayer: layer)]).sorted { $0.layer < $1.layer })
        }
      }
      if options.isEmpty { return }
      try choose("draft layers", ([look] + options).map { look in (look.optionText, changed { $0.look = look }) })
      if best.look == look { return }
    }
  }

  private func chooseDraftSet(_ title: String) throws {
    try choose(
      title, plan.draftSets.map { size in (size == 0 ? "everything" : "\(size)", changed { $0.draft = size }) },
      prefers: .reading)
  }

  private func chooseHistory() throws {
    let without = changed {
      $0.history = nil
      $0.m = nil
    }
    let free = Candidate.free(budget: plan.budget, granularity: best.granularity)
    let layers = heads.target.layers(byBest: 4).prefix(plan.targetLayers)
    let options = layers.map { layer in
      let history = HeadChoice([heads.target.best(4, ofLayer: layer)])
      return (
        history.optionText,
        changed {
          $0.history = history
          $0.m = free / 2
        }
      )
    }
    let stage = try choose("target history", [("none", without)] + options)
    // Of those that were measured with equal shares, whatever none of them says.
    let found = stage?.entries.filter { $0.candidate.history != nil }
      .min { ($0.result.netLost, $0.result.divergence) < ($1.result.netLost, $1.result.divergence) }
    guard let chosen = found?.candidate.history else { return }
    history = chosen
    let shares = plan.shares.map { quarters in
      (
        "\(quarters)/4",
        changed {
          $0.history = chosen
          $0.m = free * quarters / 4
        }
      )
    }
    try choose("share of the look-ahead beside \(chosen.optionText)", shares + [("all", without)])
  }

  // MARK: Choosing

  private func changed(_ change: (inout Candidate) -> Void) -> Candidate {
    var candidate = best
    change(&candidate)
    return candidate
  }

  private func valid(_ candidate: Candidate, orWith draftSets: [Int]) -> Candidate {
    guard candidate.preset(budget: plan.budget).validate() != nil else { return candidate }
    for size in draftSets {
      var other = candidate
      other.draft = size
      if other.preset(budget: plan.budget).validate() == nil { return other }
    }
    return candidate
  }

  /// Measures candidates and takes the best one. Options that cannot be are left out.
  @discardableResult
  private func choose(
    _ title: String, _ candidates: [(label: String, candidate: Candidate)],
    prefers preference: CalibrationStage.Preference = .scoring
  ) throws -> CalibrationStage? {
    let possible = candidates.filter { $0.candidate.preset(budget: plan.budget).validate() == nil }
    var bar = ProgressBar(title, unit: "texts", isForced: forcesProgress)
    var entries: [CalibrationStage.Entry] = []
    for (number, (label, candidate)) in possible.enumerated() {
      let result = try measure(candidate) { done in
        // Texts of all candidates of the stage are as many for each.
        bar.update(number * plan.textCount + done, of: possible.count * plan.textCount)
      }
      entries.append(
        CalibrationStage.Entry(
          label: label, candidate: candidate, result: result,
          scoringBytes: candidate.scoringBytes(target, draft, budget: plan.budget),
          scoredHeads: candidate.scoredHeads(target, draft, budget: plan.budget)))
    }
    bar.clear()
    guard let stage = CalibrationStage(title, entries, prefers: preference) else { return nil }
    stages.append(stage)
    best = stage.choice.candidate
    try tell(stage)
    return stage
  }
}
