/// Whether an operation fits its declaration: groups, counts, attributes. Shape rules come after these.
enum OperationRules {
  /// What is wrong, as ids and sentences. `stage` nil checks what holds in every stage.
  static func problems(_ operation: Operation, _ stage: Stage?) -> [(id: String, message: String)] {
    var problems = operandProblems(operation, stage)
    problems += attributeProblems(operation, stage)
    let count = operation.definition.resultCount
    if operation.results.count != count {
      problems.append(("result-count", "has \(count) results, not \(operation.results.count)"))
    }
    return problems
  }

  static func operandProblems(_ operation: Operation, _ stage: Stage?) -> [(id: String, message: String)] {
    var problems: [(id: String, message: String)] = []
    var seen: Set<String> = []
    let specs = operation.definition.operandGroups
    for group in operation.groups {
      if !specs.contains(where: { $0.label == group.label }) {
        problems.append(("unknown-group", "there is no operand group '\(group.label)'"))
      } else if !seen.insert(group.label).inserted {
        problems.append(("duplicate-group", "the operand group '\(group.label)' is given twice"))
      }
    }
    for spec in specs {
      let count = operation[group: spec.label].count
      let place = spec.label.isEmpty ? "" : " in '\(spec.label)'"
      if !spec.count.contains(count) {
        problems.append(("operand-count", "needs \(show(spec.count))\(place), not \(count)"))
      } else if stage == .tensor, !spec.tensorCount.contains(count) {
        problems.append(("stage", "takes \(show(spec.tensorCount))\(place) in stage tensor, not \(count)"))
      }
    }
    return problems
  }

  static func attributeProblems(_ operation: Operation, _ stage: Stage?) -> [(id: String, message: String)] {
    var problems: [(id: String, message: String)] = []
    let specs = operation.definition.attributes
    for (key, value) in operation.attributes.entries {
      if let spec = specs.first(where: { $0.key == key }) {
        if let message = AttributeRules.problem(key, spec.kind, value) {
          var id = "attribute-kind"
          if case (.word, .word) = (spec.kind, value) { id = "unknown-word" }
          problems.append((id, message))
        } else if stage == .tensor, spec.isFused {
          problems.append(("stage", "'\(key)' may not stand in stage tensor"))
        }
      } else if let kind = AttributeRules.planned[key], stage == .planned || stage == nil {
        if let message = AttributeRules.problem(key, kind, value) { problems.append(("attribute-kind", message)) }
      } else {
        let belongs = AttributeRules.planned[key] == nil ? "is not an attribute of the op" : "belongs to stage planned"
        problems.append(("unknown-attribute", "'\(key)' \(belongs)"))
      }
      // An op from outside may declare words and keys that the text cannot hold.
      if let message = AttributeRules.unwritable(key, value) { problems.append(("bad-name", message)) }
    }
    for spec in specs where spec.isRequired && operation.attributes[spec.key] == nil {
      problems.append(("missing-attribute", "needs the attribute '\(spec.key)': \(spec.summary)"))
    }
    return problems
  }

  private static func show(_ count: ClosedRange<Int>) -> String {
    if count.upperBound == 0 { return "no operands" }
    if count == 1...1 { return "1 operand" }
    if count.lowerBound == count.upperBound { return "\(count.lowerBound) operands" }
    if count.upperBound == .max { return "at least \(count.lowerBound) operands" }
    return "\(count.lowerBound) to \(count.upperBound) operands"
  }
}

extension AttributeRules {
  /// Why an attribute cannot be written as text that reads back; nil when it can.
  static func unwritable(_ key: String, _ value: Attribute) -> String? {
    if !Lexical.isWord(key) { return "'\(key)' cannot be the name of an attribute: it is not a word" }
    return depth(value) > 8 ? "'\(key)' nests arrays more than 8 deep" : unwritable(value)
  }

  private static func unwritable(_ value: Attribute) -> String? {
    switch value {
    case .word(let word):
      let isFine = Lexical.isWord(word) && !Lexical.reservedWords.contains(word)
      return isFine ? nil : "'\(word)' cannot be the value of an attribute: it is not a word"
    case .array(let values): return values.lazy.compactMap { unwritable($0) }.first
    default: return nil
    }
  }

  private static func depth(_ value: Attribute) -> Int {
    guard case .array(let values) = value else { return 0 }
    return 1 + (values.map(depth).max() ?? 0)
  }
}
