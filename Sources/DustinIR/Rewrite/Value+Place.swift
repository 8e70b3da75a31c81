extension Value {
  /// Whether the value is a KV cache, or a later version of one: it lives outside the arena and is used linearly.
  public var isCache: Bool {
    switch definition {
    case .argument(let function, let index):
      function.argumentRoles.indices.contains(index) && function.argumentRoles[index] == .cache
    case .result(let operation, let index):
      // The caches that `append` and `rope_append` take come out as their last results, one for one.
      operation.resultCacheStart.map { index >= $0 } ?? false
    case .global, .detached: false
    }
  }

  /// Whether the value is a weight or a weight in another element type: packed once at load, never in the arena.
  public var isWeight: Bool {
    var value = self
    while let operation = value.definingOperation, operation.name == "cast", let operand = operation.operands.first {
      value = operand
    }
    return value.global != nil
  }

  /// Whether the value is rows that lie in the arena during a step.
  public var isRows: Bool { !isCache && !isWeight }
}

extension Operation {
  /// Number of the first result that is a cache; nil if none is.
  var resultCacheStart: Int? {
    let caches = self[group: "cache"].count
    guard caches > 0, results.count >= caches, name == "append" || name == "rope_append" else { return nil }
    return results.count - caches
  }
}
