extension Attribute: CustomStringConvertible {
  /// The text that reads back to the same attribute.
  public var description: String {
    switch self {
    case .int(let value): String(value)
    case .float(let value): value.isNaN ? "nan" : value.description
    case .bool(let value): value ? "true" : "false"
    case .word(let value): value
    case .string(let value): Lexical.quoted(value)
    case .array(let values): "[" + values.map(\.description).joined(separator: ", ") + "]"
    }
  }
}

extension AttributeList: CustomStringConvertible {
  /// `{key = value, …}`; empty for an empty list.
  public var description: String {
    isEmpty ? "" : "{" + entries.map { "\($0.key) = \($0.value)" }.joined(separator: ", ") + "}"
  }
}

extension DimDeclaration: CustomStringConvertible {
  public var description: String {
    switch rule {
    case .bounded(let bound): "dim \(name) <= \(bound)"
    case .minimum(let limit, let other): "dim \(name) = min(\(limit), \(other))"
    }
  }
}

extension Global {
  /// The line that declares the global.
  public func text() -> String {
    switch content {
    case .weight: return "weight \(Lexical.symbol(name)) : \(type)"
    case .constant(let values):
      let list = values.map { $0.isNaN ? "nan" : $0.description }.joined(separator: ", ")
      return "constant \(Lexical.symbol(name)) : \(type) = [\(list)]"
    }
  }
}

extension Module {
  /// The canonical text. It ends with a line end, and reading it back gives a module that prints the same text.
  public func text() -> String {
    var text = "dustin 1\nstage \(stage.rawValue)"
    if !attributes.isEmpty { text += " \(attributes)" }
    text += "\n"
    if !dims.isEmpty { text += "\n" }
    for dim in dims { text += "\(dim)\n" }
    if !globals.isEmpty { text += "\n" }
    for global in globals { text += global.text() + "\n" }
    for function in functions { text += "\n" + function.text() + "\n" }
    return text
  }
}

extension Function {
  /// The canonical text, from `func` to the closing brace, without a line end behind it.
  public func text() -> String { lines().joined(separator: "\n") }

  /// The first line is the signature; the operation `body[i]` stands in line `i + 1`.
  func lines() -> [String] {
    var names = ValueNames(self)
    var lines = [signature(&names)]
    for operation in body { lines.append("  " + operation.text(&names)) }
    lines.append(returns.isEmpty ? "  return" : "  return " + returns.map { names[$0] }.joined(separator: ", "))
    lines.append("}")
    return lines
  }

  private func signature(_ names: inout ValueNames) -> String {
    func suffix(_ roles: [ValueRole], _ index: Int) -> String {
      let role = index < roles.count ? roles[index] : .plain
      return role == .plain ? "" : " {role = \(role.rawValue)}"
    }
    let arguments = arguments.enumerated().map { index, argument in
      "\(names[argument]): \(argument.type)" + suffix(argumentRoles, index)
    }
    let results = returns.enumerated().map { index, value in "\(value.type)" + suffix(returnRoles, index) }
    var attributes: String
    switch fidelity {
    case .exact: attributes = "fidelity = exact"
    case .approximate(let pass): attributes = "fidelity = approximate(\(Lexical.quoted(pass)))"
    }
    if numerics != .abstract { attributes += ", numerics = \(numerics.rawValue)" }
    return "func \(Lexical.symbol(name))(\(arguments.joined(separator: ", "))) -> "
      + "(\(results.joined(separator: ", "))) {\(attributes)} {"
  }
}

extension Operation {
  /// The operation's line without indentation, with the names that its function's text shows.
  public func text() -> String {
    var names = ValueNames()
    if let function {
      names = ValueNames(function)
    } else {
      names.add(allOperands)
      names.add(results)
    }
    return text(&names)
  }

  func text(_ names: inout ValueNames) -> String {
    var text = results.map { names[$0] }.joined(separator: ", ")
    if !results.isEmpty { text += " = " }
    text += name
    var operands: [String] = []
    for group in groups {
      let values = group.values.map { names[$0] }
      if group.label.isEmpty {
        operands += values
      } else {
        operands.append("\(group.label)(\(values.joined(separator: ", ")))")
      }
    }
    if !operands.isEmpty { text += " " + operands.joined(separator: ", ") }
    if !attributes.isEmpty { text += " \(attributes)" }
    if !results.isEmpty { text += " : " + results.map(\.type.description).joined(separator: ", ") }
    return text
  }
}

/// What the text calls the values of one function: their own names where these are unique, else with a number.
///
/// The first value that bears a name keeps it; the others get the next free `name_1`, `name_2`, … in the order of the
/// text. Names that the text shows are unique, so reading and printing them again changes nothing.
struct ValueNames {
  private var names: [ObjectIdentifier: String] = [:]
  private var taken: Set<String> = []
  private var next: [String: Int] = [:]

  init() {}

  init(_ function: Function) { add(function.arguments + function.body.flatMap(\.results)) }

  mutating func add(_ values: [Value]) {
    var clashing: [Value] = []
    for value in values where value.global == nil && names[ObjectIdentifier(value)] == nil {
      let name = Lexical.valueName(value.name)
      if taken.insert(name).inserted {
        names[ObjectIdentifier(value)] = "%" + name
      } else {
        clashing.append(value)
      }
    }
    for value in clashing where names[ObjectIdentifier(value)] == nil {
      let stem = ValueNames.stem(Lexical.valueName(value.name))
      var number = next[stem, default: 1]
      while !taken.insert("\(stem)_\(number)").inserted { number += 1 }
      next[stem] = number + 1
      names[ObjectIdentifier(value)] = "%\(stem)_\(number)"
    }
  }

  /// A value that the function does not define gets a name of its own, so that the text shows it as undefined.
  subscript(value: Value) -> String {
    mutating get {
      if let global = value.global { return Lexical.symbol(global.name) }
      if let name = names[ObjectIdentifier(value)] { return name }
      add([value])
      return names[ObjectIdentifier(value)] ?? "%" + Lexical.valueName(value.name)
    }
  }

  /// `x` of `x_12`, so that copies of copies do not pile up numbers.
  private static func stem(_ name: String) -> String {
    let digits = name.utf8.reversed().prefix(while: Lexical.isDigit).count
    let rest = name.utf8.dropLast(digits)
    guard digits > 0, rest.count > 1, rest.last == UInt8(ascii: "_") else { return name }
    return String(decoding: rest.dropLast(), as: UTF8.self)
  }
}
