import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension DustTest {
  /// Whether the environment asks to accept the present output.
  public static var blessesByEnvironment: Bool {
    guard let value = getenv(blessVariable) else { return false }
    return value.pointee != 0 && String(cString: value) != "0"
  }

  /// Every `.dust` file below a directory, sorted.
  /// - Throws: when there is none: a test that looks at the wrong place must not pass.
  public static func files(below directory: String) throws -> [String] {
    var found: [String] = []
    var pending = [directory]
    while let path = pending.popLast() {
      guard let stream = opendir(path) else {
        throw DiagnosticError("file", "cannot read the directory '\(path)': \(String(cString: strerror(errno)))")
      }
      defer { closedir(stream) }
      while let entry = readdir(stream) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
          String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        if name.hasPrefix(".") { continue }
        if name.hasSuffix(".dust") {
          found.append(path + "/" + name)
        } else {
          var status = stat()
          if stat(path + "/" + name, &status) == 0, status.st_mode & S_IFMT == S_IFDIR {
            pending.append(path + "/" + name)
          }
        }
      }
    }
    if found.isEmpty { throw DiagnosticError("file", "there is no .dust file below '\(directory)'") }
    return found.sorted()
  }
}

/// What the comments of a `.dust` file ask for.
struct DustTestFile {
  struct Run {
    let command: String
    let arguments: [String]
    let prefix: String?
    let line: Int
    let range: SourceRange
  }
  struct Expectation {
    let text: String
    let range: SourceRange
  }
  struct ExpectedError {
    let line: Int
    let text: String
    let range: SourceRange
  }
  private(set) var runs: [Run] = []
  private(set) var expectation: Expectation?
  private(set) var errors: [ExpectedError] = []
  private(set) var hasChecks = false
  private let buffer: SourceBuffer
  private let headLines: [String]

  init(_ buffer: SourceBuffer) throws {
    self.buffer = buffer
    let lines = buffer.text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    var head: [String] = []
    var expected: [String]?
    var expectationRange: SourceRange?
    var open: (text: String, line: Int, range: SourceRange)?
    var offset = 0
    for (index, line) in lines.enumerated() {
      let range = SourceRange(buffer, offset, offset + line.utf8.count)
      defer { offset += line.utf8.count + 1 }
      if expected != nil {
        if line.isEmpty { continue }
        guard line.hasPrefix("//") else {
          throw DiagnosticError("expectation", "an EXPECT block goes on to the end of the file", at: range)
        }
        expected?.append(String(line.dropFirst(line.hasPrefix("// ") ? 3 : 2)))
        continue
      }
      if line == "// EXPECT:" {
        expected = []
        expectationRange = range
        continue
      }
      head.append(line)
      var text = line
      if let marker = line.firstRange(of: "// error: ") {
        let wanted = String(line[marker.upperBound...])
        let start = offset + line[..<marker.lowerBound].utf8.count
        errors.append(ExpectedError(line: index + 1, text: wanted, range: SourceRange(buffer, start, range.end)))
        text = String(line[..<marker.lowerBound])
      }
      if let run = Self.behind("// RUN:", text) {
        let whole = (open?.text ?? "") + run
        let first = open ?? ("", index + 1, range)
        if run.hasSuffix("\\") {
          open = (String(whole.dropLast()), first.line, first.range)
        } else {
          open = nil
          runs.append(try Self.run(whole, first.line, first.range))
        }
      }
      if line.contains("// CHECK") { hasChecks = true }
    }
    if let open { throw DiagnosticError("run-line", "no RUN line goes on behind this one", at: open.range) }
    headLines = head
    if let expected, let expectationRange {
      expectation = Expectation(text: expected.map { $0 + "\n" }.joined(), range: expectationRange)
    }
  }

  /// The file with another EXPECT block.
  func text(expecting output: String) -> String {
    var lines = output.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    if lines.last == "" { lines.removeLast() }
    return (headLines + ["// EXPECT:"] + lines.map { $0.isEmpty ? "//" : "// " + $0 }).joined(separator: "\n") + "\n"
  }

  /// Every error must be expected at its line, and every expectation met.
  func compare(errors found: [Diagnostic], of run: Run?) throws {
    let runLines = Set(runs.map(\.line))
    let own = errors.filter { $0.line == run?.line }
    var open = own.isEmpty ? errors.filter { !runLines.contains($0.line) } : own
    var failures: [Diagnostic] = []
    for diagnostic in found where diagnostic.severity == .error {
      var line = run?.line ?? 1
      if let range = diagnostic.range, range.buffer === buffer { line = buffer.position(of: range.start).line }
      if let index = open.firstIndex(where: { $0.line == line && diagnostic.message.contains($0.text) }) {
        open.remove(at: index)
      } else {
        failures.append(
          Diagnostic(
            "unexpected-error", "unexpected error in line \(line): \(diagnostic.message)",
            at: diagnostic.range ?? run?.range, notes: diagnostic.notes))
      }
    }
    for missing in open {
      failures.append(
        Diagnostic("missing-error", "no error in this line contains '\(missing.text)'", at: missing.range))
    }
    if !failures.isEmpty { throw DiagnosticError(failures) }
  }

  private static func behind(_ marker: String, _ line: String) -> String? {
    let text = line.drop { $0 == " " || $0 == "\t" }
    guard text.hasPrefix(marker) else { return nil }
    var rest = text.dropFirst(marker.count)
    while rest.last == " " || rest.last == "\t" || rest.last == "\r" { rest.removeLast() }
    return String(rest)
  }

  private static func run(_ text: String, _ line: Int, _ range: SourceRange) throws -> Run {
    var words = try shellWords(text, range)
    var prefix: String?
    words.removeAll { word in
      guard word.hasPrefix("--check-prefix=") else { return false }
      prefix = String(word.dropFirst("--check-prefix=".count))
      return true
    }
    guard let command = words.first else {
      throw DiagnosticError("run-line", "this RUN line names no command", at: range)
    }
    return Run(command: command, arguments: Array(words.dropFirst()), prefix: prefix, line: line, range: range)
  }

  /// Words as a shell splits them, without expansions: blanks divide, '…' and "…" hold together.
  private static func shellWords(_ text: String, _ range: SourceRange) throws -> [String] {
    var words: [String] = []
    var word: String?
    var quote: Character?
    for character in text {
      if let open = quote {
        if character == open { quote = nil } else { word?.append(character) }
      } else if character == "'" || character == "\"" {
        quote = character
        word = word ?? ""
      } else if character == " " || character == "\t" {
        if let word { words.append(word) }
        word = nil
      } else {
        word = (word ?? "") + String(character)
      }
    }
    if let quote { throw DiagnosticError("run-line", "this RUN line has a \(quote) that is not closed", at: range) }
    if let word { words.append(word) }
    return words
  }
}
