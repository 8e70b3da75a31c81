import DustinIR
import DustinSupport

/// Makes the choice of positions in several sizes, for exact stacks, which measure which one pays.
///
///     func @select(…) -> %set                      func @select(…) -> %set             as before
///       %set = select … {budget = 512}       →     func @select.128(…) -> %set         select … {budget = 128}
///                                                  func @select.512(…) -> %set
///                                                  func @select.2048(…) -> %set        dim S <= 2048
///
/// Legal where functions are approximate already: readers read what the set holds, whatever its size. The memory of the
/// sets grows to the largest budget. Quotas keep their share of the budget. Sizes that do not hold what is always read are
/// left out, and a module that has sizes already, or whose sets are not chosen by signals in `@select`, stays as it is.
public struct AddBudgets: Pass {
  public let name = "add-budgets"
  public let summary = "Makes @select in several sizes, among which an exact stack chooses by what it measures."
  @PassOption("budgets", "sizes beside the one there is; default a quarter of it and four times as many positions")
  public var budgets: [Int]? = nil

  public init() {}

  public func validate() -> String? {
    if let budget = budgets?.first(where: { !(1...SetSize.limit ~= $0) }) {
      return "add-budgets needs budgets of 1 … \(SetSize.limit), not \(budget)"
    }
    return nil
  }

  public func run(on module: Module, context: PassContext) throws {
    try context.require(.tensor, of: module)
    guard let select = module.function("select") else { return }
    if module.functions.contains(where: { $0.name.hasPrefix("select.") }) { return }
    let makers = select.body.filter { $0.name == "select" && !$0.operands.isEmpty }
    guard let own = makers.compactMap({ $0.attributes.int("budget") }).max() else { return }
    let wanted = budgets ?? [own / 4 / 16 * 16, min(4 * own, SetSize.limit)]
    let fitting = wanted.filter { budget in
      makers.allSatisfy { maker in
        var size = SetSize(of: maker.attributes)
        size.budget = budget
        return size.problem(name) == nil
      }
    }
    context.count("budgets-left-out", wanted.count - fitting.count)
    let all = Set(fitting + [own]).sorted()
    if all.count == 1 { return }
    for maker in makers {
      guard case .named(let dim)? = maker.result.type.shape.last,
        let index = module.dims.firstIndex(where: { $0.name == dim })
      else { continue }
      module.dims[index] = DimDeclaration(dim, .bounded(all[all.count - 1]))
    }
    for budget in all {
      let copy = select.clone(as: "select.\(budget)")
      for maker in copy.body where maker.name == "select" && !maker.operands.isEmpty {
        let before = maker.attributes.int("budget") ?? own
        maker.attributes["budget"] = .int(budget)
        guard let quotas = maker.attributes.ints("quotas") else { continue }
        var room = SetSize(of: maker.attributes).free
        maker.attributes["quotas"] = .array(
          quotas.map { quota in
            let share = min(room, quota * budget / before)
            room -= share
            return .int(share)
          })
      }
      module.functions.append(copy)
    }
    context.count("budgets", all.count)
    context.noteChange()
  }
}
