import DustinIR
import DustinSupport

/// Decides how caches lie, from who reads them.
///
///     stage tensor {…}   →   stage tensor {…, kv_layout = both}
///
/// Dense attention and scoring stream packed blocks of 16 positions. A set of scattered positions wants the other order,
/// all KV heads of a position side by side: read from packed blocks, each of its keys would touch as many cache lines as a
/// head has pairs of values. So a module with such a set keeps both copies, twice the memory, and a module whose sets are
/// blocks, or only first and recent positions, or that has none, keeps the packed one. Legal always: both hold the same
/// numbers.
public struct ChooseKVLayout: Pass {
  public enum Layout: String, CaseIterable, PassOptionValue { case packed, both }

  public let name = "choose-kv-layout"
  public let summary = "Keeps row copies of the caches where sets of scattered positions are read."
  @PassOption("layout", "packed or both; default: by the readers of the module") public var layout: Layout? = nil

  public init() {}

  public func run(on module: Module, context: PassContext) throws {
    try context.require(.tensor, .kernel, of: module)
    let makers = module.functions.flatMap(\.body).filter { $0.name == "select" }
    let readsPositions = module.functions.flatMap(\.body).contains { reader in
      guard reader.name == "gather", let set = reader.operands.first else { return false }
      let named = makers.filter { $0.result === set || (set.definingOperation == nil && $0.result.name == set.name) }
      return named.isEmpty
        || named.contains { ($0.attributes.int("granularity") ?? 1) == 1 && !$0.operands.isEmpty }
    }
    let chosen = layout ?? (readsPositions ? .both : .packed)
    var bytes = 0
    if let function = module.functions.first(where: { $0.argumentRoles.contains(.cache) }) {
      for cache in function.arguments where cache.isCache {
        bytes += cache.type.shape.dropFirst().reduce(cache.type.element.byteCount) { $0 * ($1.fixedValue ?? 0) }
      }
    }
    context.count("kv-bytes-per-position", chosen == .both ? 2 * bytes : bytes)
    guard (module.attributes.word("kv_layout") ?? "packed") != chosen.rawValue else { return }
    module.attributes["kv_layout"] = .word(chosen.rawValue)
    context.noteChange()
  }
}
