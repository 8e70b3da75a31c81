import DustinSupport

/// Compares a text with the CHECK lines of another one.
///
///     // CHECK-LABEL: func @verify        a line that divides the text: what stands between two labels is searched there
///     // CHECK: %[[Q:[a-z0-9]+]] = rope   somewhere below the last match; [[Q:regex]] captures, [[Q]] means that again
///     // CHECK-SAME: positions(%pos)      further on in the same line
///     // CHECK-NEXT: attend %[[Q]]        in the next line
///     // CHECK-NOT: cast {{.*}} : bf16    nowhere between the matches above and below; {{…}} is a regex
///     // CHECK-DAG: linear                neighbouring DAG lines match in any order
///
/// A pattern matches within one line. Runs of spaces and tabs are equal to each other.
public struct FileCheck {
  let directives: [CheckDirective]
  private let prefix: String

  /// - Throws: every line that begins like a directive but is none, with a suggestion; a text without any.
  public init(_ test: SourceBuffer, prefix: String = "CHECK") throws {
    self.prefix = prefix
    directives = try CheckDirective.all(in: test, prefix: prefix)
    guard !directives.isEmpty else {
      throw DiagnosticError("no-checks", "'\(test.name)' has no '\(prefix):' line")
    }
    if let first = directives.first, [.next, .same].contains(first.kind) {
      throw DiagnosticError(
        "check-order", "\(prefix)\(first.kind.rawValue) needs a match above it", at: first.pattern.range)
    }
  }

  /// - Throws: the first directive that does not match, with the closest line of the text.
  public func check(_ text: SourceBuffer) throws {
    let lines = text.text.split(separator: "\n", omittingEmptySubsequences: false).map {
      CheckPattern.canonical(String($0))
    }
    let labels = try matchLabels(text, lines)
    var variables: [String: String] = [:]
    // Directives between two labels see only the lines between these.
    var block: [CheckDirective] = []
    var nextLabel = 0
    var start: CheckPosition?
    for directive in directives {
      if directive.kind == .label {
        try CheckBlock(text, lines, from: start, to: labels[nextLabel], prefix).run(block, &variables)
        start = labels[nextLabel]
        nextLabel += 1
        block = []
      } else {
        block.append(directive)
      }
    }
    try CheckBlock(text, lines, from: start, to: nil, prefix).run(block, &variables)
  }

  private func matchLabels(_ text: SourceBuffer, _ lines: [String]) throws -> [CheckPosition] {
    var positions: [CheckPosition] = []
    var line = 0
    for directive in directives where directive.kind == .label {
      var noVariables: [String: String] = [:]
      var found: CheckPosition?
      while line < lines.count, found == nil {
        if let range = try directive.pattern.match(lines[line][...], &noVariables) {
          found = CheckPosition(line: line, start: range.lowerBound, end: range.upperBound)
        }
        line += 1
      }
      guard let found else {
        let block = CheckBlock(text, lines, from: positions.last, to: nil, prefix)
        throw block.failure(directive, "finds no match")
      }
      positions.append(found)
    }
    return positions
  }
}

/// Where a match lies: a line, counted from 0, and columns of its canonical text.
struct CheckPosition {
  var line: Int
  var start: String.Index
  var end: String.Index
}

/// The directives between two labels, over the lines between these.
struct CheckBlock {
  private let text: SourceBuffer
  private let lines: [String]
  private let prefix: String
  private let bottom: Int
  /// End of the last match; nil at the start of the text.
  private var last: CheckPosition?

  init(_ text: SourceBuffer, _ lines: [String], from: CheckPosition?, to: CheckPosition?, _ prefix: String) {
    self.text = text
    self.lines = lines
    self.prefix = prefix
    last = from
    bottom = to?.line ?? lines.count
  }

  func run(_ directives: [CheckDirective], _ variables: inout [String: String]) throws {
    var block = self
    var forbidden: [CheckDirective] = []
    var index = 0
    while index < directives.count {
      let directive = directives[index]
      let before = block.last
      switch directive.kind {
      case .not:
        forbidden.append(directive)
        index += 1
        continue
      case .dag:
        let end = directives[index...].firstIndex { $0.kind != .dag } ?? directives.count
        try block.matchGroup(Array(directives[index..<end]), &variables, forbidden)
        index = end
      default:
        let match = try block.match(directive, &variables)
        block.last = match
        try block.refuse(forbidden, from: before, to: match, variables)
        index += 1
      }
      forbidden = []
    }
    try block.refuse(forbidden, from: block.last, to: nil, variables)
  }

  private func match(_ directive: CheckDirective, _ variables: inout [String: String]) throws -> CheckPosition {
    let start = last?.line ?? 0
    switch directive.kind {
    case .same:
      guard let last else { throw failure(directive, "needs a match above it") }
      if let range = try directive.pattern.match(lines[last.line][last.end...], &variables) {
        return CheckPosition(line: last.line, start: range.lowerBound, end: range.upperBound)
      }
      throw failure(directive, "finds no match in the rest of line \(last.line + 1)", variables)
    case .next:
      let line = start + 1
      if line < bottom, let range = try directive.pattern.match(lines[line][...], &variables) {
        return CheckPosition(line: line, start: range.lowerBound, end: range.upperBound)
      }
      throw failure(directive, "does not match line \(line + 1)", variables, nearest: line < bottom ? line : nil)
    default:
      for line in start..<max(start, bottom) {
        let rest = line == last?.line ? lines[line][(last?.end ?? lines[line].startIndex)...] : lines[line][...]
        if let range = try directive.pattern.match(rest, &variables) {
          return CheckPosition(line: line, start: range.lowerBound, end: range.upperBound)
        }
      }
      throw failure(directive, "finds no match", variables)
    }
  }

  /// DAG directives in a row: each finds its own place below the match above, none shares a place with another.
  private mutating func matchGroup(
    _ group: [CheckDirective], _ variables: inout [String: String], _ forbidden: [CheckDirective]
  ) throws {
    let start = last
    var taken: [CheckPosition] = []
    for directive in group {
      var found: CheckPosition?
      search: for line in (start?.line ?? 0)..<max(start?.line ?? 0, bottom) {
        var rest = line == start?.line ? lines[line][(start?.end ?? lines[line].startIndex)...] : lines[line][...]
        while true {
          var attempt = variables
          guard let range = try directive.pattern.match(rest, &attempt) else { break }
          let overlapped = taken.first { $0.line == line && $0.start < range.upperBound && range.lowerBound < $0.end }
          guard let overlapped else {
            variables = attempt
            found = CheckPosition(line: line, start: range.lowerBound, end: range.upperBound)
            break search
          }
          rest = rest[max(overlapped.end, range.lowerBound)...]
          if rest.isEmpty || rest.startIndex < overlapped.end { break }
        }
      }
      guard let found else { throw failure(directive, "finds no match", variables) }
      taken.append(found)
    }
    let first = taken.min { ($0.line, $0.start) < ($1.line, $1.start) }
    try refuse(forbidden, from: start, to: first, variables)
    last = taken.max { ($0.line, $0.end) < ($1.line, $1.end) }
  }

  private func refuse(
    _ forbidden: [CheckDirective], from: CheckPosition?, to: CheckPosition?, _ variables: [String: String]
  ) throws {
    for directive in forbidden {
      let first = from?.line ?? 0
      let final = min(to?.line ?? bottom - 1, lines.count - 1)
      for line in first..<max(first, final + 1) {
        let start = line == from?.line ? (from?.end ?? lines[line].startIndex) : lines[line].startIndex
        let end = line == to?.line ? (to?.start ?? lines[line].endIndex) : lines[line].endIndex
        var ignored = variables
        guard start <= end, try directive.pattern.match(lines[line][start..<end], &ignored) != nil else { continue }
        throw failure(directive, "matches line \(line + 1)", variables, nearest: line)
      }
    }
  }

  /// The message at the directive, and the line of the text that the reader wants to see.
  func failure(
    _ directive: CheckDirective, _ what: String, _ variables: [String: String] = [:], nearest: Int? = nil
  ) -> DiagnosticError {
    var notes: [Diagnostic] = []
    if let line = nearest ?? closestLine(to: directive) {
      let label = nearest == nil ? "the closest line" : "the line"
      notes.append(note("\(label) of the output", line))
    }
    if let last, nearest == nil { notes.append(note("searched from the match in", last.line)) }
    for name in directive.pattern.usedVariables {
      if let value = variables[name] { notes.append(.note("[[\(name)]] is '\(value)'")) }
    }
    return DiagnosticError(
      "check-failed", "\(prefix)\(directive.kind.rawValue) \(what)", at: directive.pattern.range, notes: notes)
  }

  private func note(_ message: String, _ line: Int) -> Diagnostic {
    .note("\(message), line \(line + 1):\n  \(text.line(line + 1))")
  }

  /// The line that shares most words with the pattern, from the last match on.
  private func closestLine(to directive: CheckDirective) -> Int? {
    let wanted = Set(CheckPattern.words(directive.pattern.text))
    var best: (line: Int, score: Int)?
    let first = last?.line ?? 0
    for line in first..<max(first, bottom) {
      let words = CheckPattern.words(lines[line])
      let common = Set(words).intersection(wanted).count
      let score = 4 * common - abs(words.count - wanted.count)
      if common > 0, score > (best?.score ?? .min) { best = (line, score) }
    }
    return best?.line
  }
}
