import Synchronization

/// Asks a run to stop at the next whole step. `cancel()` is one atomic store: a signal handler may call it.
///
/// A flag that follows another one is cancelled with it, and can be cancelled without it: a run stops after Ctrl-C as all
/// do, and after an error of its own alone.
public final class CancelFlag: Sendable {
  private let flag = Atomic<Bool>(false)
  private let leader: CancelFlag?

  public init(following leader: CancelFlag? = nil) { self.leader = leader }

  public func cancel() { flag.store(true, ordering: .relaxed) }
  public func reset() { flag.store(false, ordering: .relaxed) }
  public var isCancelled: Bool { flag.load(ordering: .relaxed) || leader?.isCancelled == true }
}
