/// One group of operands in an op's syntax: how it is labelled and how many values it may hold.
public struct OperandGroupSpec: Sendable {
  /// "" for the unlabelled operands, which come first.
  public let label: String
  public let count: ClosedRange<Int>
  /// How many values it may hold in stage tensor; fewer where only fusion makes more.
  public let tensorCount: ClosedRange<Int>
  public let summary: String

  public init(
    _ label: String, _ count: ClosedRange<Int>, inTensor tensorCount: ClosedRange<Int>? = nil, _ summary: String
  ) {
    self.label = label
    self.count = count
    self.tensorCount = tensorCount ?? count
    self.summary = summary
  }
}

/// One attribute in an op's syntax.
public struct AttributeSpec: Sendable {
  public enum Kind: Sendable, Equatable {
    case int, float, bool, string
    case word([String])
    case ints
    case floats
  }
  public let key: String
  public let kind: Kind
  public let isRequired: Bool
  /// Whether only fusion makes it: it may not stand in stage tensor.
  public let isFused: Bool
  /// What it means, with unit and default.
  public let summary: String

  public init(_ key: String, _ kind: Kind, required: Bool = false, fused: Bool = false, _ summary: String) {
    self.key = key
    self.kind = kind
    isRequired = required
    isFused = fused
    self.summary = summary
  }
}

/// The one declaration of an op: syntax, shape rule, verification and documentation.
///
/// The parser, the printer, the verifier, `dustin ops` and OPS.md read nothing else.
public struct OpDefinition: Sendable {
  public let name: String
  /// One sentence.
  public let summary: String
  /// Meaning as formulas, in the words of the interpreter.
  public let meaning: String
  public let operandGroups: [OperandGroupSpec]
  public let attributes: [AttributeSpec]
  public let resultCount: Int
  public let stages: Set<Stage>
  /// The result types that the operands and attributes imply. Throws a `TypeRuleError` with one sentence that names
  /// the operand at fault. `results` are the types as written, for ops that leave part of them open (element type).
  public let inferTypes: @Sendable (_ operation: Operation, _ written: [TensorType]) throws -> [TensorType]
  /// One line of text that parses, for the documentation and the tests.
  public let example: String

  public init(
    name: String, summary: String, meaning: String, operandGroups: [OperandGroupSpec],
    attributes: [AttributeSpec] = [], resultCount: Int = 1, stages: Set<Stage>, example: String,
    inferTypes: @escaping @Sendable (Operation, [TensorType]) throws -> [TensorType]
  ) {
    self.name = name
    self.summary = summary
    self.meaning = meaning
    self.operandGroups = operandGroups
    self.attributes = attributes
    self.resultCount = resultCount
    self.stages = stages
    self.example = example
    self.inferTypes = inferTypes
  }
}

/// A broken shape or element rule; the verifier turns it into a diagnostic at the operation's line.
public struct TypeRuleError: Error {
  public let message: String
  public init(_ message: String) { self.message = message }
}
