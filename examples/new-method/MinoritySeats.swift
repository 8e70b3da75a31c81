import CDustin
import DustinIR
import DustinPasses
import DustinSupport

// The idea. The draft's look-ahead is a mean over rows and heads, a majority vote: a position that one head in one row
// insists on has its score divided by all of them, and loses to positions that everybody likes a little. So some seats of
// the set go to minorities first: to the positions with the greatest score that any row of any head gives. The majority
// fills the rest.

/// The signal: `%peak`, the maximum where look-ahead takes the mean.
///
///     func @look(…) -> (%look) { %look = score %ahead.1, cache(%k1) {scale = 0.125, pool = 5} … }
///       →  func @look(…) -> (%look, %peak: f32[L] {role = round}) {
///            … %peak = score %ahead.1, cache(%k1) {scale = 0.125, reduce = max, pool = 1}
///
/// Legal for any draft: its numbers stay, it only tells more. It stands behind `look-ahead`, whose rows and heads it takes.
struct PeakLook: Pass {
  let name = "peak-look"
  let summary = "Scores every position by the row and head that want it most: the signal %peak."
  @PassOption("pool", "positions of the maximum filter, odd, at most 255") var pool = 1

  func validate() -> String? {
    1...255 ~= pool && pool % 2 == 1 ? nil : "peak-look needs an odd pool=1 … 255, not \(pool)"
  }

  func run(on module: Module, context: PassContext) throws {
    let look = try context.function("look", of: module)
    let scores = look.body.filter { $0.name == "score" }
    guard !scores.isEmpty else {
      throw DiagnosticError("no-signal", "\(name): @look scores nothing; run look-ahead first", at: look.location)
    }
    let builder = FunctionBuilder(look)
    var peak: Value?
    for score in scores {
      var attributes = score.attributes
      attributes["reduce"] = .word("max")
      attributes["pool"] = score === scores.last && pool > 1 ? .int(pool) : nil
      let groups = [("", score.operands), ("cache", score[group: "cache"]), ("onto", peak.map { [$0] } ?? [])]
      peak = try builder.emit(.score, groups, attributes, names: ["peak"], types: [score.result.type])[0]
    }
    if let peak { look.addReturn(peak, role: .round) }
    context.noteChange()
  }
}

/// The set policy: seats for the peaks, then what was chosen before.
///
///     %set = select %look {budget = 512, …}   →   %set = select %peak, %look {budget = 512, quotas = [64], …}
///
/// Legal behind `sparsify-verify`: which positions stand in a set is a choice.
struct Seats: Pass {
  let name = "seats"
  let summary = "Gives the positions of the signal %peak the first seats of @select's sets."
  @PassOption("count", "seats of peaks") var count = 64

  func validate() -> String? { count >= 0 ? nil : "seats needs count=0 or more, not \(count)" }

  func run(on module: Module, context: PassContext) throws {
    let function = try context.function("select", of: module)
    try context.rewrite(function) { rewriter in
      for select in rewriter.operations where select.name == "select" {
        guard let look = select.operands.first, look.type.shape.count == 1, select.operands.count < 4 else {
          throw DiagnosticError("no-signal", "\(name): @select chooses by no signal of positions", at: select.location)
        }
        let peak =
          function.arguments.first { $0.name == "peak" } ?? function.addArgument("peak", look.type, role: .round)
        let others = select.attributes.ints("quotas") ?? []
        rewriter.update(select) {
          select[group: ""] = [peak] + select.operands
          select.attributes["quotas"] = .array(([count] + others).map { .int($0) })
        }
        context.count("seats", count)
      }
    }
  }
}

/// Both, around the parts of `dustin`: what `--preset minority-seats` means.
struct MinoritySeats: Preset {
  let name = "minority-seats"
  let summary = "The draft's look-ahead, with seats for positions that a single row of a single head wants."
  let source = "examples/new-method"
  @PassOption("budget", "most positions that verification reads, rows in flight not counted") var budget = 512
  @PassOption("seats", "positions that the peaks choose; the look-ahead fills the rest") var seats = 64
  @PassOption("peak-pool", "positions of the maximum filter over peaks, odd") var peakPool = 1
  @PassOption("look", "layers and heads of the draft that score; default all of its last layer")
  var look: HeadChoice? = nil
  @PassOption("pool", "positions of the maximum filter over the look-ahead, odd") var pool = 5
  @PassOption("draft", "most positions that the draft reads") var draft = 512

  var needsDraft: Bool { true }
  var calibratedOptions: [String] { ["look", "pool", "draft"] }
  var parts: PassRegistry { .sparsity.with([PeakLook.init, Seats.init]) }

  func validate() -> String? {
    if budget >= 20, seats > budget - 20 {
      return "minority-seats: budget=\(budget) does not hold seats=\(seats) beside 4 first and 16 recent positions"
    }
    return PassPipeline.problem(of: self)
  }

  func pipeline(for role: PresetRole) -> String {
    switch role {
    case .draft:
      [
        passText("look-ahead", [("heads", look), ("pool", pool)]), passText("peak-look", [("pool", peakPool)]),
        passText("sparsify-draft", [("budget", draft)]),
      ].joined(separator: ",")
    case .target:
      [
        passText("sparsify-verify", [("signals", [SparsifyVerify.Signal.look]), ("budget", budget)]),
        passText("seats", [("count", seats)]),
      ].joined(separator: ",")
    }
  }
}

@_cdecl("dustin_plugin_1")
public func entry(_ plugin: UnsafeMutablePointer<dustin_plugin>) {
  plugin.pointee = dustin_plugin(
    compiler: dustin_compiler(), identity: PluginHost.identity,
    add: { PluginHost.register([PeakLook.init, Seats.init, MinoritySeats.init], at: $0) })
}
