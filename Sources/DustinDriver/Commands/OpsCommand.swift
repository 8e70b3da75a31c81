import ArgumentParser
import DustinIR
import DustinRunner
import DustinSupport

struct OpsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ops", abstract: "Lists the ops of the language, or explains one.")

  @Argument(help: "The op to explain.")
  var name: String?
  @Flag(help: "Prints Markdown: of all ops it is IR/OPS.md.")
  var markdown = false

  func run() throws {
    let registry = OpRegistry.standard
    if markdown, name == nil { return try Console.current.write(registry.markdown()) }
    guard let name else {
      return try Console.current.write(nameTable(registry.definitions.map { ($0.name, $0.summary) }))
    }
    guard let definition = registry[name] else {
      throw unknownName("unknown-op", "op", name, registry.definitions.map(\.name))
    }
    try Console.current.write(markdown ? definition.markdown() : Self.explanation(of: definition))
  }

  static func explanation(of definition: OpDefinition) -> String {
    var lines = [definition.name, "  \(definition.summary)", "", "meaning"]
    lines += definition.meaning.split(separator: "\n").map { "  \($0)" }
    lines += ["", "operands"]
    for group in definition.operandGroups {
      let label = group.label.isEmpty ? "" : "\(group.label)(…) "
      let count =
        group.count.count == 1 ? "\(group.count.lowerBound)" : "\(group.count.lowerBound) to \(group.count.upperBound)"
      lines.append("  \(label)\(count): \(group.summary)")
    }
    if !definition.attributes.isEmpty {
      lines += ["", "attributes"]
      for attribute in definition.attributes {
        lines.append(
          "  \(attribute.key): \(kind(attribute.kind))\(attribute.isRequired ? ", required" : ""); \(attribute.summary)"
        )
      }
    }
    let stages = Stage.allCases.filter { definition.stages.contains($0) }.map(\.rawValue)
    lines += ["", "stages", "  " + stages.joined(separator: ", "), "", "example", "  " + definition.example]
    return lines.joined(separator: "\n") + "\n"
  }

  private static func kind(_ kind: AttributeSpec.Kind) -> String {
    switch kind {
    case .int: "a whole number"
    case .float: "a number"
    case .bool: "true or false"
    case .string: "a text"
    case .word(let words): words.joined(separator: " or ")
    case .ints: "a list of whole numbers"
    case .floats: "a list of numbers"
    }
  }
}

/// Lines of `name  summary`.
func nameTable(_ entries: [(name: String, summary: String)]) -> String {
  let width = entries.map(\.name.count).max() ?? 0
  return entries.map { name, summary in
    name + String(repeating: " ", count: width - name.count + 2) + summary + "\n"
  }.joined()
}

/// `there is no pass 'cannonicalize'`, with the closest name.
func unknownName(_ id: String, _ kind: String, _ name: String, _ names: [String]) -> DiagnosticError {
  let hint = closestName(to: name, in: names).map { [Diagnostic.note("did you mean '\($0)'?")] } ?? []
  return DiagnosticError(id, "there is no \(kind) '\(name)'", notes: hint)
}
