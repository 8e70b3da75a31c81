import DustinSupport

extension Function {
  /// A copy of the function at the end of another module; its globals and dims are taken along.
  ///
  /// - Throws: `DiagnosticError` when the other module has a function of that name, or a dim or global of the same name
  ///   that differs. The other module is then unchanged.
  @discardableResult
  public func clone(into target: Module, from source: Module, as name: String? = nil) throws -> Function {
    let name = name ?? self.name
    guard target.function(name) == nil else {
      throw DiagnosticError("duplicate-name", "the module already has a function '\(Lexical.symbol(name))'")
    }
    var used: [Global] = []
    var seen: Set<ObjectIdentifier> = []
    for value in body.flatMap(\.allOperands) + returns {
      if let global = value.global, seen.insert(ObjectIdentifier(global)).inserted { used.append(global) }
    }
    let types = arguments.map(\.type) + body.flatMap(\.results).map(\.type)
    let dims = try source.missingDims(of: types, in: target)
    var fresh: [Global] = []
    var mapping: [Value: Value] = [:]
    for global in used {
      if let existing = target.global(global.name) {
        guard existing.type == global.type, existing.content == global.content else {
          throw DiagnosticError("duplicate-name", "the module has another global '\(Lexical.symbol(global.name))'")
        }
        mapping[global.value] = existing.value
      } else {
        let copy = global.copy()
        fresh.append(copy)
        mapping[global.value] = copy.value
      }
    }
    target.dims += dims
    target.globals += fresh
    let copy = clone(as: name)
    copy.replaceUses(mapping)
    target.functions.append(copy)
    return copy
  }
}

extension Module {
  /// A deep copy: changing one module leaves the other as it is.
  public func copy() -> Module {
    let copy = Module()
    copy.stage = stage
    copy.attributes = attributes
    copy.dims = dims
    var mapping: [Value: Value] = [:]
    for global in globals {
      let clone = global.copy()
      copy.globals.append(clone)
      mapping[global.value] = clone.value
    }
    for function in functions {
      let clone = function.clone(as: function.name)
      clone.replaceUses(mapping)
      copy.functions.append(clone)
    }
    return copy
  }

  /// Takes everything over from another module, which must not be used afterwards.
  public func replaceContents(with other: Module) {
    stage = other.stage
    attributes = other.attributes
    dims = other.dims
    globals = other.globals
    functions = other.functions
  }

  /// The declarations that `types` need and `target` lacks, in the order of this module.
  fileprivate func missingDims(of types: [TensorType], in target: Module) throws -> [DimDeclaration] {
    var wanted: Set<String> = []
    var open: [String] = []
    for case .named(let name) in types.flatMap(\.shape) where wanted.insert(name).inserted { open.append(name) }
    while let name = open.popLast() {
      guard let dim = dims.first(where: { $0.name == name }), case .minimum(_, let other) = dim.rule else { continue }
      if wanted.insert(other).inserted { open.append(other) }
    }
    var missing: [DimDeclaration] = []
    for dim in dims where wanted.contains(dim.name) {
      guard let existing = target.dims.first(where: { $0.name == dim.name }) else {
        missing.append(dim)
        continue
      }
      guard existing == dim else {
        throw DiagnosticError("duplicate-name", "the module declares '\(existing)', the function needs '\(dim)'")
      }
    }
    return missing
  }
}

extension Global {
  fileprivate func copy() -> Global {
    let copy = Global(name, type, content)
    copy.location = location
    return copy
  }
}

extension Function {
  fileprivate func replaceUses(_ mapping: [Value: Value]) {
    for operation in body {
      for group in operation.groups.indices {
        operation.groups[group].values = operation.groups[group].values.map { mapping[$0] ?? $0 }
      }
    }
    returns = returns.map { mapping[$0] ?? $0 }
  }
}
