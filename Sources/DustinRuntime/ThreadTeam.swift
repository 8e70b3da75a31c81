import DustinSupport
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The threads of a process: the caller and `count - 1` workers that enter a piece of work together.
///
/// Between two pieces a worker spins for about 40 µs, the time that the caller needs for its few serial lines, and then
/// sleeps: a spinner that has to share its core costs its neighbours milliseconds. One team serves all engines.
/// Safe to use from several threads; pieces of work then queue up.
public final class ThreadTeam: Sendable {
  /// Threads that take part, the caller included.
  public let count: Int
  private let shared: TeamState

  /// - Throws: `DiagnosticError` with id `threads` for a count outside 1 … 1024 or when a thread cannot be started.
  public init(threads count: Int) throws {
    guard 1...1024 ~= count else {
      throw DiagnosticError("threads", "the number of threads must be 1 … 1024, not \(count)")
    }
    self.count = count
    shared = TeamState()
    for index in 1..<count {
      guard shared.start(index) else {
        shared.stop()
        throw DiagnosticError("threads", "cannot start thread \(index + 1) of \(count)")
      }
    }
  }

  deinit { shared.stop() }

  /// Runs `body(thread)` on all threads, 0 (the caller) … count - 1, and returns when all are done. The bodies run at
  /// the same time: what they share must be read-only, theirs by thread number, or atomic. Must not be nested.
  public func run(_ body: (Int) -> Void) {
    withoutActuallyEscaping(body) { body in
      var body = body
      withUnsafeMutablePointer(to: &body) { pointer in
        run(
          call: { context, thread in context.assumingMemoryBound(to: ((Int) -> Void).self).pointee(thread) },
          context: UnsafeMutableRawPointer(pointer))
      }
    }
  }

  /// The same without a closure, for the step's hot path.
  func run(call: @escaping TeamState.Call, context: UnsafeMutableRawPointer) {
    if count == 1 { return call(context, 0) }
    shared.run(call, context, threads: count)
  }
}

/// What a thread does that has spun at a barrier for about 25 µs: somebody else needs its core, perhaps the very thread
/// that it waits for. Yielding is the cheaper way, but leaves two threads on one core for as long as they yield to each
/// other; a thread that wakes from a sleep is put on an idle core, so every 64th call sleeps.
func giveCoreAway() {
  if waits.wrappingAdd(1, ordering: .relaxed).newValue % 64 == 0 { usleep(20) } else { sched_yield() }
}
private let waits = Atomic<Int>(0)

/// What the threads share; it outlives the team until the last worker has left.
final class TeamState: @unchecked Sendable {
  // Sendable: `call` and `context` are written before `epoch` is raised and read after it is seen; `threads` belongs to
  // the thread that made the team; the rest is atomic or a lock.
  typealias Call = @convention(c) (UnsafeMutableRawPointer, Int) -> Void

  private static let spinSeconds = 40e-6

  private let epoch = Atomic<UInt32>(0)
  private let running = Atomic<Int>(0)
  private let sleepers = Atomic<Int>(0)
  private let stopping = Atomic<Bool>(false)
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let wakeUp = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  /// Held for a whole piece of work, so that two callers take turns.
  private let turn = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private var call: Call = { _, _ in }
  private var context: UnsafeMutableRawPointer?
  private var threads: [pthread_t] = []

  init() {
    pthread_mutex_init(mutex, nil)
    pthread_mutex_init(turn, nil)
    pthread_cond_init(wakeUp, nil)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    pthread_mutex_destroy(turn)
    pthread_cond_destroy(wakeUp)
    mutex.deallocate()
    turn.deallocate()
    wakeUp.deallocate()
  }

  // MARK: The caller's side

  /// Starts worker `index`; false when the system has no thread left.
  func start(_ index: Int) -> Bool {
    // Signals are for the thread that the program waits in: workers inherit a full mask.
    var all = sigset_t()
    var before = sigset_t()
    sigfillset(&all)
    pthread_sigmask(SIG_SETMASK, &all, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    let worker = Unmanaged.passRetained(Worker(state: self, index: index))
    var thread = pthread_t()
    let status = pthread_create(
      &thread, nil,
      { argument in
        if let argument {
          let worker = Unmanaged<Worker>.fromOpaque(argument).takeRetainedValue()
          worker.state.work(worker.index)
        }
        return nil
      }, worker.toOpaque())
    if status != 0 {
      worker.release()
      return false
    }
    threads.append(thread)
    return true
  }

  func run(_ call: @escaping Call, _ context: UnsafeMutableRawPointer, threads count: Int) {
    pthread_mutex_lock(turn)
    defer { pthread_mutex_unlock(turn) }
    self.call = call
    self.context = context
    running.store(count - 1, ordering: .relaxed)
    raiseEpoch()
    call(context, 0)
    // The emitted code ends together, so the others are at most a few instructions behind, or have lost their core.
    var spins = 0
    while running.load(ordering: .acquiring) != 0 {
      spins += 1
      if spins > 4_000 { sched_yield() }
    }
  }

  func stop() {
    stopping.store(true, ordering: .sequentiallyConsistent)
    raiseEpoch()
    for thread in threads { pthread_join(thread, nil) }
    threads = []
  }

  /// Sequentially consistent with `awaitEpoch`: either the sleeper sees the new epoch, or we see the sleeper.
  private func raiseEpoch() {
    epoch.wrappingAdd(1, ordering: .sequentiallyConsistent)
    if sleepers.load(ordering: .sequentiallyConsistent) > 0 {
      pthread_mutex_lock(mutex)
      pthread_cond_broadcast(wakeUp)
      pthread_mutex_unlock(mutex)
    }
  }

  // MARK: The workers' side

  private final class Worker {
    let state: TeamState
    let index: Int
    init(state: TeamState, index: Int) {
      self.state = state
      self.index = index
    }
  }

  private func work(_ index: Int) {
    var seen: UInt32 = 0
    while true {
      awaitEpoch(after: seen)
      // Never more than one ahead: the caller waits for all workers before it raises the epoch again.
      seen &+= 1
      if stopping.load(ordering: .acquiring) { return }
      if let context { call(context, index) }
      running.wrappingSubtract(1, ordering: .releasing)
    }
  }

  private func awaitEpoch(after seen: UInt32) {
    let end = monotonicSeconds() + Self.spinSeconds
    repeat {
      for _ in 0..<64 where epoch.load(ordering: .acquiring) != seen { return }
    } while monotonicSeconds() < end
    pthread_mutex_lock(mutex)
    sleepers.wrappingAdd(1, ordering: .sequentiallyConsistent)
    while epoch.load(ordering: .sequentiallyConsistent) == seen { pthread_cond_wait(wakeUp, mutex) }
    sleepers.wrappingSubtract(1, ordering: .sequentiallyConsistent)
    pthread_mutex_unlock(mutex)
  }
}
