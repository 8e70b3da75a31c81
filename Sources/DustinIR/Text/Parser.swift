import DustinSupport

/// Reads the textual IR (IR/LANGUAGE.md).
public struct ModuleParser {
  /// Reads a module. It is not verified: `Verifier.check` does that, `parseVerified` does both.
  ///
  /// - Throws: `DiagnosticError` with every error of the text, in its order, each with its place.
  public static func parse(_ buffer: SourceBuffer, registry: OpRegistry = .standard) throws -> Module {
    try refuseBinary(buffer)
    var parser = Parser(buffer, registry)
    parser.parseModule()
    let diagnostics = parser.sortedDiagnostics()
    guard diagnostics.isEmpty else { throw DiagnosticError(diagnostics) }
    return parser.module
  }

  /// Reads and verifies a module.
  ///
  /// - Throws: `DiagnosticError` with every error of the text, in its order. Functions that could be read are verified
  ///   even if others could not.
  public static func parseVerified(_ buffer: SourceBuffer, registry: OpRegistry = .standard) throws -> Module {
    try refuseBinary(buffer)
    var parser = Parser(buffer, registry)
    parser.parseModule()
    // Errors in dims and globals would make every function look wrong.
    if parser.functionErrors == parser.diagnostics.count {
      parser.diagnostics += Verifier.functionDiagnostics(for: parser.module, except: parser.damagedFunctions)
    }
    let diagnostics = parser.sortedDiagnostics()
    guard diagnostics.isEmpty else { throw DiagnosticError(diagnostics) }
    return parser.module
  }
}

/// One error for a file that is no text at all, instead of one for each of its bytes.
private func refuseBinary(_ buffer: SourceBuffer) throws {
  guard let zero = buffer.utf8.firstIndex(of: 0) else { return }
  throw DiagnosticError(
    "not-text", "this is not a module: a byte is zero, which no text holds",
    at: SourceRange(buffer, zero, zero + 1), notes: [.note("the first line of a module is 'dustin 1'")])
}

/// A statement could not be read to its end; the diagnostic has been recorded.
struct ParseAbort: Error {}

/// Recursive descent, one statement per line; after an error it goes on with the next line.
struct Parser {
  /// What a name stands for; `broken` names belong to statements with errors and cause no further ones.
  enum Binding<Value> {
    case known(Value)
    case broken
  }

  let buffer: SourceBuffer
  let registry: OpRegistry
  let tokens: [Token]
  private(set) var position = 0
  /// The token at `position` and its kind, kept because everything asks for them.
  private(set) var token: Token
  private(set) var kind: Token.Kind
  var diagnostics: [Diagnostic]
  /// "did you mean" costs a walk over all names; behind the first hundred errors nobody reads it.
  var suggestionsLeft = 100

  let module = Module()
  var stageIsKnown = false
  /// The largest extent that each dim can have, as far as its own line says.
  var dimBounds: [String: Int] = [:]
  var dimRanges: [SourceRange] = []
  /// Set when a declaration was so broken that even its name is unknown.
  var hasUnknownDims = false
  var hasUnknownGlobals = false
  var globals: [String: Binding<Global>] = [:]
  var functionNames: Set<String> = []
  /// Functions whose text has errors, by index; they are not verified.
  var damagedFunctions: Set<Int> = []
  /// Errors inside of functions that have a name; all others concern the whole module.
  var functionErrors = 0
  /// Where the lexer found errors, behind the functions read so far.
  var lexicalFaults: ArraySlice<Int>

  init(_ buffer: SourceBuffer, _ registry: OpRegistry) {
    self.buffer = buffer
    self.registry = registry
    let lexer = Lexer(buffer)
    tokens = lexer.tokens
    // The lexer gives at least the end of the text.
    token = tokens[0]
    kind = token.kind
    diagnostics = lexer.diagnostics
    lexicalFaults = lexer.diagnostics.compactMap { $0.range?.start }[...]
  }

  func sortedDiagnostics() -> [Diagnostic] {
    diagnostics.enumerated().sorted { a, b in
      (a.element.range?.start ?? 0, a.offset) < (b.element.range?.start ?? 0, b.offset)
    }.map(\.element)
  }
}

// MARK: Tokens and errors

extension Parser {
  var following: Token.Kind { tokens[min(position + 1, tokens.count - 1)].kind }

  mutating func advance() {
    guard position < tokens.count - 1 else { return }
    position += 1
    token = tokens[position]
    kind = token.kind
  }

  func text(_ token: Token) -> String { String(decoding: buffer.utf8[token.start..<token.end], as: UTF8.self) }

  /// The name in `%name`, `@name` or `@"name"`, or the content of a string.
  func name(_ token: Token) -> String {
    let start = token.start + (token.kind == .string ? 0 : 1)
    let bytes = buffer.utf8[start..<token.end]
    guard token.kind == .string || (token.kind == .symbol && bytes.first == UInt8(ascii: "\"")) else {
      return String(decoding: bytes, as: UTF8.self)
    }
    guard case .success(let text) = Lexical.unquoted(bytes.dropFirst().dropLast()) else { return "" }
    return text
  }

  func range(_ token: Token) -> SourceRange { SourceRange(buffer, token.start, token.end) }
  func range(from first: Token, through last: Token) -> SourceRange { SourceRange(buffer, first.start, last.end) }

  /// The word at the current token, if it is one.
  var word: String? { kind == .word ? text(token) : nil }

  mutating func report(_ id: String, _ message: String, at range: SourceRange, notes: [Diagnostic] = []) {
    diagnostics.append(Diagnostic(id, message, at: range, notes: notes))
  }

  /// Records "expected …" at the current token, unless the lexer has already spoken about it.
  mutating func expected(_ what: String, notes: [Diagnostic] = []) -> ParseAbort {
    guard kind != .invalid else { return ParseAbort() }
    let found =
      kind == .word || kind == .value || kind == .symbol || kind == .number ? "'\(text(token))'" : kind.description
    // A line end is invisible: the caret goes behind the last thing on the line.
    let atLineEnd = kind == .newline || kind == .end
    let place = atLineEnd && position > 0 ? tokens[position - 1].end : token.start
    let range = SourceRange(buffer, place, atLineEnd ? place : token.end)
    report("syntax", "expected \(what), found \(found)", at: range, notes: notes)
    return ParseAbort()
  }

  @discardableResult
  mutating func expect(_ wanted: Token.Kind, _ what: String? = nil) throws -> Token {
    guard kind == wanted else { throw expected(what ?? wanted.description) }
    let result = token
    advance()
    return result
  }

  mutating func accept(_ wanted: Token.Kind) -> Bool {
    guard kind == wanted else { return false }
    advance()
    return true
  }

  mutating func expectLineEnd() throws {
    guard kind == .newline else { throw expected("the end of the line") }
    advance()
  }

  mutating func skipNewlines() {
    while kind == .newline { advance() }
  }

  /// To the first token of the next line.
  mutating func skipLine() {
    while kind != .newline, kind != .end { advance() }
    _ = accept(.newline)
  }

  /// Runs one statement; after an error the next statement begins in the next line. Whether it went well.
  @discardableResult
  mutating func statement(_ body: (inout Parser) throws -> Void) -> Bool {
    do {
      try body(&self)
      try expectLineEnd()
      return true
    } catch {
      skipLine()
      return false
    }
  }

  /// The note "did you mean 'x'?", or nothing.
  mutating func didYouMean<Names: Sequence>(
    _ name: String, _ candidates: @autoclosure () -> Names, _ spelling: (String) -> String = { $0 }
  ) -> [Diagnostic] where Names.Element == String {
    guard suggestionsLeft > 0, name.utf8.count <= 64 else { return [] }
    suggestionsLeft -= 1
    guard let closest = closestName(to: name, in: candidates()) else { return [] }
    return [.note("did you mean '\(spelling(closest))'?")]
  }

  /// A whole number at the current token.
  mutating func integer(_ what: String) throws -> (value: Int, range: SourceRange) {
    guard kind == .number else { throw expected(what) }
    let range = range(token)
    guard let value = Int(text(token)) else {
      report("number-range", "\(what) must be a whole number of at most 63 bits, not '\(text(token))'", at: range)
      advance()
      throw ParseAbort()
    }
    advance()
    return (value, range)
  }
}

// MARK: Module

extension Parser {
  static let topLevelWords = ["dim", "weight", "constant", "func"]

  mutating func parseModule() {
    skipNewlines()
    parseHeader()
    while true {
      skipNewlines()
      if kind == .end { break }
      switch word {
      case "dim": statement { try $0.parseDim() }
      case "weight": statement { try $0.parseGlobal(isConstant: false) }
      case "constant": statement { try $0.parseGlobal(isConstant: true) }
      case "func": parseFunction()
      default: skipStray()
      }
    }
    checkDims()
  }

  private mutating func parseHeader() {
    if word == "dustin" {
      statement { parser in
        parser.advance()
        let (version, range) = try parser.integer("the version number")
        guard version == 1 else {
          parser.report("version", "this program reads version 1 of the language, not \(version)", at: range)
          throw ParseAbort()
        }
      }
    } else if kind != .invalid {
      report("version", "the first line must be 'dustin 1'", at: range(token))
      // A misspelt first line is not another error; anything else may already be the rest of the module.
      if let word, closestName(to: word, in: ["dustin"]) != nil { skipLine() }
    }
    skipNewlines()
    guard word == "stage" else {
      if kind != .invalid {
        report("stage", "the second line must be 'stage' and one of \(Parser.stageNames)", at: range(token))
      }
      if let word, closestName(to: word, in: ["stage"]) != nil { skipLine() }
      return
    }
    statement { parser in
      parser.advance()
      parser.module.stage = try parser.keyword(Stage.self, "stage")
      parser.stageIsKnown = true
      if parser.kind == .leftBrace {
        for entry in try parser.parseAttributes() {
          if let message = SequenceRules.moduleAttributeProblem(entry.key, entry.value) {
            parser.report("module-attribute", message, at: entry.valueRange)
          }
          parser.module.attributes[entry.key] = entry.value
        }
      }
    }
  }

  private static let stageNames = Stage.allCases.map(\.rawValue).joined(separator: ", ")

  /// One of the words of an enumeration.
  mutating func keyword<Word: RawRepresentable & CaseIterable>(
    _ type: Word.Type, _ what: String
  ) throws -> Word where Word.RawValue == String {
    guard let word else { throw expected("a \(what)") }
    guard let result = Word(rawValue: word) else {
      let names = Word.allCases.map(\.rawValue)
      let notes = didYouMean(word, names)
      report(
        "unknown-word", "'\(word)' is not a \(what); it must be one of \(names.joined(separator: ", "))",
        at: range(token), notes: notes)
      throw ParseAbort()
    }
    advance()
    return result
  }

  /// A line that begins no declaration. What seems to be a function is skipped as a whole.
  private mutating func skipStray() {
    let notes = word.map { didYouMean($0, Parser.topLevelWords) } ?? []
    _ = expected("'dim', 'weight', 'constant' or 'func'", notes: notes)
    var last = kind
    while kind != .newline, kind != .end {
      last = kind
      advance()
    }
    skipNewlines()
    let opensBody = last == .leftBrace
    while kind != .end {
      if let word, Parser.topLevelWords.contains(word) { return }
      if opensBody, kind == .rightBrace { return skipLine() }
      guard opensBody || kind == .value || kind == .rightBrace || word == "return" else { return }
      skipLine()
      skipNewlines()
    }
  }

  private mutating func parseDim() throws {
    advance()
    guard kind == .word else {
      hasUnknownDims = true
      throw expected("the name of the dim")
    }
    let nameToken = token
    let name = text(nameToken)
    advance()
    if dimBounds[name] != nil {
      report("duplicate-name", "the dim '\(name)' is declared twice", at: range(nameToken))
      throw ParseAbort()
    }
    // Whatever follows, the name is known from here on.
    dimBounds[name] = DimRules.largestBound
    let rule: DimDeclaration.Rule
    if accept(.lessEqual) {
      let bound = try parseBound()
      rule = .bounded(bound)
      dimBounds[name] = bound
    } else {
      try expect(.equal, "'<= bound' or '= min(number, dim)'")
      guard word == "min" else { throw expected("'min(number, dim)'") }
      advance()
      try expect(.leftParen)
      let limit = try parseBound()
      dimBounds[name] = limit
      try expect(.comma)
      guard let other = word else { throw expected("the name of a dim") }
      dimRanges.append(range(token))
      advance()
      try expect(.rightParen)
      rule = .minimum(limit, of: other)
    }
    if case .bounded = rule { dimRanges.append(range(nameToken)) }
    module.dims.append(DimDeclaration(name, rule))
  }

  private mutating func parseBound() throws -> Int {
    let (value, range) = try integer("a bound")
    guard DimRules.bounds.contains(value) else {
      report("dim-bound", "a bound must be from 1 to \(DimRules.largestBound), not \(value)", at: range)
      throw ParseAbort()
    }
    return value
  }

  /// Rules over all dims, once every declaration is known: `min` may name a dim that is declared below.
  private mutating func checkDims() {
    for (index, declaration) in module.dims.enumerated() where index < dimRanges.count {
      guard case .minimum(_, let other) = declaration.rule, dimBounds[other] == nil, !hasUnknownDims else { continue }
      let names = dimBounds.keys
      let notes = didYouMean(other, names.sorted())
      report("unknown-dim", "the dim '\(other)' is not declared", at: dimRanges[index], notes: notes)
    }
    for index in DimRules.cycles(module.dims) where index < dimRanges.count {
      report("dim-cycle", DimRules.cycleMessage(module.dims[index]), at: dimRanges[index])
    }
  }

  private mutating func parseGlobal(isConstant: Bool) throws {
    advance()
    guard kind == .symbol else {
      hasUnknownGlobals = true
      throw expected("the global's name '@name'")
    }
    let nameToken = token
    let name = name(nameToken)
    advance()
    if globals[name] != nil {
      report("duplicate-name", "the global '\(Lexical.symbol(name))' is declared twice", at: range(nameToken))
      throw ParseAbort()
    }
    globals[name] = .broken
    try expect(.colon)
    let typeToken = token
    let type = try parseType()
    let typeRange = range(from: typeToken, through: tokens[position - 1])
    if let message = GlobalRules.problem(type, isConstant: isConstant) {
      report("global-type", message, at: typeRange)
      throw ParseAbort()
    }
    var content = Global.Content.weight
    if isConstant {
      try expect(.equal)
      let open = token
      let values = try parseConstants()
      let count = type.shape.reduce(1) { $0 * ($1.fixedValue ?? 0) }
      guard values.count == count else {
        report(
          "constant-count", "\(type) holds \(count) values, not \(values.count)",
          at: range(from: open, through: tokens[position - 1]))
        throw ParseAbort()
      }
      content = .constant(values)
    }
    let global = Global(name, type, content)
    global.location = range(nameToken)
    globals[name] = .known(global)
    module.globals.append(global)
  }

  private mutating func parseConstants() throws -> [Float] {
    try expect(.leftBracket)
    var values: [Float] = []
    skipNewlines()
    if accept(.rightBracket) { return values }
    while true {
      let text = text(token)
      guard kind == .number || text == "inf" || text == "nan" else { throw expected("a number") }
      // Read straight to Float: a way through Double would round twice.
      guard let value = Float(text), value.isFinite || kind == .word || text == "-inf" else {
        report("number-range", "'\(text)' is outside the range of f32", at: range(token))
        throw ParseAbort()
      }
      values.append(value)
      advance()
      skipNewlines()
      if accept(.rightBracket) { return values }
      try expect(.comma, "',' or ']'")
      skipNewlines()
    }
  }
}
