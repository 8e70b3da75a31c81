import DustinIR
import DustinSupport

/// How many positions a set holds, and which ones always.
struct SetSize {
  var budget: Int
  var sink: Int
  var recent: Int
  var granularity: Int

  /// Why a set cannot be like this; nil when it can.
  static func problem(_ passName: String, budget: Int, sink: Int, recent: Int, granularity: Int) -> String? {
    if budget < 1 { return "\(passName) needs budget=1 or more, not \(budget)" }
    if budget > 1 << 20 { return "\(passName): the budget \(budget) is above 1048576" }
    if budget % granularity != 0 {
      return "\(passName): the budget \(budget) is not a multiple of the block size \(granularity)"
    }
    let kept =
      granularity == 1
      ? sink + recent : (sink + 15) / 16 * 16 + (recent + 15) / 16 * 16 + 16
    if kept > budget {
      let blocks = granularity == 1 ? "" : " in whole blocks of \(granularity)"
      return "\(passName): the budget \(budget) does not hold \(sink) first and \(recent) recent positions\(blocks)"
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
    var free = name
    var number = 1
    while let known = module.dims.first(where: { $0.name == free }) {
      if known.rule == rule { return .named(free) }
      free = "\(name)\(number)"
      number += 1
    }
    module.dims.append(DimDeclaration(free, rule))
    return .named(free)
  }

  func attributes(quotas: [Int]? = nil, cover: Double? = nil) -> AttributeList {
    AttributeList(given: [
      ("budget", .int(budget)), ("sink", .int(sink)), ("recent", .int(recent)),
      ("quotas", quotas.map { .array($0.map { .int($0) }) }), ("cover", cover.map { .float($0) }),
      ("granularity", granularity == 1 ? nil : .int(granularity)),
    ])
  }
}

extension Function {
  /// Takes a signal or a set as its last argument.
  func take(_ name: String, _ type: TensorType, role: ValueRole = .round) -> Value {
    if let known = arguments.first(where: { $0.name == name && $0.type == type }) { return known }
    return addArgument(name, type, role: role)
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
