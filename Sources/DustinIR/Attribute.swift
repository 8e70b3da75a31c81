/// A value in `{key = value}`.
public enum Attribute: Hashable, Sendable {
  case int(Int)
  /// Printed with the fewest digits that read back to the same double, always with a point or an exponent.
  case float(Double)
  case bool(Bool)
  /// A bare word: `verify`, `swiglu`, `bf16`.
  case word(String)
  /// Quoted text.
  case string(String)
  case array([Attribute])
}

/// Attributes in the order in which they were written.
public struct AttributeList: Hashable, Sendable {
  public private(set) var entries: [(key: String, value: Attribute)] = []

  public init(_ entries: [(String, Attribute)] = []) {
    for (key, value) in entries { self[key] = value }
  }

  public var isEmpty: Bool { entries.isEmpty }
  public var keys: [String] { entries.map(\.key) }

  public subscript(key: String) -> Attribute? {
    get { entries.first { $0.key == key }?.value }
    set {
      let index = entries.firstIndex { $0.key == key }
      switch (index, newValue) {
      case (let index?, let value?): entries[index].value = value
      case (let index?, nil): entries.remove(at: index)
      case (nil, let value?): entries.append((key, value))
      case (nil, nil): break
      }
    }
  }

  public func int(_ key: String) -> Int? {
    if case .int(let value)? = self[key] { value } else { nil }
  }
  /// A float, or an int that stands where a float is meant.
  public func float(_ key: String) -> Double? {
    switch self[key] {
    case .float(let value)?: value
    case .int(let value)?: Double(value)
    default: nil
    }
  }
  public func bool(_ key: String) -> Bool? {
    if case .bool(let value)? = self[key] { value } else { nil }
  }
  public func word(_ key: String) -> String? {
    if case .word(let value)? = self[key] { value } else { nil }
  }

  public func ints(_ key: String) -> [Int]? {
    guard case .array(let values)? = self[key] else { return nil }
    let ints = values.compactMap { if case .int(let value) = $0 { value } else { nil } }
    return ints.count == values.count ? ints : nil
  }

  public static func == (a: AttributeList, b: AttributeList) -> Bool {
    a.entries.count == b.entries.count
      && zip(a.entries, b.entries).allSatisfy { $0.key == $1.key && $0.value == $1.value }
  }
  public func hash(into hasher: inout Hasher) {
    for (key, value) in entries {
      hasher.combine(key)
      hasher.combine(value)
    }
  }
}
