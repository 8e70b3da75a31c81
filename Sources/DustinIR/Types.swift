/// Element types of tensors.
public enum ElementType: String, Sendable, CaseIterable {
  case f32, bf16, f16, i32

  public var byteCount: Int {
    switch self {
    case .f32, .i32: 4
    case .bf16, .f16: 2
    }
  }
  public var isFloat: Bool { self != .i32 }
}

/// One extent of a tensor: a number, or a dim that the module declares with a bound.
public enum Dim: Hashable, Sendable, CustomStringConvertible {
  case fixed(Int)
  case named(String)

  public var description: String {
    switch self {
    case .fixed(let value): String(value)
    case .named(let name): name
    }
  }
  public var fixedValue: Int? {
    if case .fixed(let value) = self { value } else { nil }
  }
}

/// `dim L <= 131072`, or `dim S = min(512, L)`.
public struct DimDeclaration: Hashable, Sendable {
  public enum Rule: Hashable, Sendable {
    /// Any extent from 0 to the bound.
    case bounded(Int)
    /// The smaller of a number and another dim.
    case minimum(Int, of: String)
  }
  public let name: String
  public let rule: Rule

  public init(_ name: String, _ rule: Rule) {
    self.name = name
    self.rule = rule
  }
}

/// `f32[T, 512]`. A scalar has an empty shape.
public struct TensorType: Hashable, Sendable, CustomStringConvertible {
  public var element: ElementType
  public var shape: [Dim]

  public init(_ element: ElementType, _ shape: [Dim]) {
    self.element = element
    self.shape = shape
  }

  public var rank: Int { shape.count }
  public var description: String { "\(element.rawValue)[\(shape.map(\.description).joined(separator: ", "))]" }
  public func with(element: ElementType) -> TensorType { TensorType(element, shape) }
}
