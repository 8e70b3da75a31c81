import Synchronization

/// Asks a run to stop at the next whole step. `cancel()` is one atomic store: a signal handler may call it.
public final class CancelFlag: Sendable {
  private let flag = Atomic<Bool>(false)

  public init() {}

  public func cancel() { flag.store(true, ordering: .relaxed) }
  public func reset() { flag.store(false, ordering: .relaxed) }
  public var isCancelled: Bool { flag.load(ordering: .relaxed) }
}
