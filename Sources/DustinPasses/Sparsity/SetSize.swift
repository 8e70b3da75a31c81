import DustinIR
import DustinSupport

extension SetSize {
  /// First and recent positions only, as many as the budget holds.
  static func recent(filling budget: Int, _ sink: Int, _ granularity: Int) -> SetSize {
    var size = SetSize(budget: budget, sink: sink, recent: 0, granularity: granularity)
    size.recent = size.free
    return size
  }

  /// Why a set cannot be like this; nil when it can.
  func problem(_ passName: String) -> String? {
    let limit = Self.limit
    if granularity != 1 && granularity != 16 { return "\(passName) needs granularity=1 or 16, not \(granularity)" }
    if !(1...limit ~= budget) { return "\(passName) needs budget=1 … \(limit), not \(budget)" }
    if !(0...limit ~= sink) { return "\(passName) needs sink=0 … \(limit), not \(sink)" }
    if !(1...limit ~= recent) { return "\(passName) needs recent=1 … \(limit), not \(recent)" }
    if budget % granularity != 0 {
      return "\(passName): budget=\(budget) is not a multiple of the block size \(granularity)"
    }
    if kept > budget {
      let blocks = granularity == 1 ? "" : " in whole blocks of \(granularity)"
      return "\(passName): budget=\(budget) does not hold sink=\(sink) and recent=\(recent) positions\(blocks); "
        + "it needs \(kept) or more"
    }
    return nil
  }

  /// Declares the set's dim under the name, or a free one like it, and gives it.
  func declare(_ name: String, of positions: Dim, in module: Module, fills: Bool = true) -> Dim {
    let rule: DimDeclaration.Rule
    if case .named(let length) = positions, granularity == 1, fills {
      rule = .minimum(budget, of: length)
    } else {
      rule = .bounded(budget)
    }
    return module.declareDim(name, rule, mayBeShared: true)
  }

  func attributes(quotas: [Int]? = nil, cover: Double? = nil) -> AttributeList {
    AttributeList(given: [
      ("budget", .int(budget)), ("sink", .int(sink)), ("recent", .int(recent)),
      ("quotas", quotas.map { .array($0.map { .int($0) }) }), ("cover", cover.map { .float($0) }),
      ("granularity", granularity == 1 ? nil : .int(granularity)),
    ])
  }
}

extension Module {
  /// Declares a dim under the name, or a free one like it, and gives it.
  ///
  /// - Parameter mayBeShared: a dim of such a name that is declared alike serves too.
  func declareDim(_ name: String, _ rule: DimDeclaration.Rule, mayBeShared: Bool) -> Dim {
    var free = name
    var number = 1
    while let known = dims.first(where: { $0.name == free }) {
      if mayBeShared, known.rule == rule { return .named(free) }
      free = "\(name)\(number)"
      number += 1
    }
    dims.append(DimDeclaration(free, rule))
    return .named(free)
  }
}

extension Function {
  /// Takes a signal or a set as its last argument.
  /// - Throws: `DiagnosticError` with id `taken-name` when another argument bears the name, by which values are passed on.
  func take(_ name: String, _ type: TensorType, role: ValueRole = .round, _ passName: String) throws -> Value {
    guard let known = arguments.first(where: { $0.name == name }) else { return addArgument(name, type, role: role) }
    if known.type == type, argumentRoles[arguments.firstIndex(of: known) ?? 0] == role { return known }
    throw DiagnosticError(
      "taken-name", "\(passName): @\(self.name) has an argument %\(name) already, \(known.type)", at: location)
  }
}

extension AttentionLayers.Layer {
  /// Reads the set's positions and what lies behind them, in the place of everything.
  func read(through set: Value, _ rewriter: Rewriter) {
    let caches = attend[group: "cache"]
    let extent = set.type.shape.last ?? .fixed(0)
    let types = caches.map { TensorType($0.type.element, [extent] + $0.type.shape.dropFirst()) }
    let gather = Operation(
      .gather, [OperandGroup("", [set]), OperandGroup("cache", caches)],
      results: [("ks", types[0]), ("vs", types[1])], location: attend.location)
    rewriter.insert(gather, before: attend)
    rewriter.update(attend) {
      attend[group: "cache"] = gather.results
      attend[group: "tail"] = caches
      attend[group: "after"] = [set]
    }
  }
}
