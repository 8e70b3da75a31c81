import DustinIR
import DustinPasses

/// Gives recent positions a share of every set, whatever its budget:
///
///     %set = select %look {budget = 512, sink = 4, recent = 16}
///       →  %set = select %look {budget = 512, sink = 4, recent = 64}        with share=0.125
///
/// Legal wherever sets are: which positions stand in one is a choice, and `recent` is at least 1 before and after.
struct RecentShare: Pass {
  let name = "recent-share"
  let summary = "Gives recent positions a share of every set."
  @PassOption("share", "of the budget, above 0 and at most 0.5") var share = 0.125

  func validate() -> String? {
    share > 0 && share <= 0.5 ? nil : "recent-share needs a share above 0 and at most 0.5, not \(share)"
  }

  func run(on module: Module, context: PassContext) throws {
    for function in module.functions {
      context.rewrite(function) { rewriter in
        for select in rewriter.operations where select.name == "select" {
          let budget = select.attributes.int("budget") ?? 0
          let recent = Int(Double(budget) * share)
          if recent <= select.attributes.int("recent") ?? 16 { continue }
          rewriter.update(select) { select.attributes["recent"] = .int(recent) }
          context.count("widened-sets")
        }
      }
    }
  }
}

/// A preset is a text of passes; this one is `dustin`'s parts with the pass above behind them.
struct SteadyDustin: Preset {
  let name = "steady-dustin"
  let summary = "The draft's look-ahead, with an eighth of the set for recent positions."
  let source = "examples/tool-of-your-own"
  @PassOption("budget", "most positions that verification reads, rows in flight not counted") var budget = 512
  @PassOption("look", "layers and heads of the draft that score; default all of its last layer")
  var look: HeadChoice? = nil

  var needsDraft: Bool { true }
  var calibratedOptions: [String] { ["look"] }
  var parts: PassRegistry { .sparsity.with([RecentShare.init]) }

  func pipeline(for role: PresetRole) -> String {
    switch role {
    case .draft: passText("look-ahead", [("heads", look)])
    case .target:
      passText("sparsify-verify", [("signals", [SparsifyVerify.Signal.look]), ("budget", budget)]) + ",recent-share"
    }
  }
}
