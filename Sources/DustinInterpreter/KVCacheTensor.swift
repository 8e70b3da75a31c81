import DustinIR
import DustinSupport

/// The keys or the values of one layer: committed positions, then the rows of the step in flight.
///
/// One object is shared by all versions of a cache; `append` writes into it and makes the versions before it stale.
public final class KVCacheTensor {
  /// KV heads.
  public let heads: Int
  /// Numbers per head.
  public let dim: Int
  public let element: ElementType
  /// Most positions, committed and in flight.
  public let capacity: Int
  /// Committed positions.
  public private(set) var length = 0
  /// Rows that hold numbers: the committed ones and those in flight behind them.
  public private(set) var written = 0
  /// Counts the appends; a `Cache` of another version is stale.
  public private(set) var version = 0
  /// [position][head][dim]; grows with the positions in use.
  private(set) var rows: [Float] = []

  /// Throws when the extents are not positive or the capacity does not fit into memory's address space.
  public init(heads: Int, dim: Int, element: ElementType, capacity: Int) throws {
    let (width, overflow) = heads.multipliedReportingOverflow(by: dim)
    let (_, overflows) = width.multipliedReportingOverflow(by: max(1, capacity) * 4)
    guard heads > 0, dim > 0, capacity >= 0, capacity <= Int32.max, !overflow, !overflows, width <= Int32.max else {
      throw DiagnosticError(
        "cache-shape", "a cache cannot have \(capacity) positions of \(heads) heads of \(dim) numbers")
    }
    guard element.isFloat else { throw DiagnosticError("cache-shape", "a cache cannot hold \(element.rawValue)") }
    self.heads = heads
    self.dim = dim
    self.element = element
    self.capacity = capacity
  }

  public var width: Int { heads * dim }
  /// The version that may be used.
  public var current: Cache { Cache(storage: self, version: version) }
  /// The version that may be used, with only its first positions committed: what a function sees that reads behind
  /// speculated rows. Nothing can be appended to it.
  public func current(upTo length: Int) -> Cache { Cache(storage: self, version: version, limit: length) }

  /// Sets rows `length` … `length + count - 1`, rounded to the element type; whatever was in flight is gone.
  func append(_ values: UnsafePointer<Float>, count: Int) {
    rows.removeLast(rows.count - length * width)
    rows.append(contentsOf: UnsafeBufferPointer(start: values, count: count * width))
    let start = length * width
    let element = element
    let total = count * width
    rows.withUnsafeMutableBufferPointer { buffer in
      if let base = buffer.baseAddress { round(base + start, total, to: element) }
    }
    written = length + count
    version += 1
  }

  /// Makes the first `count` rows in flight part of the context.
  public func commit(_ count: Int) throws {
    guard count >= 0, count <= written - length else {
      throw DiagnosticError("cache-commit", "cannot commit \(count) positions: \(written - length) are in flight")
    }
    length += count
  }

  /// Forgets the positions from `newLength` on, and everything in flight.
  public func truncate(to newLength: Int) throws {
    guard newLength >= 0, newLength <= length else {
      throw DiagnosticError("cache-truncate", "cannot truncate to \(newLength) positions: \(length) are committed")
    }
    length = newLength
    written = newLength
    rows.removeLast(rows.count - newLength * width)
  }

  /// An independent cache with the same contents.
  public func copy() throws -> KVCacheTensor {
    let copy = try KVCacheTensor(heads: heads, dim: dim, element: element, capacity: capacity)
    copy.rows = rows
    copy.length = length
    copy.written = written
    return copy
  }

  /// Rows `range` as [positions, heads, dim]. Throws when they are not all written.
  public func tensor(_ range: Range<Int>) throws -> Tensor {
    guard range.lowerBound >= 0, range.upperBound <= written else {
      throw DiagnosticError("cache-range", "positions \(range) are outside the \(written) that the cache holds")
    }
    return Tensor(
      element, [range.count, heads, dim], rounding: Array(rows[range.lowerBound * width..<range.upperBound * width]))
  }
}

/// One version of a cache: a value, although its numbers lie in a shared object.
public struct Cache {
  public let storage: KVCacheTensor
  public let version: Int
  /// Fewer committed positions than the storage has; nil for all of them.
  let limit: Int?
  /// What a gathered view shows, i32[S] or i32[KV, S]; nil for a whole cache.
  public let positions: Tensor?

  init(storage: KVCacheTensor, version: Int, limit: Int? = nil, positions: Tensor? = nil) {
    self.storage = storage
    self.version = version
    self.limit = limit
    self.positions = positions
  }

  /// True when a later append has overwritten this version.
  public var isStale: Bool { version != storage.version }
  /// Committed positions.
  public var length: Int { min(limit ?? .max, storage.length) }

  /// The same numbers seen through a set.
  func gathered(_ positions: Tensor) -> Cache {
    Cache(storage: storage, version: version, limit: limit, positions: positions)
  }

  /// What a view shows, [S, KV, D], zeros where a KV head has fewer positions; of a whole cache the rows in flight.
  func rows() throws -> Tensor {
    guard let positions else { return try storage.tensor(storage.length..<storage.written) }
    let (count, heads, dim) = (positions.shape.last ?? 0, storage.heads, storage.dim)
    var floats = [Float](repeating: 0, count: count * storage.width)
    for head in 0..<heads {
      let plane = positions.shape.count == 2 ? head * count : 0
      for index in 0..<count {
        let position = Int(positions.ints[plane + index])
        guard 0..<storage.written ~= position else { continue }
        let start = (position * heads + head) * dim
        floats.replaceSubrange(
          (index * heads + head) * dim..<(index * heads + head + 1) * dim, with: storage.rows[start..<start + dim])
      }
    }
    return Tensor(storage.element, [count, heads, dim], rounding: floats)
  }
}
