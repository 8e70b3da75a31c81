import DustinSupport

/// A tensor: the result of an operation, an argument of a function, or a global of the module.
/// Identity is what counts; two values are the same only if they are one object.
public final class Value {
  public enum Definition {
    case result(of: Operation, index: Int)
    case argument(of: Function, index: Int)
    case global(Global)
    /// The owner is gone: the value belongs to an operation that a rewrite dropped.
    case detached
  }
  private enum Kind {
    case result(Int)
    case argument(Int)
    case global
  }
  private weak var owner: AnyObject?
  private var kind: Kind

  public var type: TensorType
  /// The name that the text shows after `%`; the printer makes it unique within the function. Globals use their own.
  public var name: String

  init(resultOf operation: Operation, index: Int, type: TensorType, name: String) {
    owner = operation
    kind = .result(index)
    self.type = type
    self.name = name
  }
  init(argumentOf function: Function, index: Int, type: TensorType, name: String) {
    owner = function
    kind = .argument(index)
    self.type = type
    self.name = name
  }
  init(global: Global, type: TensorType) {
    owner = global
    kind = .global
    self.type = type
    name = global.name
  }

  /// An argument takes another place in its function.
  func move(toArgument index: Int) { kind = .argument(index) }

  public var definition: Definition {
    guard let owner else { return .detached }
    return switch kind {
    case .result(let index): .result(of: unsafeDowncast(owner, to: Operation.self), index: index)
    case .argument(let index): .argument(of: unsafeDowncast(owner, to: Function.self), index: index)
    case .global: .global(unsafeDowncast(owner, to: Global.self))
    }
  }
  /// The operation whose result this is, if it is one.
  public var definingOperation: Operation? {
    if case .result(let operation, _) = definition { operation } else { nil }
  }
  public var global: Global? {
    if case .global(let global) = definition { global } else { nil }
  }
}

extension Value: Hashable {
  public static func == (a: Value, b: Value) -> Bool { a === b }
  public func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}

/// `linear %x, norm(@g), weight(@q, @k)`: the unlabelled operands come first, as the group "".
public struct OperandGroup {
  public let label: String
  public var values: [Value]

  public init(_ label: String, _ values: [Value]) {
    self.label = label
    self.values = values
  }
}

/// One line of a function: `%r = name operands {attributes} : types`.
public final class Operation {
  public let definition: OpDefinition
  public var groups: [OperandGroup]
  public var attributes: AttributeList
  public private(set) var results: [Value] = []
  /// Where the text stood, if it came from text.
  public var location: SourceRange?
  /// The function whose body holds the operation; nil while it stands alone.
  public internal(set) weak var function: Function?

  public init(
    _ definition: OpDefinition, _ groups: [OperandGroup], _ attributes: AttributeList = AttributeList(),
    results: [(name: String, type: TensorType)], location: SourceRange? = nil
  ) {
    self.definition = definition
    // In the order of the declaration, so that the text does not depend on who built the operation.
    let order = definition.operandGroups.map(\.label)
    self.groups = groups.filter { !$0.values.isEmpty }
      .enumerated().sorted { a, b in
        let places = (order.firstIndex(of: a.element.label) ?? .max, order.firstIndex(of: b.element.label) ?? .max)
        return (places.0, a.offset) < (places.1, b.offset)
      }
      .map(\.element)
    self.attributes = attributes
    self.location = location
    self.results = results.enumerated().map { index, result in
      Value(resultOf: self, index: index, type: result.type, name: result.name)
    }
  }

  public var name: String { definition.name }
  public var result: Value { results[0] }
  /// The unlabelled operands.
  public var operands: [Value] { self[group: ""] }
  public var allOperands: [Value] { groups.flatMap(\.values) }

  /// The operands of a labelled group; empty when the operation has none.
  public subscript(group label: String) -> [Value] {
    get { groups.first { $0.label == label }?.values ?? [] }
    set {
      if let index = groups.firstIndex(where: { $0.label == label }) {
        if newValue.isEmpty { groups.remove(at: index) } else { groups[index].values = newValue }
      } else if !newValue.isEmpty {
        groups.append(OperandGroup(label, newValue))
        let order = definition.operandGroups.map(\.label)
        groups.sort { (order.firstIndex(of: $0.label) ?? .max) < (order.firstIndex(of: $1.label) ?? .max) }
      }
    }
  }
}

extension Operation: Hashable {
  public static func == (a: Operation, b: Operation) -> Bool { a === b }
  public func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}
