/// What a function costs a sequence for one token: a step of one row behind `length` committed positions.
///
/// The figures follow from the ops and the dims alone, so they can be compared before and after a pass. Ops that a plug-in
/// declared count nothing.
public struct FunctionCost: Equatable, Sendable {
  /// Bytes of K and V that attention and scoring read.
  public private(set) var cacheBytes = 0.0
  /// The same if all attention read every position and nothing were scored.
  public private(set) var denseCacheBytes = 0.0
  /// Multiplications and additions of matrices, attention and scoring; what is done once per row and column is left out.
  public private(set) var operations = 0.0

  public init(of function: Function, in module: Module, length: Int) {
    self.init(of: function.body, in: module, length: length)
  }

  /// The same of some operations of a module.
  public init(of operations: [Operation], in module: Module, length: Int) {
    let extents = Extents(module, length: length)
    for operation in operations {
      if let read = operation.cacheRead {
        // The step's own row is behind every set, and the last position that attention reads.
        let positions = (read.set.map { extents.last($0.type) } ?? Double(length)) + (read.isAttention ? 1 : 0)
        cacheBytes += Double(read.bytes) * positions
        if read.isAttention { denseCacheBytes += Double(read.bytes) * (Double(length) + 1) }
      }
      self.operations += Self.operations(operation, extents, length: Double(length))
    }
  }

  private static func operations(_ operation: Operation, _ extents: Extents, length: Double) -> Double {
    guard let x = operation.operands.first?.type.shape, let rows = x.first.map({ extents[$0] }) else { return 0 }
    let perRow = x.dropFirst().reduce(1) { $0 * extents[$1] }
    switch operation.name {
    case "linear":
      let columns = operation[group: "weight"].reduce(0) { $0 + ($1.type.shape.first.map { extents[$0] } ?? 0) }
      return 2 * rows * perRow * columns
    case "attend":
      let positions = 1 + (operation[group: "after"].first.map { extents.last($0.type) } ?? length)
      return 4 * rows * perRow * positions
    case "score":
      guard x.count == 3, !operation.isBesideAttention else { return 0 }
      let heads = operation.attributes.ints("heads").map { Double($0.count) } ?? extents[x[1]]
      return 2 * rows * heads * extents[x[2]] * length
    default: return 0
    }
  }
}

/// Extents of dims in a step of one row at a length.
private struct Extents {
  private var values: [String: Double] = [:]

  init(_ module: Module, length: Int) {
    let rules = Dictionary(module.dims.map { ($0.name, $0.rule) }, uniquingKeysWith: { first, _ in first })
    for dim in module.dims {
      // What remains of a chain of minima is bounded by every number on the way.
      var (name, limit) = (dim.name, Double(length))
      for _ in module.dims {
        switch rules[name] {
        case .bounded(let bound):
          limit = min(limit, Double(bound))
          name = ""
        case .minimum(let number, let other):
          limit = min(limit, Double(number))
          name = other
        case nil: break
        }
      }
      values[dim.name] = dim.name == "T" ? 1 : limit
    }
  }

  subscript(_ dim: Dim) -> Double {
    switch dim {
    case .fixed(let value): Double(value)
    case .named(let name): values[name] ?? 0
    }
  }

  /// The last extent of a type: the positions of a set, of each plane.
  func last(_ type: TensorType) -> Double { type.shape.last.map { self[$0] } ?? 0 }
}

extension Module {
  /// The dim that counts committed positions; nil when no function takes a cache.
  public var positionDim: Dim? {
    functions.lazy.flatMap { zip($0.arguments, $0.argumentRoles) }
      .first { $1 == .cache }?.0.type.shape.first
  }

  /// The length at which figures of dumps count unless somebody says another: 32,768 positions, or all of a shorter context.
  public var usualLength: Int {
    min(32_768, positionDim.flatMap { bound(of: $0) } ?? 32_768)
  }
}
