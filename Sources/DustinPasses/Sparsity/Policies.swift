import DustinIR
import DustinSupport

/// Says how long sets are kept and when the target reads everything: module attributes that the runtime follows.
///
///     stage tensor {…}   →   stage tensor {…, refresh = 2, dense_every = 20}
///
/// Legal at any time: `refresh` keeps a set that the tail completes, and a dense correction only makes a sparse module
/// more exact. It needs the dense function that `sparsify-verify` leaves.
public struct Policies: Pass {
  public let name = "policy"
  public let summary = "Says how many rounds a set is kept and after how many tokens everything is read once."
  @PassOption("refresh", "rounds that a set is kept, at least 1: what a question asks for in between is not found")
  public var refresh = 1
  @PassOption("dense-every", "tokens after which they are fed again through dense attention, at most 400; 0: never")
  public var denseEvery = 0

  public init() {}

  public func validate() -> String? {
    if !(1...1_000_000 ~= refresh) { return "policy needs refresh=1 … 1000000, not \(refresh)" }
    return 0...400 ~= denseEvery ? nil : "policy needs dense-every=0 … 400, not \(denseEvery)"
  }

  public func run(on module: Module, context: PassContext) throws {
    if denseEvery > 0 { _ = try context.function("dense", of: module) }
    for (key, value, usual) in [("refresh", refresh, 1), ("dense_every", denseEvery, 0)]
    where (module.attributes.int(key) ?? usual) != value {
      module.attributes[key] = .int(value)
      context.noteChange()
    }
  }
}
