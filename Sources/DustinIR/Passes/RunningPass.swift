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

  /// Runs the body as that of a pass.
  public static func noting<Result>(_ name: String, _ body: () throws -> Result) rethrows -> Result {
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
