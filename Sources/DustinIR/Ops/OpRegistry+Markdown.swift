extension OpRegistry {
  /// The reference of the ops, generated from their declarations (IR/OPS.md).
  public func markdown() -> String {
    var text = """
      # The ops

      Generated from the declarations in `Sources/DustinIR/Ops`; `dustin ops NAME` prints one of them. How operations are
      written stands in [LANGUAGE.md](LANGUAGE.md).

      | op | in short | stages |
      |---|---|---|

      """
    for definition in definitions {
      text += "| [`\(definition.name)`](#\(definition.name)) | \(OpRegistry.cell(definition.summary)) "
      text += "| \(definition.stageList) |\n"
    }
    return text + definitions.map { "\n" + $0.markdown() }.joined()
  }

  /// A text as a table's cell: a vertical bar would end it.
  public static func cell(_ text: String) -> String {
    String(text.flatMap { $0 == "|" ? ["\\", "|"] : [$0] })
  }
}

extension OpDefinition {
  fileprivate var stageList: String {
    Stage.allCases.filter(stages.contains).map(\.rawValue).joined(separator: ", ")
  }

  /// The section of one op.
  public func markdown() -> String {
    var text = "## \(name)\n\n\(summary)\n\n```\n\(example)\n```\n\nMeaning:\n```\n\(meaning)\n```\n\n"
    text += "| operands | how many | |\n|---|---|---|\n"
    for group in operandGroups {
      let label = group.label.isEmpty ? "unlabelled" : "`\(group.label)(…)`"
      var count = OpDefinition.show(group.count)
      if group.tensorCount != group.count { count += "; \(OpDefinition.show(group.tensorCount)) in stage tensor" }
      text += "| \(label) | \(count) | \(OpRegistry.cell(group.summary)) |\n"
    }
    if !attributes.isEmpty {
      text += "\n| attribute | value | |\n|---|---|---|\n"
      for attribute in attributes {
        var value = AttributeRules.describe(attribute.kind)
        if attribute.isRequired { value += ", required" }
        if attribute.isFused { value += ", not in stage tensor" }
        text += "| `\(attribute.key)` | \(value) | \(OpRegistry.cell(attribute.summary)) |\n"
      }
    }
    return text + "\nStages: \(stageList).\(resultCount == 1 ? "" : " Results: \(resultCount).")\n"
  }

  private static func show(_ count: ClosedRange<Int>) -> String {
    count.lowerBound == count.upperBound ? "\(count.lowerBound)" : "\(count.lowerBound) to \(count.upperBound)"
  }
}
