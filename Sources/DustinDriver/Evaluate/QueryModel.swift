import DustinCodegen
import DustinIR
import DustinModels
import DustinPasses
import DustinRuntime
import DustinSupport

/// The target once more, dense, with a `verify` that also returns the queries of every layer's attention: what the target
/// looks at is computed from them and the cached keys.
struct QueryModel {
  struct Layer {
    /// The result of `verify` that holds q [T, H, D], in the cache's element type.
    let queries: String
    /// The keys' region of the cache.
    let region: Int
    let heads: Int
    let keyHeads: Int
    let dim: Int
    let scale: Float
  }
  let compiled: CompiledModel
  let layers: [Layer]
  let element: Program.Element

  /// - Throws: as loading a model does.
  init(path: String, options: LoadOptions) throws {
    let directory = try ModelDirectory(path: path)
    let module = try directory.importModule(context: options.contextSize, maxRows: options.maxRows)
    var manager = PassManager()
    manager.verifyEach = options.verifyEach
    func run(_ text: String) throws {
      try manager.run(PassPipeline.parse(text, registry: options.passes, source: "<pipeline>"), on: module)
    }
    try run("target,numerics{mode=\(options.numerics.rawValue)}")
    try Self.addQueries(to: module)
    try run("kernels")
    let found = try Self.attention(of: module)
    let output = try Compiler.compile(module, for: options.target)
    let weights = try Memory(count: output.program.weightBytes, for: "the weights of '\(path)'")
    let store = try directory.weights()
    try output.plan.packWeights(into: weights.base) { name in
      let tensor = try store.tensor(name)
      return (tensor.element, tensor.bytes)
    }
    store.release()
    compiled = try CompiledModel(
      program: output.program, code: output.code, weights: UnsafeRawPointer(weights.base),
      owners: [weights])
    let ports = output.program.function("verify")?.arguments ?? []
    layers = try found.map { layer in
      guard case .cache(let region)? = ports.first(where: { $0.name == layer.cache })?.place else {
        throw DiagnosticError("attention", "the keys of '\(layer.cache)' are in no cache of '\(path)'")
      }
      return Layer(
        queries: layer.queries, region: region, heads: layer.heads, keyHeads: layer.keyHeads, dim: layer.dim,
        scale: layer.scale)
    }
    guard let first = layers.first else { throw DiagnosticError("attention", "'\(path)' has no attention to look at") }
    element = output.program.cacheRegions[first.region].element
  }

  private struct Found {
    let queries: String
    let cache: String
    let heads: Int
    let keyHeads: Int
    let dim: Int
    let scale: Float
  }

  /// Makes every `attend`'s q a result of `verify`.
  private static func addQueries(to module: Module) throws {
    guard let function = module.function("verify") else {
      throw DiagnosticError("attention", "the model has no function 'verify'")
    }
    for operation in function.body where operation.name == "attend" {
      for queries in operation.operands { function.addReturn(queries) }
    }
  }

  /// What `verify` attends with, in the names that fusion has left.
  private static func attention(of module: Module) throws -> [Found] {
    try (module.function("verify")?.body ?? []).filter { $0.name == "attend" }.map { operation in
      guard let queries = operation.operands.first, let keys = operation[group: "cache"].first,
        let append = keys.definingOperation, let cache = append[group: "cache"].first,
        let heads = queries.type.shape.dropFirst().first?.fixedValue,
        let dim = queries.type.shape.last?.fixedValue,
        let keyHeads = keys.type.shape.dropFirst().first?.fixedValue, keyHeads > 0, heads % keyHeads == 0
      else { throw DiagnosticError("attention", "an attention of 'verify' has an unknown form") }
      return Found(
        queries: queries.name, cache: cache.name, heads: heads, keyHeads: keyHeads, dim: dim,
        scale: Float(operation.attributes.float("scale") ?? 1))
    }
  }
}
