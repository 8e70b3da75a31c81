import DustinIR
import DustinSupport

/// Lets consecutive layers read through one set: the first layer of a group chooses, the others follow.
///
///     %a = attend …, after(%set.0);  %b = attend …, after(%set.1)      each layer its own set
///       →   %a = attend …, after(%set.0);  %b = attend …, after(%set.0)      with group=2
///
/// Legal where functions are approximate already: a set is a choice, and what the rows in flight and the tail hold does not
/// depend on it. Sets must be of one type. Sets that nobody reads any more are not made any more.
public struct ShareSelection: Pass {
  public let name = "share-selection"
  public let summary = "Lets groups of layers read through the set of their first layer."
  @PassOption("group", "layers that share a set; 0: all layers") public var group = 0
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
        at: function.location)
    }
    var leader: Value?
    var dropped: Set<Value> = []
    context.rewrite(function) { rewriter in
      for (number, reader) in readers.enumerated() {
        let set = reader[group: "after"][0]
        if let leader, group == 0 || number % group != 0, leader.type == set.type, leader !== set {
          for operation in [reader[group: "cache"][0].definingOperation, reader].compactMap({ $0 }) {
            rewriter.update(operation) {
              operation[group: operation.name == "gather" ? "" : "after"] = [leader]
            }
          }
          dropped.insert(set)
          context.count("shared-readers")
        } else {
          leader = set
        }
      }
      for operation in rewriter.operations.reversed() where ["select", "score"].contains(operation.name) {
        rewriter.eraseIfDead(operation)
      }
    }
    // Sets that came from outside: their makers need not make them.
    let gone = dropped.filter { set in
      function.arguments.contains(set) && !function.body.contains { $0.allOperands.contains(set) }
    }
    if gone.isEmpty { return }
    function.drop(arguments: gone)
    for maker in module.functions where maker !== function {
      let names = Set(gone.map(\.name))
      let kept = zip(maker.returns, maker.returnRoles).filter { !($0.0.isSequenceValue && names.contains($0.0.name)) }
      guard kept.count < maker.returns.count else { continue }
      maker.returns = kept.map(\.0)
      maker.returnRoles = kept.map(\.1)
      context.rewrite(maker) { rewriter in
        for operation in rewriter.operations.reversed() where ["select", "score"].contains(operation.name) {
          rewriter.eraseIfDead(operation)
        }
      }
    }
  }
}
