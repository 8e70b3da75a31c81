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
      /// A signal or a set: number in `sequenceValues`.
      case sequence(value: Int)
    }
    public var name: String
    /// `plain`, `cache`, `row`, `rows`, `round` or `static` (what becomes of the value at commit).
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
    /// KV bytes that a step reads of one sequence.
    public var reads = CacheReads()
    /// Bytes of partial results per (row, chunk of 1024 positions).
    public var partialBytes = 0

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

  /// KV bytes that one step of a function reads of a sequence.
  public struct CacheReads: Sendable, Equatable {
    /// Of every position: attention without a set, and scoring.
    public var perPosition = 0
    /// Of every position, if all attention read everything and nothing were scored.
    public var densePerPosition = 0
    /// Through sets: bytes of each of the set's positions and of those behind it.
    public var perSelected: [Selected] = []

    public struct Selected: Sendable, Equatable {
      /// Number in `sequenceValues`.
      public var set: Int
      public var bytes: Int

      public init(set: Int, bytes: Int) {
        self.set = set
        self.bytes = bytes
      }
    }

    public init() {}
  }

  /// A signal or a set, which lies in the sequence's memory behind its caches.
  ///
  /// The memory is: the sets in order, each `planes` times [count: i32, 60 bytes unused, then room for `bound` ascending
  /// positions (i32), rounded up to 64 bytes]; behind all sets the signals in order, each `planes` times f32[capacity].
  public struct SequenceValue: Sendable, Equatable {
    public enum Kind: Sendable, Equatable {
      /// f32[L] of each plane.
      case signal
      /// Up to `bound` positions of each plane.
      case set(bound: Int)
    }
    public var name: String
    public var kind: Kind
    /// 1, or the number of KV heads.
    public var planes: Int

    public init(name: String, kind: Kind, planes: Int) {
      self.name = name
      self.kind = kind
      self.planes = planes
    }

    /// Bytes of one plane of a set.
    public var setBytes: Int {
      if case .set(let bound) = kind { 64 + (bound + 15) / 16 * 64 } else { 0 }
    }
    public var fixedBytes: Int { planes * setBytes }
    public var bytesPerPosition: Int { kind == .signal ? planes * 4 : 0 }
  }

  /// What the module says about the rounds.
  public struct Policy: Sendable, Equatable {
    /// Rounds that a set is kept.
    public var refresh = 1
    /// Tokens after which the target reads everything once and writes their keys and values anew; 0: never.
    public var denseEvery = 0
    /// Last prompt tokens over which a set is chosen once, for the whole run; 0: none.
    public var observe = 0

    public init(refresh: Int = 1, denseEvery: Int = 0, observe: Int = 0) {
      self.refresh = refresh
      self.denseEvery = denseEvery
      self.observe = observe
    }
  }

  /// One part of a sequence's cache: the keys or the values of one layer.
  ///
  /// Region i starts at (sum of the `bytesPerPosition` before it) * capacity. Packed: inside, KV head h starts at
  /// h * dim * elementBytes * capacity; then come blocks of 16 positions. With u = 2 for bf16 and 1 for f32, a block of
  /// keys is [dim/u][16][u], a block of values [16/u][dim][u]. Rows: [position][head][dim].
  public struct CacheRegion: Sendable, Equatable {
    public enum Layout: UInt8, Sendable { case packed, rows }
    public var isKeys: Bool
    public var heads: Int
    public var dim: Int
    public var element: Element
    public var elementBytes: Int { element == .bf16 ? 2 : 4 }
    public var bytesPerPosition: Int { heads * dim * elementBytes }
    /// Rows are copies of the packed regions, in the same order behind them all.
    public var layout: Layout

    public init(isKeys: Bool, heads: Int, dim: Int, element: Element, layout: Layout = .packed) {
      self.layout = layout
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
  /// Signals and sets that its functions pass on.
  public var sequenceValues: [SequenceValue] = []
  public var policy = Policy()

  public init(
    functions: [Function], kernelCount: Int, cacheRegions: [CacheRegion], arenaBytes: Int, weightBytes: Int,
    scratchBytesPerThread: Int
  ) {
    self.functions = functions
    self.kernelCount = kernelCount
    self.cacheRegions = cacheRegions
    self.arenaBytes = arenaBytes
    self.weightBytes = weightBytes
    self.scratchBytesPerThread = scratchBytesPerThread
  }

  public func function(_ name: String) -> Function? { functions.first { $0.name == name } }
  public var cacheBytesPerPosition: Int { cacheRegions.reduce(0) { $0 + $1.bytesPerPosition } }
  /// Bytes of all sets of a sequence, and bytes per position of all signals.
  public var fixedValueBytes: Int { sequenceValues.reduce(0) { $0 + $1.fixedBytes } }
  public var valueBytesPerPosition: Int { sequenceValues.reduce(0) { $0 + $1.bytesPerPosition } }

  /// Where a signal or a set starts in the memory of values: `fixed + perPosition * capacity`.
  public func place(ofValue index: Int) -> (fixed: Int, perPosition: Int) {
    let before = sequenceValues[..<index]
    if case .set = sequenceValues[index].kind { return (before.reduce(0) { $0 + $1.fixedBytes }, 0) }
    return (fixedValueBytes, before.reduce(0) { $0 + $1.bytesPerPosition })
  }
}
