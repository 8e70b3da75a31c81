import DustinIR
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Says which pass of which plug-in was running when the process dies by a signal. It still dies by it.
enum CrashReport {
  private static let signals: [(Int32, StaticString)] = [
    (SIGSEGV, "SIGSEGV"), (SIGBUS, "SIGBUS"), (SIGILL, "SIGILL"), (SIGTRAP, "SIGTRAP"), (SIGFPE, "SIGFPE"),
    (SIGABRT, "SIGABRT"),
  ]

  /// A pass of a plug-in, as zero-terminated texts that stay where they are.
  private struct Entry {
    let pass: UnsafeMutablePointer<CChar>?
    let plugin: UnsafeMutablePointer<CChar>?
  }
  /// Room for the passes of all plug-ins: a handler must not meet an array that is being moved.
  private static let capacity = 1024
  // Written under the lock before the count says so, read by the handler; never freed.
  nonisolated(unsafe) private static let entries = UnsafeMutablePointer<Entry>.allocate(capacity: capacity)
  private static let count = Atomic<Int>(0)
  private static let isInstalled = Mutex(false)

  /// Installs the handlers, once.
  static func install() {
    isInstalled.withLock { isInstalled in
      if isInstalled { return }
      isInstalled = true
      // What the handler reads is made here.
      _ = (RunningPass.name, count.load(ordering: .relaxed), entries, signals)
      for (number, _) in signals {
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { CrashReport.report($0) }
        // Back to the default at once: the handler returns, and the fault comes again.
        action.sa_flags = SA_ONSTACK | Int32(bitPattern: UInt32(SA_RESETHAND))
        sigaction(number, &action, nil)
      }
      RunningPass.isWatched.store(true, ordering: .releasing)
    }
  }

  static func add(passes: [String], of plugin: String) {
    isInstalled.withLock { _ in
      for pass in passes {
        let index = count.load(ordering: .relaxed)
        if index == capacity { return }
        entries[index] = Entry(pass: pass.withCString(strdup), plugin: plugin.withCString(strdup))
        count.store(index + 1, ordering: .releasing)
      }
    }
  }

  /// Runs the code of a plug-in that is no pass.
  static func noting<Result>(plugin: String, _ body: () throws -> Result) rethrows -> Result {
    try RunningPass.noting("the entry of '\(plugin)'", body)
  }

  /// Only what may be called in a signal handler.
  private static func report(_ signal: Int32) {
    say("error: the process crashed")
    for (number, name) in signals where number == signal {
      say(" (")
      say(name)
      say(")")
    }
    if let pass = RunningPass.name {
      say(" in the pass '")
      write(pass)
      say("'")
      for index in 0..<count.load(ordering: .acquiring) {
        guard let known = entries[index].pass, let plugin = entries[index].plugin, strcmp(known, pass) == 0 else {
          continue
        }
        say(" of the plug-in '")
        write(plugin)
        say("'")
      }
    } else {
      say(" outside of passes, with plug-ins loaded")
    }
    say("\n")
    raise(signal)
  }

  private static func say(_ text: StaticString) {
    #if canImport(Glibc)
      _ = Glibc.write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
    #else
      _ = Musl.write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
    #endif
  }

  private static func write(_ text: UnsafePointer<CChar>) {
    #if canImport(Glibc)
      _ = Glibc.write(STDERR_FILENO, text, strlen(text))
    #else
      _ = Musl.write(STDERR_FILENO, text, strlen(text))
    #endif
  }
}
