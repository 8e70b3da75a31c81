import DustinIR

/// What the passes of a compilation did, one after the other.
final class CompilationRecord: Instrumentation {
  struct Step {
    let pass: String
    let isChanged: Bool
    /// What changed, a line each.
    let notes: [String]
    /// Operations that read caches or choose positions, where the pass changed who reads what.
    let readers: Readers?
  }
  /// Printed operations of one function each, before and after.
  struct Readers {
    let removed: [(function: String, line: String)]
    let added: [(function: String, line: String)]
  }
  private(set) var steps: [Step] = []
  let length: Int
  private var before: (snapshot: ModuleSnapshot, readers: [String: [String]])?

  /// - Parameter length: committed positions at which costs count.
  init(length: Int) { self.length = length }

  func willRun(_ pass: any Pass, at index: Int, on module: Module) {
    before = (ModuleSnapshot(module, length: length), Self.readers(module))
  }

  func didRun(_ pass: any Pass, at index: Int, on module: Module, outcome: PassOutcome) {
    let now = ModuleSnapshot(module, length: length)
    var notes = before.map { now.changes(since: $0.snapshot) } ?? []
    if !notes.isEmpty { notes += outcome.statistics.map { "\($0.name) = \($0.value)" } }
    var readers: Readers?
    if let before, Self.readsThroughSets(module) != before.readers.values.joined().contains(where: Self.isSparse) {
      let after = Self.readers(module)
      // Functions that are new as a whole, copies of the dense one, say nothing.
      readers = Readers(
        removed: Self.difference(before.readers, after), added: Self.difference(after, before.readers))
    }
    steps.append(
      Step(
        pass: PassPipeline.text(of: pass), isChanged: !notes.isEmpty, notes: notes, readers: readers))
  }

  private static func readsThroughSets(_ module: Module) -> Bool {
    module.functions.contains { $0.body.contains { $0.name == "gather" || $0.name == "select" } }
  }

  private static func isSparse(_ line: String) -> Bool { line.contains(" = gather ") || line.contains(" = select ") }

  private static func readers(_ module: Module) -> [String: [String]] {
    let names: Set<String> = ["attend", "gather", "score", "pool", "select"]
    return Dictionary(
      module.functions.map { function in
        (function.name, function.body.filter { names.contains($0.name) }.map { $0.text() })
      }, uniquingKeysWith: { first, _ in first })
  }

  /// Lines of functions that both moments have, or that choose positions, and that the other moment lacks.
  private static func difference(
    _ lines: [String: [String]], _ others: [String: [String]]
  ) -> [(function: String, line: String)] {
    lines.sorted { $0.key < $1.key }.flatMap { function, lines -> [(function: String, line: String)] in
      let known = Set(others[function] ?? [])
      guard others[function] != nil || lines.contains(where: isSparse) else { return [] }
      return lines.filter { !known.contains($0) }.map { (function, $0) }
    }
  }
}
