/// How many positions a `select` chooses, and which ones always.
public struct SetSize: Hashable, Sendable {
  /// Most positions of the set.
  public var budget: Int
  /// First positions, always taken.
  public var sink: Int
  /// Last positions, always taken.
  public var recent: Int
  /// Positions that are chosen together: 1, or whole blocks of 16.
  public var granularity: Int

  /// The most positions that anything here may count.
  public static let limit = 1 << 20

  public init(budget: Int, sink: Int = 4, recent: Int = 16, granularity: Int = 1) {
    self.budget = budget
    self.sink = sink
    self.recent = recent
    self.granularity = granularity
  }

  /// What a `select` says, with the defaults of what it does not say.
  public init(of select: AttributeList) {
    self.init(budget: select.int("budget") ?? 0)
    sink = select.int("sink") ?? sink
    recent = select.int("recent") ?? recent
    granularity = select.int("granularity") ?? granularity
  }

  /// Positions that are always in the set: with blocks those that hold them, and one that the last positions only touch.
  /// Numbers outside of 0 … `limit`, which are refused, count as the nearest inside.
  public var kept: Int {
    let (sink, recent) = (max(0, min(sink, Self.limit)), max(0, min(recent, Self.limit)))
    return granularity == 1 ? sink + recent : (sink + 15) / 16 * 16 + (recent + 15) / 16 * 16 + 16
  }

  /// What the budget leaves to signals.
  public var free: Int { max(0, min(budget, Self.limit) - kept) }
}
