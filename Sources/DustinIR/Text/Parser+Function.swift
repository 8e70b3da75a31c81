import DustinSupport

/// What the parser knows while it reads one function.
struct FunctionScope {
  let function: Function
  var values: [String: Parser.Binding<Value>] = [:]
  /// The types and roles behind the arrow; nil when they could not be read.
  var results: [(type: TensorType, role: ValueRole)]?
  /// Uses without a definition above them; what they are becomes clear at the end of the function.
  var unknown: [(name: String, range: SourceRange)] = []
  var unknownNames: Set<String> = []
  /// The results that the line being read defines; its operands cannot be among them.
  var ownNames: Set<String> = []
  /// Set when arguments could not be read: a missing name is then no error of its own.
  var isIncomplete = false
}

/// One labelled group or the unlabelled operands, with nil for an operand that has been reported.
private struct ParsedGroup {
  let label: String
  var values: [Value?]
}

extension Parser {
  mutating func parseFunction() {
    let index = module.functions.count
    let errorsBefore = diagnostics.count
    let firstToken = token
    advance()
    guard kind == .symbol else {
      _ = expected("the function's name '@name'")
      return skipFunction()
    }
    let nameToken = token
    let function = Function(name(nameToken))
    function.location = range(nameToken)
    if !functionNames.insert(function.name).inserted {
      report("duplicate-name", "the function '\(text(nameToken))' is defined twice", at: range(nameToken))
    }
    module.functions.append(function)
    advance()
    var scope = FunctionScope(function: function)
    let signature = statement { parser in
      try parser.parseArguments(&scope)
      try parser.expect(.arrow)
      scope.results = try parser.parseResults()
      if parser.kind == .leftBrace, parser.following == .word { try parser.parseFunctionAttributes(function) }
      try parser.expect(.leftBrace, "'{' and the function's body")
    }
    if !signature { scope.isIncomplete = true }
    parseBody(&scope, nameToken)
    reportUnknown(scope)
    let functionRange = firstToken.start..<tokens[max(0, position - 1)].end
    lexicalFaults = lexicalFaults.drop { $0 < functionRange.lowerBound }
    let rest = lexicalFaults.drop { $0 < functionRange.upperBound }
    let errors = diagnostics.count - errorsBefore + lexicalFaults.count - rest.count
    lexicalFaults = rest
    if errors > 0 { damagedFunctions.insert(index) }
    functionErrors += errors
  }

  /// To the line behind the next line that begins with a brace.
  private mutating func skipFunction() {
    while kind != .end {
      skipLine()
      skipNewlines()
      if kind == .rightBrace { return skipLine() }
      if let word, Parser.topLevelWords.contains(word) { return }
    }
  }

  /// The lists of a signature may be broken behind a parenthesis or comma.
  private mutating func parseArguments(_ scope: inout FunctionScope) throws {
    try expect(.leftParen)
    skipNewlines()
    if accept(.rightParen) { return }
    while true {
      let nameToken = try expect(.value, "an argument '%name: type'")
      let name = name(nameToken)
      try expect(.colon)
      if scope.values[name] != nil {
        report("duplicate-name", "the value '%\(name)' is defined twice", at: range(nameToken))
        throw ParseAbort()
      }
      scope.values[name] = .broken
      let type = try parseType()
      let role = try parseRole()
      scope.values[name] = .known(scope.function.addArgument(name, type, role: role))
      skipNewlines()
      if accept(.rightParen) { return }
      try expect(.comma, "',' or ')'")
      skipNewlines()
    }
  }

  private mutating func parseResults() throws -> [(type: TensorType, role: ValueRole)] {
    var results: [(type: TensorType, role: ValueRole)] = []
    try expect(.leftParen)
    skipNewlines()
    if accept(.rightParen) { return results }
    while true {
      let type = try parseType()
      results.append((type, try parseRole()))
      skipNewlines()
      if accept(.rightParen) { return results }
      try expect(.comma, "',' or ')'")
      skipNewlines()
    }
  }

  private mutating func parseBody(_ scope: inout FunctionScope, _ nameToken: Token) {
    var hasReturned = false
    while true {
      skipNewlines()
      let isTopLevel = word.map(Parser.topLevelWords.contains) ?? false
      if kind == .end || (isTopLevel && following != .leftParen) {
        report("syntax", "the body of '\(text(nameToken))' has no closing brace", at: range(nameToken))
        return
      }
      if kind == .rightBrace {
        if !hasReturned { _ = expected("'return'") }
        statement { $0.advance() }
        return
      }
      if hasReturned {
        _ = expected("'}' behind 'return'")
        skipLine()
      } else if word == "return" {
        hasReturned = true
        scope.ownNames = []
        statement { try $0.parseReturn(&scope) }
      } else {
        statement { try $0.parseOperation(&scope) }
      }
    }
  }

  private mutating func parseReturn(_ scope: inout FunctionScope) throws {
    let returnToken = token
    advance()
    var values: [(value: Value?, token: Token)] = []
    if kind != .newline {
      repeat {
        let operand = token
        values.append((try parseOperand(&scope), operand))
      } while accept(.comma)
    }
    guard let results = scope.results else { return }
    guard values.count == results.count else {
      report(
        "return-count", "the signature has \(results.count) results, 'return' has \(values.count)",
        at: range(returnToken))
      return
    }
    for ((value, token), result) in zip(values, results) {
      guard let value else { continue }
      if value.type != result.type {
        report(
          "return-type", "'\(text(token))' is \(value.type), the signature says \(result.type)", at: range(token))
      }
      scope.function.addReturn(value, role: result.role)
    }
  }

  private mutating func parseOperation(_ scope: inout FunctionScope) throws {
    var resultTokens: [Token] = []
    if kind == .value {
      repeat { resultTokens.append(try expect(.value, "the name of a result")) } while accept(.comma)
    }
    // A line with an error still defines its results, so that their uses are no errors of their own.
    let names = resultTokens.map { name($0) }
    let isNew = defineBroken(names, resultTokens, &scope)
    if !resultTokens.isEmpty { try expect(.equal) }
    let opToken = token
    guard let opName = word else { throw expected("'return', '}' or an operation '%name = op …'") }
    advance()
    guard let definition = registry[opName] else {
      let definitions = registry.definitions
      let notes = didYouMean(opName, definitions.map(\.name))
      report("unknown-op", "there is no op '\(opName)'", at: range(opToken), notes: notes)
      // The operands are still read: they may be misspelt, too.
      _ = try parseGroups(nil, &scope)
      throw ParseAbort()
    }
    let groups = try parseGroups(definition, &scope)
    var attributes = AttributeList()
    if kind == .leftBrace {
      for entry in try parseAttributes() {
        check(entry, of: definition)
        attributes[entry.key] = entry.value
      }
    }
    var types: [TensorType] = []
    let colon = token
    if definition.resultCount > 0 || kind == .colon {
      try expect(.colon, "':' and the type of the result")
      repeat { types.append(try parseType()) } while accept(.comma)
    }
    let count = definition.resultCount
    guard resultTokens.count == count else {
      let place = resultTokens.first.map { range(from: $0, through: resultTokens.last ?? $0) } ?? range(opToken)
      report("result-count", "'\(opName)' has \(count) results, the line names \(resultTokens.count)", at: place)
      return
    }
    guard types.count == count else {
      report("result-count", "'\(opName)' has \(count) results, the line states \(types.count) types", at: range(colon))
      return
    }
    guard isNew else { return }
    var operands: [OperandGroup] = []
    for group in groups {
      let values = group.values.compactMap { $0 }
      guard values.count == group.values.count else { return }
      operands.append(OperandGroup(group.label, values))
    }
    let operation = Operation(
      definition, operands, attributes, results: zip(names, types).map { ($0, $1) }, location: range(opToken))
    scope.function.append(operation)
    for result in operation.results { scope.values[result.name] = .known(result) }
  }

  /// Enters the results of a line as broken until the line has been read. Whether all names are new.
  private mutating func defineBroken(
    _ names: [String], _ tokens: [Token], _ scope: inout FunctionScope
  ) -> Bool {
    var isNew = true
    scope.ownNames = []
    for (name, token) in zip(names, tokens) {
      if scope.values[name] != nil {
        report("duplicate-name", "the value '%\(name)' is defined twice", at: range(token))
        isNew = false
      } else {
        scope.values[name] = .broken
        scope.ownNames.insert(name)
      }
    }
    return isNew
  }

  private mutating func parseGroups(
    _ definition: OpDefinition?, _ scope: inout FunctionScope
  ) throws -> [ParsedGroup] {
    var groups: [ParsedGroup] = []
    guard kind == .value || kind == .symbol || kind == .word else { return [] }
    repeat {
      if kind == .word {
        groups.append(try parseLabelledGroup(definition, groups, &scope))
        continue
      }
      if groups.contains(where: { !$0.label.isEmpty }) {
        report("syntax", "unlabelled operands come before the groups", at: range(token))
        throw ParseAbort()
      }
      let value = try parseOperand(&scope)
      if groups.isEmpty { groups.append(ParsedGroup(label: "", values: [])) }
      groups[0].values.append(value)
    } while accept(.comma)
    return groups
  }

  private mutating func parseLabelledGroup(
    _ definition: OpDefinition?, _ groups: [ParsedGroup], _ scope: inout FunctionScope
  ) throws -> ParsedGroup {
    let label = text(token)
    guard following == .leftParen else { throw expected("an operand '%name', '@name' or 'group(…)'") }
    if let definition, !definition.operandGroups.contains(where: { $0.label == label }) {
      let notes = didYouMean(label, definition.operandGroups.map(\.label).filter { !$0.isEmpty })
      report("unknown-group", "'\(definition.name)' has no operand group '\(label)'", at: range(token), notes: notes)
    } else if groups.contains(where: { $0.label == label }) {
      report("duplicate-group", "the operand group '\(label)' is given twice", at: range(token))
    }
    advance()
    advance()
    var values: [Value?] = []
    repeat { values.append(try parseOperand(&scope)) } while accept(.comma)
    try expect(.rightParen, "',' or ')'")
    return ParsedGroup(label: label, values: values)
  }

  /// The value at the current token; nil when its name is broken or has been reported.
  private mutating func parseOperand(_ scope: inout FunctionScope) throws -> Value? {
    let operand = token
    guard kind == .value || kind == .symbol else { throw expected("an operand '%name' or '@name'") }
    advance()
    let name = name(operand)
    if operand.kind == .symbol {
      switch globals[name] {
      case .known(let global): return global.value
      case .broken: return nil
      case nil:
        if hasUnknownGlobals { return nil }
        let globals = module.globals
        let notes = didYouMean(name, globals.map(\.name)) { Lexical.symbol($0) }
        report("unknown-global", "there is no global '\(text(operand))'", at: range(operand), notes: notes)
        return nil
      }
    }
    if case .known(let value) = scope.values[name] { return value }
    if !scope.isIncomplete, scope.values[name] == nil || scope.ownNames.contains(name) {
      if scope.unknownNames.insert(name).inserted { scope.unknown.append((name, range(operand))) }
    }
    return nil
  }

  private mutating func reportUnknown(_ scope: FunctionScope) {
    guard !scope.isIncomplete else { return }
    for (name, range) in scope.unknown {
      if scope.values[name] != nil {
        report("use-before-definition", "'%\(name)' is used before its definition", at: range)
      } else {
        let notes = didYouMean(name, scope.values.keys.sorted()) { "%" + $0 }
        report("unknown-value", "there is no value '%\(name)'", at: range, notes: notes)
      }
    }
  }

  private mutating func check(_ entry: ParsedAttribute, of definition: OpDefinition) {
    guard let spec = definition.attributes.first(where: { $0.key == entry.key }) else {
      if let kind = AttributeRules.planned[entry.key], module.stage == .planned || !stageIsKnown {
        if let message = AttributeRules.problem(entry.key, kind, entry.value) {
          report("attribute-kind", message, at: entry.valueRange)
        }
        return
      }
      var notes = didYouMean(entry.key, definition.attributes.map(\.key))
      if AttributeRules.planned[entry.key] != nil { notes = [.note("'\(entry.key)' belongs to stage planned")] }
      report(
        "unknown-attribute", "'\(entry.key)' is not an attribute of '\(definition.name)'", at: entry.keyRange,
        notes: notes)
      return
    }
    guard let message = AttributeRules.problem(entry.key, spec.kind, entry.value) else { return }
    if case .word(let allowed) = spec.kind, case .word(let word) = entry.value {
      let notes = didYouMean(word, allowed)
      report("unknown-word", message, at: entry.valueRange, notes: notes)
    } else {
      report("attribute-kind", message, at: entry.valueRange)
    }
  }
}
