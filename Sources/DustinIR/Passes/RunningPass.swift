import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The name of the pass that a thread is running, where a signal handler can read it: a crash cannot be caught, but it can
/// be given a name.
public enum RunningPass {
  private static let key: pthread_key_t = {
    var key = pthread_key_t()
    pthread_key_create(&key, nil)
    return key
  }()

  /// Zero-terminated; nil while no pass runs on this thread. Ask once before a signal may arrive.
  public static var name: UnsafePointer<CChar>? {
    pthread_getspecific(key).map { UnsafePointer($0.assumingMemoryBound(to: CChar.self)) }
  }

  /// Whether a handler of signals waits for crashes. From then on each thread that runs passes has a stack for it: endless
  /// recursion uses up the thread's own.
  public static let isWatched = Atomic<Bool>(false)

  /// Frees a thread's stack when the thread ends.
  private static let stackKey: pthread_key_t = {
    var key = pthread_key_t()
    pthread_key_create(&key) { memory in
      var none = stack_t()
      none.ss_flags = Int32(SS_DISABLE)
      sigaltstack(&none, nil)
      free(memory)
    }
    return key
  }()

  private static func addSignalStack() {
    guard pthread_getspecific(stackKey) == nil else { return }
    let size = 1 << 16
    guard let memory = malloc(size) else { return }
    var stack = stack_t()
    stack.ss_sp = memory
    stack.ss_size = size
    guard sigaltstack(&stack, nil) == 0, pthread_setspecific(stackKey, memory) == 0 else { return }
  }

  /// Runs the body as that of a pass.
  public static func noting<Result>(_ name: String, _ body: () throws -> Result) rethrows -> Result {
    if isWatched.load(ordering: .acquiring) { addSignalStack() }
    let outer = pthread_getspecific(key)
    let text = name.withCString(strdup)
    pthread_setspecific(key, text)
    defer {
      pthread_setspecific(key, outer)
      free(text)
    }
    return try body()
  }
}
