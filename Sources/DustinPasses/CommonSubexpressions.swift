import DustinIR

/// Computes equal things once.
///
///     %a = rmsnorm %x, weight(@g) {eps = 1e-06}
///     %b = rmsnorm %x, weight(@g) {eps = 1e-06}   →   uses of %b become uses of %a
///
/// Legal where two operations have the same op, operands, attributes and result types: ops are pure. `append` and
/// `rope_append` are left alone even so: they use a cache, and a cache's next version is used linearly. So are two
/// results that other functions find by their names: a value has one name.
public struct CommonSubexpressions: Pass {
  public let name = "cse"
  public let summary = "Merges operations that compute the same from the same."

  public init() {}

  private struct Key: Hashable {
    let name: String
    let labels: [String]
    let operands: [[Value]]
    let attributes: AttributeList
    let types: [TensorType]
  }

  public func run(on module: Module, context: PassContext) throws {
    try context.require(.tensor, .kernel, of: module)
    for function in module.functions {
      context.rewrite(function) { rewriter in
        var known: [Key: Operation] = [:]
        for operation in rewriter.operations where !operation.results.contains(where: \.isCache) {
          // Operands are merged before their users come, so that whole chains fold in one walk.
          let key = Key(
            name: operation.name, labels: operation.groups.map(\.label), operands: operation.groups.map(\.values),
            attributes: operation.attributes, types: operation.results.map(\.type))
          if let first = known[key] {
            let areNamed = [first, operation].allSatisfy { $0.results.contains(where: rewriter.isPassedOn) }
            if areNamed { continue }
            rewriter.replace(operation, withValues: first.results)
            context.count("merged-ops")
          } else {
            known[key] = operation
          }
        }
      }
    }
  }
}
