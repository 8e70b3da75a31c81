/// What the compiler hands to the runtime beside the machine code: call tables, places and layouts.
///
/// Plain data: the JIT passes it in memory, an executable carries it as bytes. The code itself is one `dustin_entry`
/// (CDustin.h) that runs any function's table.
public struct Program: Sendable, Equatable {
  public enum Element: UInt8, Sendable { case f32, bf16, i32 }

  /// Where a function's argument or result lies during a step.
  public struct Port: Sendable, Equatable {
    public enum Place: Sendable, Equatable {
      /// `count` values a row, rows `rowBytes` apart, from `offset` in the arena. One row per token of the step, or one
      /// per sequence (the last row of each, in the order of the step's sequences).
      case arena(offset: Int, rowBytes: Int, count: Int, element: Element, perSequence: Bool)
      /// A KV cache: region number in `cacheRegions`.
      case cache(region: Int)
    }
    public var name: String
    /// `plain`, `cache`, `row`, `round` or `static` (what becomes of the value at commit).
    public var role: String
    public var place: Place

    public init(name: String, role: String, place: Place) {
      self.name = name
      self.role = role
      self.place = place
    }
  }

  public struct Function: Sendable, Equatable {
    public var name: String
    /// Most rows that one step may carry, over all its sequences.
    public var maxRows: Int
    /// Calls one behind the other: kernel number, 1 if a barrier follows, argument count, arguments.
    public var table: [Int64]
    public var arguments: [Port]
    public var results: [Port]
    /// False when a pass made the function approximate.
    public var isExact: Bool
    /// Token ids must be below this: rows of the smallest table that they look up.
    public var tokenLimit: Int

    public init(
      name: String, maxRows: Int, table: [Int64], arguments: [Port], results: [Port], isExact: Bool,
      tokenLimit: Int = Int(Int32.max)
    ) {
      self.name = name
      self.maxRows = maxRows
      self.table = table
      self.arguments = arguments
      self.results = results
      self.isExact = isExact
      self.tokenLimit = tokenLimit
    }
  }

  /// One part of a sequence's cache: the keys or the values of one layer.
  ///
  /// Region i starts at (sum of the `bytesPerPosition` before it) * capacity. Inside, KV head h starts at
  /// h * dim * elementBytes * capacity; then come blocks of 16 positions. With u = 2 for bf16 and 1 for f32, a block of
  /// keys is [dim/u][16][u], a block of values [16/u][dim][u].
  public struct CacheRegion: Sendable, Equatable {
    public var isKeys: Bool
    public var heads: Int
    public var dim: Int
    public var element: Element
    public var elementBytes: Int { element == .bf16 ? 2 : 4 }
    public var bytesPerPosition: Int { heads * dim * elementBytes }

    public init(isKeys: Bool, heads: Int, dim: Int, element: Element) {
      self.isKeys = isKeys
      self.heads = heads
      self.dim = dim
      self.element = element
    }
  }

  public var functions: [Function]
  /// Kernels that the code has; the tables call them by number.
  public var kernelCount: Int
  public var cacheRegions: [CacheRegion]
  public var arenaBytes: Int
  /// Bytes of packed weights.
  public var weightBytes: Int
  /// Scratch of each thread.
  public var scratchBytesPerThread: Int
  /// Bytes of partial attention results per (row, query head, chunk of 1024 positions), and the most query heads.
  public var partialBytes: Int
  public var partialHeads: Int

  public init(
    functions: [Function], kernelCount: Int, cacheRegions: [CacheRegion], arenaBytes: Int, weightBytes: Int,
    scratchBytesPerThread: Int, partialBytes: Int, partialHeads: Int
  ) {
    self.functions = functions
    self.kernelCount = kernelCount
    self.cacheRegions = cacheRegions
    self.arenaBytes = arenaBytes
    self.weightBytes = weightBytes
    self.scratchBytesPerThread = scratchBytesPerThread
    self.partialBytes = partialBytes
    self.partialHeads = partialHeads
  }

  public func function(_ name: String) -> Function? { functions.first { $0.name == name } }
  public var cacheBytesPerPosition: Int { cacheRegions.reduce(0) { $0 + $1.bytesPerPosition } }
}
