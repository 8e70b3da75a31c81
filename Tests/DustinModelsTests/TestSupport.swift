import DustinSupport
import XCTest

@testable import DustinModels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The folder `Tests` of the checkout.
private let testsFolder: String = {
  var parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
  parts.removeLast(2)
  return parts.joined(separator: "/")
}()

func fixture(_ name: String) -> String { "\(testsFolder)/Fixtures/\(name)" }
func referenceFile(_ name: String) -> String { "\(testsFolder)/Reference/\(name)" }
func bundledModel(_ name: String) -> String { "\(testsFolder)/../examples/models/\(name)" }

/// Names of the tiny models, one per family and rope variant.
let tinyModels = [
  "qwen2-tied", "qwen2-untied-f16", "qwen2-bf16", "qwen2-heads-6-2", "qwen2-yarn", "llama", "llama-biases",
  "llama-head-dim", "llama-heads-3-1", "llama3-scaling", "llama-linear", "llama-yarn-mscale", "llama-sharded",
  "mistral",
]

/// A folder that goes away with the object.
final class TemporaryFolder {
  let path: String

  init() throws {
    var template = Array("/tmp/dustin-models-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw DiagnosticError("test", "cannot make a temporary folder") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit { remove(path) }

  func write(_ name: String, _ text: String) throws { try write(name, Array(text.utf8)) }
  func write(_ name: String, _ bytes: [UInt8]) throws {
    try writeFileAtomically("\(path)/\(name)", bytes: bytes)
  }
  func makeFolder(_ name: String) { mkdir("\(path)/\(name)", 0o755) }

  /// Copies a fixture's files, `edit` may change each; nil leaves the file out.
  func copy(fixture name: String, edit: (String, [UInt8]) -> [UInt8]? = { $1 }) throws {
    for file in directoryEntries(fixture(name)) {
      if let bytes = edit(file, try readFile("\(fixture(name))/\(file)")) { try write(file, bytes) }
    }
  }

  private func remove(_ path: String) {
    if isDirectory(path) {
      for name in directoryEntries(path) { remove("\(path)/\(name)") }
      rmdir(path)
    } else {
      unlink(path)
    }
  }
}

/// A safetensors file of a header text and data.
func safetensors(_ header: String, _ data: [UInt8]) -> [UInt8] {
  let text = Array(header.utf8)
  var bytes: [UInt8] = []
  for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: text.count >> (8 * shift))) }
  return bytes + text + data
}

/// What `body` threw; fails when it threw nothing or something else than diagnostics.
func diagnostics<Value>(
  of body: @autoclosure () throws -> Value, file: StaticString = #filePath, line: UInt = #line
) -> [Diagnostic] {
  do {
    _ = try body()
    XCTFail("no error was thrown", file: file, line: line)
  } catch let error as DiagnosticError {
    return error.diagnostics
  } catch {
    XCTFail("\(error) is no DiagnosticError", file: file, line: line)
  }
  return []
}

/// Checks the first diagnostic that `body` throws: its kind, a part of its text, and the text under its caret.
func assertError<Value>(
  _ body: @autoclosure () throws -> Value, _ id: String, _ part: String, under text: String? = nil,
  note: String? = nil, file: StaticString = #filePath, line: UInt = #line
) {
  let found = diagnostics(of: try body(), file: file, line: line)
  guard let first = found.first else { return }
  XCTAssertEqual(first.id, id, first.message, file: file, line: line)
  XCTAssertTrue(first.message.contains(part), "'\(first.message)' lacks '\(part)'", file: file, line: line)
  if let text {
    let under = first.range.map { String(decoding: $0.buffer.utf8[$0.start..<$0.end], as: UTF8.self) }
    XCTAssertEqual(under, text, first.message, file: file, line: line)
  }
  if let note {
    let notes = first.notes.map(\.message).joined(separator: "; ")
    XCTAssertTrue(notes.contains(note), "'\(notes)' lacks '\(note)'", file: file, line: line)
  }
}
