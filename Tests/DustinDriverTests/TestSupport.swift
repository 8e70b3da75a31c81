import DustinDriver
import DustinSupport
import Foundation
import XCTest

/// The checkout.
let root: String = {
  var parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
  parts.removeLast(3)
  return parts.joined(separator: "/")
}()
let target = "\(root)/examples/models/target"
let draft = "\(root)/examples/models/draft"
let garden = "The garden behind the house was full of roses, and beyond the wall one could hear the river."

/// What a command did.
struct Outcome {
  let status: Int32
  let output: String
  /// Output and errors as a terminal gets them.
  let transcript: String
  let errors: String
}

/// Runs a command inside of this process.
func dustin(_ arguments: [String], input: String = "") -> Outcome {
  let console = Console(input: Array(input.utf8))
  let status = runDustin(arguments, console: console)
  return Outcome(
    status: status, output: String(decoding: console.output, as: UTF8.self),
    transcript: String(decoding: console.transcript, as: UTF8.self),
    errors: String(decoding: console.errors, as: UTF8.self))
}

func json(_ text: String) throws -> JSONValue { try JSONValue.parse(SourceBuffer(name: "<json>", text: text)) }

extension JSONValue {
  var tokens: [Int32] { (self["tokens"]?.arrayValue ?? []).map { Int32(clamping: $0.intValue ?? -1) } }
  var keys: [String] { (objectEntries ?? []).map(\.key) }
}

/// A folder that goes away with the object.
final class TemporaryFolder {
  let path: String

  init() throws {
    path = NSTemporaryDirectory() + "dustin-driver-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }
  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// Writes a file and returns its path.
  func write(_ name: String, _ text: String) throws -> String {
    try writeFileAtomically("\(path)/\(name)", bytes: Array(text.utf8))
    return "\(path)/\(name)"
  }
}

/// The tool itself, for what needs a process of its own.
final class ToolProcess {
  private let process = Process()
  let output = Pipe()
  let errors = Pipe()

  /// The executable stands beside the test bundle.
  /// - Parameter closesOutput: nobody will read what it writes.
  /// - Parameter redirections: what the shell does to the streams first, for example `>&-`.
  init(_ arguments: [String], closesOutput: Bool = false, redirections: String? = nil) throws {
    let tool = try Self.path()
    process.executableURL = URL(fileURLWithPath: tool)
    process.arguments = arguments
    if let redirections {
      process.executableURL = URL(fileURLWithPath: "/bin/sh")
      process.arguments = ["-c", "exec \"$@\" \(redirections)", "sh", tool] + arguments
    }
    process.standardOutput = output
    process.standardError = errors
    process.standardInput = FileHandle.nullDevice
    if closesOutput { try output.fileHandleForReading.close() }
    try process.run()
  }

  static func path() throws -> String {
    let bundle = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let tool = (bundle as NSString).deletingLastPathComponent + "/dustin"
    guard FileManager.default.isExecutableFile(atPath: tool) else {
      throw DiagnosticError("tool", "'\(tool)' was not built, so that nothing can be said of it")
    }
    return tool
  }

  /// As `head` does when it has enough.
  func closeOutput() throws { try output.fileHandleForReading.close() }

  func interrupt() { kill(process.processIdentifier, SIGINT) }

  /// Reads until the text is there; all that was read.
  func read(_ pipe: Pipe, until text: String) -> String {
    var bytes = Data()
    while true {
      let more = pipe.fileHandleForReading.availableData
      bytes += more
      let read = String(decoding: bytes, as: UTF8.self)
      if more.isEmpty || read.contains(text) { return read }
    }
  }

  func rest(_ pipe: Pipe) -> String { String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self) }

  /// The exit code; 128 + n for an end by signal n.
  func wait() -> Int32 {
    process.waitUntilExit()
    return process.terminationReason == .uncaughtSignal ? 128 + process.terminationStatus : process.terminationStatus
  }
}
