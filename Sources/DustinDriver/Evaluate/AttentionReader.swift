import DustinIR
import DustinSupport

/// Through which set a layer's verification reads.
struct AttentionReader {
  /// The name that the program keeps the set under; nil: the layer reads everything.
  let set: String?
  let keyHeads: Int

  /// The attentions of `verify`, layer by layer.
  ///
  /// - Throws: `DiagnosticError` with id `attention` for a form that is not known.
  static func all(of model: LoadedModel) throws -> [AttentionReader] {
    guard let function = model.module.function("verify") else { return [] }
    return try function.body.filter { $0.name == "attend" }.map { operation in
      guard let keys = operation[group: "cache"].first, keys.type.rank == 3,
        let keyHeads = keys.type.shape[1].fixedValue
      else { throw DiagnosticError("attention", "an attention of '\(model.path)' has an unknown form") }
      guard let set = operation[group: "after"].first else { return AttentionReader(set: nil, keyHeads: keyHeads) }
      // Sets that functions pass on go by their own name, the others by that of their function too.
      let isPassedOn = function.arguments.contains(set) || function.returns.contains(set)
      let name = isPassedOn ? set.name : "\(function.name)/\(set.name)"
      guard model.compiled.program.sequenceValues.contains(where: { $0.name == name }) else {
        throw DiagnosticError("attention", "the set '\(set.name)' of '\(model.path)' is not kept")
      }
      return AttentionReader(set: name, keyHeads: keyHeads)
    }
  }
}
