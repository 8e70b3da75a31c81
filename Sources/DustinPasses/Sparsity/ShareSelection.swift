import DustinIR
import DustinSupport

/// Lets consecutive layers read through one set: the first layer of a group chooses, the others follow.
///
///     %a = attend …, after(%set.0);  %b = attend …, after(%set.1)      each layer its own set
///       →   %a = attend …, after(%set.0);  %b = attend …, after(%set.0)      with group=2
///
/// Legal where functions are approximate already: a set is a choice, and what the rows in flight and the tail hold does not
/// depend on it. Sets must be of one type. Sets that nobody reads any more are not made any more, and rows that scored
/// for nothing else are not kept any more.
public struct ShareSelection: Pass {
  public let name = "share-selection"
  public let summary = "Lets groups of layers read through the set of their first layer."
  @PassOption("group", "layers that share a set, counting those that read through one; 0: all of them")
  public var group = 0
  @PassOption("function", "whose readers are meant") public var functionName = "verify"

  public init() {}

  public func validate() -> String? { group >= 0 ? nil : "share-selection needs group=0 or more, not \(group)" }

  public func run(on module: Module, context: PassContext) throws {
    try context.require(.tensor, .kernel, of: module)
    let function = try context.function(functionName, of: module)
    let readers = function.body.filter { $0.name == "attend" && !$0[group: "after"].isEmpty }
    guard !readers.isEmpty else {
      throw DiagnosticError(
        "no-set", "\(name): nothing in @\(functionName) reads through a set; run sparsify-verify first",
        at: context.place(of: function, in: module))
    }
    let dropped = follow(readers, in: function, context)
    // Sets that came from outside: their makers need not make them.
    let passed = function.arguments.filter(dropped.contains)
    drop(passed, of: function, context)
    for set in passed { stopPassing(set.name, in: module, context) }
  }

  /// - Returns: Sets that are not read any more.
  private func follow(_ readers: [Operation], in function: Function, _ context: PassContext) -> Set<Value> {
    var leader: Value?
    var dropped: Set<Value> = []
    context.rewrite(function) { rewriter in
      for (number, reader) in readers.enumerated() {
        let set = reader[group: "after"][0]
        guard let leader, group == 0 || number % group != 0, leader.type == set.type, leader !== set else {
          leader = set
          continue
        }
        if let gather = reader[group: "cache"][0].definingOperation {
          rewriter.update(gather) { gather[group: ""] = [leader] }
        }
        rewriter.update(reader) { reader[group: "after"] = [leader] }
        dropped.insert(set)
        context.count("shared-readers")
      }
      dropped = dropped.filter { rewriter.useCount(of: $0) == 0 }
      eraseDeadMakers(rewriter)
    }
    return dropped
  }

  private func eraseDeadMakers(_ rewriter: Rewriter) {
    for operation in rewriter.operations.reversed() where ["select", "score"].contains(operation.name) {
      rewriter.eraseIfDead(operation)
    }
  }

  private func drop(_ arguments: [Value], of function: Function, _ context: PassContext) {
    if arguments.isEmpty { return }
    function.drop(arguments: Set(arguments))
    context.noteChange()
  }

  /// Nobody returns a value by this name any more, unless a function still takes it. What makers needed for it alone
  /// goes the same way.
  private func stopPassing(_ name: String, in module: Module, _ context: PassContext) {
    if module.functions.contains(where: { $0.argument(named: name) != nil }) { return }
    for maker in module.functions {
      let kept = maker.returns.indices.filter { index in
        maker.returns[index].name != name || [.plain, .cache].contains(maker.returnRoles[index])
      }
      guard kept.count < maker.returns.count else { continue }
      maker.returns = kept.map { maker.returns[$0] }
      maker.returnRoles = kept.map { maker.returnRoles[$0] }
      context.noteChange()
      context.rewrite(maker) { eraseDeadMakers($0) }
      var used = Set(maker.returns)
      for operation in maker.body { used.formUnion(operation.allOperands) }
      let unused = zip(maker.arguments, maker.argumentRoles).filter { argument, role in
        ![.plain, .cache].contains(role) && !used.contains(argument)
      }.map(\.0)
      drop(unused, of: maker, context)
      for argument in unused { stopPassing(argument.name, in: module, context) }
    }
  }
}

extension Function {
  fileprivate func argument(named name: String) -> Value? { arguments.first { $0.name == name } }
}
