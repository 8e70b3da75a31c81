import DustinIR
import DustinSupport

/// Decides where numbers are rounded, and writes every rounding down as a `cast`.
///
///     fast   bf16 weights, caches and dot inputs; f32 accumulation, softmax and residual:
///       %y = linear %x, weight(@w)            →   %x1 = cast %x : bf16;  %w1 = cast @w : bf16
///                                                 %y = linear %x1, weight(%w1)
///       %kc1, %vc1 = append %k, %v, cache(…)  →   … = append (cast %k), (cast %v), cache(…)   bf16 caches
///       %a = attend %q, cache(%kc1, %vc1)     →   %a = attend (cast %q), cache(…) {probs = bf16}
///     f32    everything in f32, weights as in the file: nothing changes but the declaration.
///
/// Norm gains and biases stay as in the file and are read as f32 in both. This is the only pass that may change numbers
/// on purpose; it runs once per function, and `fidelity` does not change: exact means exact at these numerics.
public struct DecideNumerics: Pass {
  public enum Mode: String, CaseIterable, PassOptionValue { case f32, fast }

  public let name = "numerics"
  public let summary = "Decides where numbers round and inserts the casts."
  @PassOption("mode", "f32: weights as in the file, the rest in f32; fast: bf16 weights, caches and dot inputs")
  public var mode = Mode.fast

  public init() {}

  public func run(on module: Module, context: PassContext) throws {
    try context.require(.tensor, of: module)
    for function in module.functions {
      let wanted: Numerics = mode == .fast ? .fast : .f32
      if function.numerics == wanted { continue }
      guard function.numerics == .abstract else {
        throw DiagnosticError(
          "numerics-decided",
          "numerics: @\(function.name) is already \(function.numerics.rawValue), it cannot become \(wanted.rawValue)",
          at: context.place(of: function, in: module))
      }
      function.numerics = wanted
      context.noteChange()
      if mode == .fast {
        context.rewrite(function) { rewriter in
          retypeCaches(rewriter)
          insertCasts(rewriter)
        }
      }
    }
  }

  private func retypeCaches(_ rewriter: Rewriter) {
    let caches = rewriter.function.arguments + rewriter.operations.flatMap(\.results)
    for cache in caches where cache.isCache && cache.type.element == .f32 {
      rewriter.retype(cache, cache.type.with(element: .bf16))
    }
  }

  private func insertCasts(_ rewriter: Rewriter) {
    var casts: [Value: Value] = [:]
    var lastWeightCast: Operation?

    /// The value in bf16; one cast per value, above its first use. Casts of weights go to the start of the body, so
    /// that fusion may move their users up.
    func rounded(_ value: Value, for user: Operation) -> Value {
      if value.type.element == .bf16 { return value }
      if let known = casts[value] { return known }
      let cast = Operation(
        .cast, [OperandGroup("", [value])], results: [(value.name + ".bf16", value.type.with(element: .bf16))])
      if value.global == nil {
        rewriter.insert(cast, before: user)
      } else {
        if let above = lastWeightCast { rewriter.insert(cast, after: above) } else { rewriter.insertAtStart(cast) }
        lastWeightCast = cast
      }
      casts[value] = cast.result
      rewriter.context.count(value.global != nil ? "weight-casts" : "row-casts")
      return cast.result
    }
    func round(_ operation: Operation, _ label: String) {
      let values = operation[group: label].map { rounded($0, for: operation) }
      if values != operation[group: label] { rewriter.update(operation) { operation[group: label] = values } }
    }

    for operation in rewriter.operations {
      switch operation.name {
      case "linear":
        round(operation, "")
        round(operation, "weight")
      case "embed":
        round(operation, "weight")
      case "append":
        round(operation, "")
      case "attend":
        round(operation, "")
        rewriter.update(operation) { operation.attributes["probs"] = .word("bf16") }
      default: break
      }
    }
  }
}
