import DustinIR
import DustinRunner
import DustinSupport
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension Interrupted: PassEnding {}

/// A shell command that turns one text into another.
enum Filter {
  enum End: Equatable {
    case exit(Int32)
    case signal(Int32)
    /// It printed more than it may, and was ended.
    case tooLong
    /// It was not done in its time, and was ended.
    case tooSlow
  }

  private static let starting = Mutex(())

  /// Runs a command and waits for it. Standard error is the tool's own.
  ///
  /// - Parameters:
  ///   - limit: most bytes that it may print.
  ///   - seconds: that it may take; nil: all that it takes.
  ///   - range: where the command was given, for messages.
  /// - Throws: `DiagnosticError` when it cannot be started; `Interrupted` after Ctrl-C.
  static func run(
    _ command: String, input: [UInt8], limit: Int, seconds: Double?, at range: SourceRange
  ) throws -> (output: [UInt8], end: End) {
    // Input in a file that has no name any more: nobody waits for a filter that reads late, or not at all.
    let source = try temporary(holding: input, range)
    defer { close(source) }
    // The filter is in a group of its own, which the terminal's Ctrl-C does not reach: the tool has to end it.
    catchInterrupts()
    // One at a time: a filter that starts between the two calls below would keep another one's pipe open.
    let (reader, child) = try starting.withLock { _ in
      var pipes: [Int32] = [-1, -1]
      guard pipe(&pipes) == 0 else { throw failure("make a pipe for", errno, range) }
      for end in pipes { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
      defer { close(pipes[1]) }
      do {
        return (pipes[0], try spawn(command, input: source, output: pipes[1], range))
      } catch {
        close(pipes[0])
        throw error
      }
    }
    defer { close(reader) }
    let deadline = seconds.map { monotonicSeconds() + $0 } ?? .infinity
    var output: [UInt8] = []
    var fault: End?
    do {
      fault = try readAll(reader, into: &output, limit: limit, until: deadline, range)
      // A filter may close its output long before its end.
      while fault == nil, !hasEnded(child, within: 100) {
        try checkInterruption()
        if monotonicSeconds() > deadline { fault = .tooSlow }
      }
      try checkInterruption()
    } catch {
      end(child)
      throw error
    }
    if let fault {
      end(child)
      return (output, fault)
    }
    let status = reap(child)
    let signal = status & 0x7f
    return (output, signal == 0 ? .exit((status >> 8) & 0xff) : .signal(signal))
  }

  private static func temporary(holding bytes: [UInt8], _ range: SourceRange) throws -> Int32 {
    let folder = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    var name = Array("\(folder)/dustin-XXXXXX".utf8CString)
    let descriptor = mkstemp(&name)
    guard descriptor >= 0 else { throw failure("make a file in '\(folder)' for", errno, range) }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    unlink(name)
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes {
        write(descriptor, $0.baseAddress?.advanced(by: done), min($0.count - done, 1 << 30))
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        let code = errno
        close(descriptor)
        throw failure("write a file in '\(folder)' for", code, range)
      }
      done += count
    }
    lseek(descriptor, 0, SEEK_SET)
    return descriptor
  }

  private static func spawn(_ command: String, input: Int32, output: Int32, _ range: SourceRange) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, input, 0)
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    // The tool ignores closed pipes, and its child would inherit that.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, SIGPIPE)
    sigaddset(&signals, SIGINT)
    posix_spawnattr_setsigdefault(&attributes, &signals)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))
    posix_spawnattr_setpgroup(&attributes, 0)
    var child: pid_t = 0
    let arguments: [UnsafeMutablePointer<CChar>?] = ["/bin/sh", "-c", command].map { text in text.withCString(strdup) }
    defer { for argument in arguments { free(argument) } }
    let code = posix_spawn(&child, "/bin/sh", &actions, &attributes, arguments + [nil], environ)
    guard code == 0 else { throw failure("start", code, range) }
    return child
  }

  /// - Returns: Why it stopped before the end; nil at the end.
  private static func readAll(
    _ descriptor: Int32, into output: inout [UInt8], limit: Int, until deadline: Double, _ range: SourceRange
  ) throws -> End? {
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      // Ctrl-C may be handled by another thread, and interrupts no call of this one.
      var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      let ready = poll(&waiting, 1, 100)
      try checkInterruption()
      if monotonicSeconds() > deadline { return .tooSlow }
      if ready == 0 || (ready < 0 && errno == EINTR) { continue }
      let count = chunk.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
      if count < 0 {
        let code = errno
        if code == EINTR { continue }
        throw failure("read from", code, range)
      }
      if count == 0 { return nil }
      output.append(contentsOf: chunk[0..<count])
      if output.count > limit { return .tooLong }
    }
  }

  /// Ends the command and all that it started: it is asked first.
  private static func end(_ child: pid_t) {
    kill(-child, SIGTERM)
    _ = hasEnded(child, within: 500)
    // The child was not reaped yet, so that the number is still its group's.
    kill(-child, SIGKILL)
    _ = reap(child)
  }

  /// Waits for the child's end at most so long; it is not reaped.
  private static func hasEnded(_ child: pid_t, within milliseconds: Int32) -> Bool {
    var (waited, pause): (Int32, Int32) = (0, 1)
    while true {
      var info = siginfo_t()
      let result = waitid(P_PID, id_t(child), &info, WEXITED | WNOHANG | WNOWAIT)
      // si_signo is 0 when there is nothing to report.
      if result == 0, info.si_signo != 0 { return true }
      if result < 0, errno != EINTR { return true }
      if waited >= milliseconds { return false }
      _ = poll(nil, 0, pause)
      waited += pause
      pause = min(2 * pause, 20)
    }
  }

  private static func reap(_ child: pid_t) -> Int32 {
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0, errno == EINTR {}
    return status
  }

  private static func failure(_ action: String, _ code: Int32, _ range: SourceRange) -> DiagnosticError {
    DiagnosticError(
      "pass-exec-command", "cannot \(action) the filter: \(String(cString: strerror(code)))", at: range)
  }
}
