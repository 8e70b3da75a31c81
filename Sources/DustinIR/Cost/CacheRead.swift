/// Bytes of KV cache that an op reads of each position that it looks at.
public struct CacheRead {
  /// The set whose positions are read, and those behind its last one; nil: every position.
  public let set: Value?
  /// Bytes of one position, all KV heads that the op needs.
  public let bytes: Int
  /// Attention also reads the step's own rows; scoring reads what is committed.
  public let isAttention: Bool
}

extension Operation {
  /// What the op reads of the caches; nil for ops that read none. The runtime's counters and the figures of dumps both
  /// come from here.
  public var cacheRead: CacheRead? {
    switch name {
    case "attend":
      let set = self[group: "after"].first
      // Gathered caches are a view: the positions lie in the caches behind it.
      let caches = self[group: set == nil ? "cache" : "tail"]
      let bytes = caches.reduce(0) { $0 + $1.type.positionBytes }
      return CacheRead(set: set, bytes: bytes, isAttention: true)
    case "score":
      // Attention has read the keys, where rows are few: many rows read them once more, which is not counted.
      if isBesideAttention { return nil }
      guard let keys = self[group: "cache"].first?.type, let all = keys.shape.dropFirst().first?.fixedValue, all > 0,
        let heads = operands.first?.type.shape.dropFirst().first?.fixedValue
      else { return nil }
      let group = max(1, heads / all)
      let served = attributes.ints("heads").map { Set($0.map { $0 / group }).count } ?? all
      return CacheRead(set: nil, bytes: keys.positionBytes / all * min(served, all), isAttention: false)
    default: return nil
    }
  }
}

extension TensorType {
  /// Bytes of one position of a cache [L, KV, D], no more than `Arena.largestByteCount`.
  fileprivate var positionBytes: Int {
    shape.dropFirst().reduce(element.byteCount) { Arena.product($0, $1.fixedValue ?? 0) }
  }
}
