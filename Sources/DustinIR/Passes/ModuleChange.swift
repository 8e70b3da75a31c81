/// What a module was at one moment, to tell later what became of it.
public struct ModuleSnapshot {
  public let text: String
  fileprivate let stage: Stage
  fileprivate let fidelities: [(function: String, fidelity: Fidelity)]
  fileprivate let operations: Int
  /// What a token costs, by function.
  public let costs: [(function: String, cost: FunctionCost)]
  fileprivate let length: Int

  /// - Parameter length: committed positions at which costs count; nil: `usualLength`.
  public init(_ module: Module, length: Int?) {
    text = module.text()
    stage = module.stage
    fidelities = module.functions.map { ($0.name, $0.fidelity) }
    operations = module.functions.reduce(0) { $0 + $1.body.count }
    let positions = length ?? module.usualLength
    self.length = positions
    costs = module.functions.map { ($0.name, FunctionCost(of: $0, in: module, length: positions)) }
  }

  /// What changed since another moment, a line each: operations, stage, fidelity, and what a token costs. Empty if nothing did.
  public func changes(since old: ModuleSnapshot) -> [String] {
    guard text != old.text else { return [] }
    let counts = LineDifference(from: old.text, to: text).operationCounts
    var lines = [
      "ops \(old.operations) -> \(operations): \(counts.changed) changed, \(counts.added) added, \(counts.removed) removed"
    ]
    if stage != old.stage { lines.append("stage \(old.stage.rawValue) -> \(stage.rawValue)") }
    for (function, fidelity) in fidelities {
      guard case .approximate(let pass) = fidelity,
        old.fidelities.first(where: { $0.function == function })?.fidelity != fidelity
      else { continue }
      lines.append("\(Lexical.symbol(function)) is approximate: \(pass)")
    }
    for (function, cost) in costs {
      let before = old.costs.first { $0.function == function }?.cost
      guard before != cost, cost.operations > 0 || cost.cacheBytes > 0 || before != nil else { continue }
      func step(_ unit: (FunctionCost) -> String) -> String {
        guard let before else { return unit(cost) + " (new)" }
        return unit(before) == unit(cost) ? unit(cost) : "\(unit(before)) -> \(unit(cost))"
      }
      lines.append(
        "\(Lexical.symbol(function)), one token at L = \(length): K and V read \(step { Self.bytes($0.cacheBytes) }), "
          + "FLOPs \(step { Self.count($0.operations) })")
    }
    let gone = old.costs.map(\.function).filter { name in !costs.contains { $0.function == name } }
    if !gone.isEmpty { lines.append("gone: " + gone.map { Lexical.symbol($0) }.joined(separator: ", ")) }
    return lines
  }

  /// `320 MiB`.
  public static func bytes(_ value: Double) -> String { scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]) }
  /// `722.5 M`.
  public static func count(_ value: Double) -> String { scaled(value, 1000, ["", "k", "M", "G", "T"]) }

  /// Four digits are enough to compare by.
  private static func scaled(_ value: Double, _ step: Double, _ units: [String]) -> String {
    var (value, unit) = (value, 0)
    while value >= step, unit < units.count - 1 {
      value /= step
      unit += 1
    }
    // Neither a huge number nor none at all has a place in Int.
    func whole(_ value: Double) -> Int { Int(value < 1e15 ? max(value, 0) : 1e15) }
    let tenths = unit == 0 ? whole(value) * 10 : whole((value * 10).rounded())
    let number = tenths % 10 == 0 ? "\(tenths / 10)" : "\(tenths / 10).\(tenths % 10)"
    return units[unit].isEmpty ? number : "\(number) \(units[unit])"
  }
}
