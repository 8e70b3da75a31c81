import DustinRuntime
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Ctrl-C ended the work: the tool says `interrupted` and exits with 130.
public struct Interrupted: Error {
  public init() {}
}

/// Whoever read standard output went away, as `head` does: the tool ends without a word, with the exit code that a shell
/// gives to programs that such an end kills.
public struct OutputClosed: Error {
  public static let exitCode: Int32 = 141

  public init() {}
}

/// Makes writing to a closed pipe, or beyond the length that files may have, an error of the write instead of the end of
/// the process.
public func ignoreClosedPipes() {
  signal(SIGPIPE, SIG_IGN)
  signal(SIGXFSZ, SIG_IGN)
}

/// Puts /dev/null where standard input, output or error is closed: a file or an event queue opened later would take its
/// number, and text would go there.
public func openMissingStandardFiles() {
  for number in 0...2 where fcntl(Int32(number), F_GETFD) == -1 {
    // The lowest free number is this one, since the ones below are open.
    _ = open("/dev/null", O_RDWR)
  }
}

/// What Ctrl-C sets, and nothing else; the runtime looks at it between two steps.
package let interruption = CancelFlag()

/// Throws `Interrupted` after Ctrl-C: for work that looks at no flag itself.
package func checkInterruption() throws {
  if interruption.isCancelled { throw Interrupted() }
}

/// Makes the first Ctrl-C set `interruption`; a second one ends the process at once.
package func catchInterrupts() {
  // A C function pointer may capture nothing, and the flag must be made before a signal can arrive.
  _ = interruption.isCancelled
  signal(SIGINT) { _ in
    interruption.cancel()
    signal(SIGINT, SIG_DFL)
  }
}
