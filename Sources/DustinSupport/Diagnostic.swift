/// One message about something outside the program: a file, a flag, an IR line, a plug-in.
public struct Diagnostic: Sendable {
  public enum Severity: String, Sendable { case error, warning, note }

  /// Stable kebab-case name of the kind of message; tests and tools match on it.
  public let id: String
  public let severity: Severity
  /// One sentence without a full stop that names the thing.
  public let message: String
  /// Where in a text, if the thing is a text.
  public let range: SourceRange?
  /// Context and cures, printed below the message.
  public let notes: [Diagnostic]

  public init(
    _ id: String, _ message: String, at range: SourceRange? = nil, severity: Severity = .error,
    notes: [Diagnostic] = []
  ) {
    self.id = id
    self.severity = severity
    self.message = message
    self.range = range
    self.notes = notes
  }

  public static func note(_ message: String, at range: SourceRange? = nil) -> Diagnostic {
    Diagnostic("note", message, at: range, severity: .note)
  }
}

/// What every throwing function of Dustin throws: at least one error, all that were found.
public struct DiagnosticError: Error, Sendable, CustomStringConvertible {
  public let diagnostics: [Diagnostic]

  public init(_ diagnostics: [Diagnostic]) {
    self.diagnostics = diagnostics
  }

  public init(_ id: String, _ message: String, at range: SourceRange? = nil, notes: [Diagnostic] = []) {
    self.init([Diagnostic(id, message, at: range, notes: notes)])
  }

  public var description: String { diagnostics.map { $0.rendered() }.joined(separator: "\n") }
}

extension Diagnostic {
  /// `file:line:column: error: message`, the line of text and a caret below it, then the notes.
  public func rendered() -> String {
    var lines: [String] = []
    var head = ""
    if let range {
      let (line, column) = range.buffer.position(of: range.start)
      head = "\(range.buffer.name):\(line):\(column): "
    }
    lines.append("\(Self.printable(head))\(severity.rawValue): \(Self.printable(message))")
    if let range {
      let (line, column) = range.buffer.position(of: range.start)
      let (text, start) = surroundings(range.buffer.line(line), column - 1)
      let length = max(1, min(range.end - range.start, text.count - start))
      let pad = text.prefix(start).map { $0 == "\t" ? "\t" : " " }
      lines.append("  " + Self.printable(text))
      lines.append("  " + pad.joined() + "^" + String(repeating: "~", count: length - 1))
    }
    for note in notes { lines.append(note.rendered()) }
    return lines.joined(separator: "\n")
  }

  /// The same number of characters without those that a terminal obeys: a bad file must not paint it or name its window.
  private static func printable(_ text: String) -> String {
    let isHarmless = { (scalar: Unicode.Scalar) in
      scalar == "\t" || scalar == "\n" || !(scalar.value < 0x20 || 0x7f...0x9f ~= scalar.value)
    }
    if text.unicodeScalars.allSatisfy(isHarmless) { return text }
    return String(String.UnicodeScalarView(text.unicodeScalars.map { isHarmless($0) ? $0 : "\u{FFFD}" }))
  }

  /// The part of a line to show, and where `column` (from 0) is in it: a minified file is one line of megabytes.
  private func surroundings(_ line: String, _ column: Int) -> (text: String, column: Int) {
    let limit = 160
    guard line.utf8.count > limit, line.count > limit else { return (line, column) }
    let first = max(0, min(column - 60, line.count - limit))
    let text = line.dropFirst(first).prefix(limit)
    let isCut = first + limit < line.count
    return ((first > 0 ? "…" : "") + text + (isCut ? "…" : ""), column - first + (first > 0 ? 1 : 0))
  }
}
