import DustinSupport
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Where a command reads and writes: the process's streams, or memory when a test or another tool runs it.
public final class Console: Sendable {
  /// The console of the command that runs.
  @TaskLocal public static var current = Console.standard

  /// The process's own streams.
  public static let standard = Console(captured: nil)

  private struct Buffers {
    var output: [UInt8] = []
    var errors: [UInt8] = []
    var all: [UInt8] = []
  }
  /// Nil for the process's streams.
  private let input: [UInt8]?
  private let buffers = Mutex(Buffers())

  /// A console in memory.
  /// - Parameter input: what standard input holds.
  public convenience init(input: [UInt8]) { self.init(captured: input) }

  private init(captured input: [UInt8]?) { self.input = input }

  /// What a captured command wrote to standard output.
  public var output: [UInt8] { buffers.withLock { $0.output } }
  /// What a captured command wrote to standard error.
  public var errors: [UInt8] { buffers.withLock { $0.errors } }
  /// What a captured command wrote to both, in the order in which a terminal would have got it.
  public var transcript: [UInt8] { buffers.withLock { $0.all } }

  /// All of standard input.
  public func readInput() throws -> [UInt8] {
    if let input { return input }
    return try readFile(descriptor: STDIN_FILENO, name: "standard input")
  }

  /// Throws when the bytes cannot be written, for example to a full disk; `OutputClosed` when nobody reads them any more.
  public func write(_ bytes: [UInt8]) throws {
    if input != nil {
      return buffers.withLock {
        $0.output += bytes
        $0.all += bytes
      }
    }
    if !Self.write(bytes, to: STDOUT_FILENO) {
      if errno == EPIPE { throw OutputClosed() }
      throw DiagnosticError("output", "cannot write to standard output: \(String(cString: strerror(errno)))")
    }
  }
  public func write(_ text: String) throws { try write(Array(text.utf8)) }

  /// Messages, dumps and progress. There is nobody to tell when they cannot be written.
  public func writeError(_ text: String) {
    if input != nil {
      return buffers.withLock {
        $0.errors += Array(text.utf8)
        $0.all += Array(text.utf8)
      }
    }
    _ = Self.write(Array(text.utf8), to: STDERR_FILENO)
  }

  /// Whether somebody looks at standard error while it is written.
  public var errorsAreWatched: Bool { input == nil && isatty(STDERR_FILENO) == 1 }

  private static func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
    bytes.withUnsafeBytes { memory in
      var done = 0
      while done < memory.count {
        #if canImport(Glibc)
          let count = Glibc.write(descriptor, memory.baseAddress?.advanced(by: done), memory.count - done)
        #else
          let count = Musl.write(descriptor, memory.baseAddress?.advanced(by: done), memory.count - done)
        #endif
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { return false }
        done += count
      }
      return true
    }
  }
}

/// Reads a file, or standard input for `-`, as text that diagnostics can point into.
package func readSource(_ path: String) throws -> SourceBuffer {
  path == "-"
    ? SourceBuffer(name: "<stdin>", utf8: try Console.current.readInput())
    : SourceBuffer(name: path, utf8: try readFile(path))
}

/// Writes a whole result: to standard output without a path or for `-`, else to a file that is complete or unchanged.
package func writeResult(_ text: String, to path: String?) throws {
  if let path, path != "-" {
    try writeFileAtomically(path, bytes: Array(text.utf8))
  } else {
    try Console.current.write(text)
  }
}
