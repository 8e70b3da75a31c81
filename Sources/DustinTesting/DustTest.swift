import DustinIR
import DustinSupport

/// Runs `.dust` files as tests.
///
/// * `// RUN: opt -p 'canonicalize,cse' --verify-each` runs a command with the file as its input. The CHECK lines are
///   compared with what it returns (see `FileCheck`; `--check-prefix=NAME` before or behind the other arguments chooses
///   other ones). A line that ends with `\` goes on in the next RUN line.
/// * `// error: text` behind a line expects an error there whose message contains the text, from every RUN line that
///   has no such comment of its own. Behind a RUN line it expects an error that has no place in the file.
/// * `// EXPECT:` begins the end of the file: below it stands the whole output, each line behind `// `. `dustin test
///   --bless` writes it, and so does DUSTIN_BLESS=1 in the environment.
/// * A file without RUN line is read and verified, and its text must read back to the same text.
public struct DustTest {
  /// Takes arguments and the file, returns what the command would print.
  public typealias Command = (_ arguments: [String], _ input: SourceBuffer) throws -> String

  /// The environment variable that accepts the present output.
  public static let blessVariable = "DUSTIN_BLESS"

  public var commands: [String: Command]
  /// The ops that files without RUN line may use.
  public var registry: OpRegistry
  /// Write EXPECT blocks rather than compare them.
  public var isBlessing: Bool

  public init(
    commands: [String: Command], registry: OpRegistry = .standard, isBlessing: Bool = Self.blessesByEnvironment
  ) {
    self.commands = commands
    self.registry = registry
    self.isBlessing = isBlessing
  }

  /// - Throws: every expectation of the file that does not hold, as diagnostics at its line.
  public func run(path: String) throws {
    let buffer = SourceBuffer(name: path, utf8: try readFile(path))
    if let blessed = try run(buffer) { try writeFileAtomically(path, bytes: Array(blessed.utf8)) }
  }

  /// - Returns: the text that the file should have, if it is blessed and differs.
  public func run(_ buffer: SourceBuffer) throws -> String? {
    let file = try DustTestFile(buffer)
    if file.runs.isEmpty {
      try checkRoundTrip(buffer, file)
      return nil
    }
    if file.expectation != nil, file.runs.count > 1 {
      throw DiagnosticError("several-runs", "a file with an EXPECT block has one RUN line", at: file.runs[1].range)
    }
    var blessed: String?
    for run in file.runs { blessed = try self.run(run, file, buffer) ?? blessed }
    return blessed
  }

  private func run(_ run: DustTestFile.Run, _ file: DustTestFile, _ buffer: SourceBuffer) throws -> String? {
    guard let command = commands[run.command] else {
      let hint = suggestion(for: run.command, in: commands.keys.sorted())
      throw DiagnosticError("unknown-command", "there is no command '\(run.command)'\(hint)", at: run.range)
    }
    let output: String
    do {
      output = try command(run.arguments, buffer)
    } catch let error as DiagnosticError {
      try file.compare(errors: error.diagnostics, of: run)
      return nil
    }
    try file.compare(errors: [], of: run)
    if let expectation = file.expectation {
      if output == expectation.text { return nil }
      if isBlessing { return file.text(expecting: output) }
      throw difference(output, expectation)
    }
    if let prefix = run.prefix ?? (file.hasChecks ? "CHECK" : nil) {
      try FileCheck(buffer, prefix: prefix).check(SourceBuffer(name: "<output of \(run.command)>", text: output))
    } else if !output.isEmpty {
      throw DiagnosticError(
        "no-checks",
        "nothing in this file looks at what '\(run.command)' prints: it needs CHECK lines or an EXPECT block",
        at: run.range)
    }
    return nil
  }

  private func difference(_ output: String, _ expectation: DustTestFile.Expectation) -> DiagnosticError {
    let found = output.split(separator: "\n", omittingEmptySubsequences: false)
    let wanted = expectation.text.split(separator: "\n", omittingEmptySubsequences: false)
    let line = zip(found, wanted).enumerated().first { $1.0 != $1.1 }?.offset ?? min(found.count, wanted.count)
    func show(_ lines: [Substring]) -> String { line < lines.count ? "'\(lines[line])'" : "the end" }
    return DiagnosticError(
      "expectation", "line \(line + 1) of the output differs from the EXPECT block", at: expectation.range,
      notes: [
        .note("expected \(show(wanted))"), .note("found \(show(found))"),
        .note(
          "'dustin test --bless' accepts the output as it is, and so does \(Self.blessVariable)=1 in the environment"),
      ])
  }

  private func checkRoundTrip(_ buffer: SourceBuffer, _ file: DustTestFile) throws {
    let text: String
    do {
      let module = try ModuleParser.parse(buffer, registry: registry)
      try Verifier.check(module)
      text = module.text()
    } catch let error as DiagnosticError {
      return try file.compare(errors: error.diagnostics, of: nil)
    }
    try file.compare(errors: [], of: nil)
    let again = SourceBuffer(name: "<printed \(buffer.name)>", text: text)
    guard try ModuleParser.parse(again, registry: registry).text() == text else {
      throw DiagnosticError("round-trip", "'\(buffer.name)' prints as a text that reads back as another module")
    }
  }
}
