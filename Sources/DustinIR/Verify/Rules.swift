// Rules that the parser applies at the place in the text and the verifier to modules that passes build.

/// Bounds of dims and sizes of types.
enum DimRules {
  static let largestBound = 1 << 31
  static let bounds = 1...largestBound
  /// More elements than any machine holds; keeps every product of extents far from overflow.
  static let largestElementCount = 1 << 48

  /// Elements of a tensor with every dim at its bound; nil beyond `largestElementCount`.
  static func elementCount(_ type: TensorType, bound: (String) -> Int?) -> Int? {
    var count = 1
    for dim in type.shape {
      let extent: Int
      switch dim {
      case .fixed(let value): extent = value
      case .named(let name): extent = bound(name) ?? 1
      }
      let (product, overflow) = count.multipliedReportingOverflow(by: extent)
      guard !overflow, product <= largestElementCount else { return nil }
      count = product
    }
    return count
  }

  static func sizeMessage(_ type: TensorType) -> String {
    "\(type) may hold more than \(largestElementCount) elements"
  }

  /// The declarations whose `min` leads back to themselves, by index.
  static func cycles(_ dims: [DimDeclaration]) -> [Int] {
    var next: [String: String] = [:]
    for dim in dims {
      if case .minimum(_, let other) = dim.rule { next[dim.name] = other }
    }
    // Names known to end at a bound, so that long chains are walked once.
    var finite: Set<String> = []
    var cyclic: Set<String> = []
    for dim in dims {
      var path: [String] = []
      var seen: Set<String> = []
      var name = dim.name
      while let following = next[name], !finite.contains(name), !cyclic.contains(name), seen.insert(name).inserted {
        path.append(name)
        name = following
      }
      if seen.contains(name), let start = path.firstIndex(of: name) {
        cyclic.formUnion(path[start...])
        finite.formUnion(path[..<start])
      } else {
        finite.formUnion(path)
      }
    }
    return dims.indices.filter { cyclic.contains(dims[$0].name) }
  }

  static func cycleMessage(_ dim: DimDeclaration) -> String {
    "the dim '\(dim.name)' is defined by itself: \(dim)"
  }
}

enum GlobalRules {
  /// What is wrong with the type of a global; nil when nothing is.
  static func problem(_ type: TensorType, isConstant: Bool) -> String? {
    guard type.shape.allSatisfy({ $0.fixedValue != nil }) else {
      return "the extents of a global must be numbers, not \(type)"
    }
    return isConstant && type.element != .f32 ? "a constant must be f32, not \(type)" : nil
  }
}

enum AttributeRules {
  /// Attributes that every op takes in stage planned.
  static let planned: [String: AttributeSpec.Kind] = ["at": .ints, "scratch": .int]

  /// What is wrong with an attribute's value, as a sentence; nil when nothing is.
  static func problem(_ key: String, _ kind: AttributeSpec.Kind, _ value: Attribute) -> String? {
    switch (kind, value) {
    case (.int, .int), (.float, .int), (.bool, .bool), (.string, .string): return nil
    case (.float, .float(let number)): return number.isFinite ? nil : "'\(key)' must be finite, not \(value)"
    case (.word(let allowed), .word(let word)):
      return allowed.contains(word)
        ? nil : "'\(key)' must be \(allowed.joined(separator: " or ")), not '\(word)'"
    case (.ints, .array(let values)):
      let fits = values.allSatisfy { if case .int = $0 { true } else { false } }
      return fits ? nil : "'\(key)' must be an array of whole numbers, not \(value)"
    case (.floats, .array(let values)):
      let fits = values.allSatisfy { problem(key, .float, $0) == nil }
      return fits ? nil : "'\(key)' must be an array of numbers, not \(value)"
    default: return "'\(key)' must be \(describe(kind)), not \(value)"
    }
  }

  static func describe(_ kind: AttributeSpec.Kind) -> String {
    switch kind {
    case .int: "a whole number"
    case .float: "a number"
    case .bool: "true or false"
    case .string: "a string"
    case .word(let allowed): allowed.joined(separator: " or ")
    case .ints: "an array of whole numbers"
    case .floats: "an array of numbers"
    }
  }
}
