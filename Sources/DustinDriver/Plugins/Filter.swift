import DustinRunner
import DustinSupport
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A shell command that turns one text into another.
enum Filter {
  enum End: Equatable {
    case exit(Int32)
    case signal(Int32)
    /// It printed more than it may, and was ended.
    case tooLong
  }

  private static let starting = Mutex(())

  /// Runs a command and waits for it. Standard error is the tool's own.
  ///
  /// - Parameter range: where the command was given, for messages.
  /// - Throws: `DiagnosticError` when it cannot be started; `Interrupted` after Ctrl-C.
  static func run(
    _ command: String, input: [UInt8], limit: Int, at range: SourceRange
  ) throws -> (output: [UInt8], end: End) {
    // Input in a file that has no name any more: nobody waits for a filter that reads late, or not at all.
    let source = try temporary(holding: input, range)
    defer { close(source) }
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
    var output: [UInt8] = []
    var isTooLong = false
    do {
      isTooLong = try !readAll(reader, into: &output, limit: limit, range)
    } catch {
      kill(child, SIGKILL)
      _ = wait(for: child)
      throw error
    }
    if isTooLong { kill(child, SIGKILL) }
    let status = wait(for: child)
    if isTooLong { return (output, .tooLong) }
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
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF))
    var child: pid_t = 0
    let arguments: [UnsafeMutablePointer<CChar>?] = ["/bin/sh", "-c", command].map { text in text.withCString(strdup) }
    defer { for argument in arguments { free(argument) } }
    let code = posix_spawn(&child, "/bin/sh", &actions, &attributes, arguments + [nil], environ)
    guard code == 0 else { throw failure("start", code, range) }
    return child
  }

  /// False when there is more than the limit.
  private static func readAll(
    _ descriptor: Int32, into output: inout [UInt8], limit: Int, _ range: SourceRange
  ) throws -> Bool {
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = chunk.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
      if count < 0 {
        let code = errno
        try checkInterruption()
        if code == EINTR { continue }
        throw failure("read from", code, range)
      }
      if count == 0 { return true }
      output.append(contentsOf: chunk[0..<count])
      if output.count > limit { return false }
    }
  }

  private static func wait(for child: pid_t) -> Int32 {
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0, errno == EINTR {}
    return status
  }

  private static func failure(_ action: String, _ code: Int32, _ range: SourceRange) -> DiagnosticError {
    DiagnosticError(
      "pass-exec-command", "cannot \(action) the filter: \(String(cString: strerror(code)))", at: range)
  }
}
