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

/// What Ctrl-C sets; the runtime looks at it between two steps.
let interruption = CancelFlag()

/// Makes the first Ctrl-C set `interruption`; a second one ends the process at once.
func catchInterrupts() {
  // A C function pointer may capture nothing, and the flag must be made before a signal can arrive.
  _ = interruption.isCancelled
  signal(SIGINT) { _ in
    interruption.cancel()
    signal(SIGINT, SIG_DFL)
  }
}
