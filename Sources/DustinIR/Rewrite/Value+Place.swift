extension Value {
  /// Whether the value is a KV cache, or a later version of one: it lives outside the arena and is used linearly.
  public var isCache: Bool {
    switch definition {
    case .argument(let function, let index):
      return function.argumentRoles.indices.contains(index) && function.argumentRoles[index] == .cache
    case .result(let operation, let index):
      // A view of one: read like a cache, never appended to.
      if operation.name == "gather" { return true }
      // The caches that `append` and `rope_append` take come out as their last results, one for one.
      return operation.resultCacheStart.map { index >= $0 } ?? false
    case .global, .detached: return false
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

  /// Whether the value belongs to the sequence and lies with its caches: a signal, f32[L] or f32[KV, L], or a set.
  public var isSequenceValue: Bool {
    guard !isCache, !isWeight, case .named(let extent)? = type.shape.last else { return false }
    return extent != "T"
  }

  /// The argument with role `running` that the value is a version of: a `score` beside attention writes over its `onto`.
  /// Nil for all other values.
  public var runningArgument: Value? {
    var value = self
    while let operation = value.definingOperation {
      guard operation.isBesideAttention, let before = operation[group: "onto"].first else { return nil }
      value = before
    }
    guard case .argument(let function, let index) = value.definition, function.argumentRoles.indices.contains(index),
      function.argumentRoles[index] == .running
    else { return nil }
    return value
  }

  /// Whether the value is rows that lie in the arena during a step.
  public var isRows: Bool { !isCache && !isWeight && !isSequenceValue }
}

extension Operation {
  /// Whether it is a `score` of the products that an `attend` computes.
  public var isBesideAttention: Bool { name == "score" && !self[group: "beside"].isEmpty }

  /// Number of the first result that is a cache; nil if none is.
  var resultCacheStart: Int? {
    let caches = self[group: "cache"].count
    guard caches > 0, results.count >= caches, name == "append" || name == "rope_append" else { return nil }
    return results.count - caches
  }
}
