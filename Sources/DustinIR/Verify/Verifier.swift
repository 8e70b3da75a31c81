import DustinSupport

/// The rules that every module obeys at its stage; what they are stands in IR/LANGUAGE.md.
public struct Verifier {
  /// Every broken rule, in the order of the module: dims, globals, functions.
  ///
  /// Errors at operations point into the text that the operation came from. When a pass has made the operation, a note
  /// shows the function with an arrow under the line instead.
  public static func diagnostics(for module: Module) -> [Diagnostic] {
    var context = ModuleContext(module)
    return context.check() + functionDiagnostics(for: module, except: [])
  }

  /// - Throws: `DiagnosticError` with every broken rule.
  public static func check(_ module: Module) throws {
    let diagnostics = diagnostics(for: module)
    guard diagnostics.isEmpty else { throw DiagnosticError(diagnostics) }
  }

  /// What is wrong inside of functions; the parser has looked at everything else.
  static func functionDiagnostics(for module: Module, except skipped: Set<Int>) -> [Diagnostic] {
    var context = ModuleContext(module)
    var diagnostics: [Diagnostic] = []
    var passed = SequenceRules.Passed()
    for (index, function) in module.functions.enumerated() where !skipped.contains(index) {
      var verifier = FunctionVerifier(function, context)
      verifier.check()
      context = verifier.context
      diagnostics += verifier.diagnostics
      let values =
        Array(zip(function.arguments, function.argumentRoles)) + Array(zip(function.returns, function.returnRoles))
      for (value, role) in values {
        guard let message = passed.problem(value, role, in: function) else { continue }
        let title = Lexical.symbol(function.name)
        diagnostics.append(Diagnostic("passed-value", "in '\(title)': \(message)", at: function.location))
      }
    }
    return diagnostics
  }
}

/// What the rules of a function need to know about its module.
struct ModuleContext {
  let module: Module
  private let bounds: [String: Int]
  let globals: Set<ObjectIdentifier>
  /// Types that have been found right; most values share few of them.
  private var goodTypes: Set<TensorType> = []

  init(_ module: Module) {
    self.module = module
    bounds = Dictionary(
      module.dims.map { dim in
        switch dim.rule {
        case .bounded(let bound), .minimum(let bound, _): (dim.name, bound)
        }
      }, uniquingKeysWith: { first, _ in first })
    globals = Set(module.globals.map { ObjectIdentifier($0) })
  }

  /// What is wrong with a type, as id and sentence; nil when nothing is.
  mutating func problem(_ type: TensorType) -> (id: String, message: String)? {
    if goodTypes.contains(type) { return nil }
    for dim in type.shape {
      switch dim {
      case .named(let name):
        if bounds[name] == nil { return ("unknown-dim", "the dim '\(name)' in \(type) is not declared") }
      case .fixed(let value):
        if !DimRules.bounds.contains(value) {
          return ("extent", "an extent must be from 1 to \(DimRules.largestBound), not \(value) in \(type)")
        }
      }
    }
    if DimRules.elementCount(type, bound: { bounds[$0] }) == nil { return ("type-size", DimRules.sizeMessage(type)) }
    goodTypes.insert(type)
    return nil
  }

  /// The rules outside of functions.
  mutating func check() -> [Diagnostic] {
    var diagnostics: [Diagnostic] = []
    for entry in module.attributes.entries {
      if let message = AttributeRules.unwritable(entry.key, entry.value) {
        diagnostics.append(Diagnostic("bad-name", message))
      } else if let message = SequenceRules.moduleAttributeProblem(entry.key, entry.value) {
        diagnostics.append(Diagnostic("module-attribute", message))
      }
    }
    diagnostics += dimDiagnostics()
    var names: Set<String> = []
    for global in module.globals {
      if !names.insert(global.name).inserted {
        diagnostics.append(duplicate("the global '\(Lexical.symbol(global.name))' is declared twice", global.location))
      }
      diagnostics += globalDiagnostics(global)
    }
    names = []
    for function in module.functions where !names.insert(function.name).inserted {
      diagnostics.append(
        duplicate("the function '\(Lexical.symbol(function.name))' is defined twice", function.location))
    }
    return diagnostics
  }

  private func duplicate(_ message: String, _ range: SourceRange?) -> Diagnostic {
    Diagnostic("duplicate-name", message, at: range)
  }

  private func dimDiagnostics() -> [Diagnostic] {
    var diagnostics: [Diagnostic] = []
    var names: Set<String> = []
    for dim in module.dims {
      if !Lexical.isWord(dim.name) {
        diagnostics.append(Diagnostic("bad-name", "'\(dim.name)' cannot be the name of a dim: it is not a word"))
      }
      if !names.insert(dim.name).inserted {
        diagnostics.append(duplicate("the dim '\(dim.name)' is declared twice", nil))
      }
      let bound: Int
      switch dim.rule {
      case .bounded(let value): bound = value
      case .minimum(let value, let other):
        bound = value
        if bounds[other] == nil {
          diagnostics.append(Diagnostic("unknown-dim", "the dim '\(other)' in '\(dim)' is not declared"))
        }
      }
      if !DimRules.bounds.contains(bound) {
        diagnostics.append(
          Diagnostic("dim-bound", "a bound must be from 1 to \(DimRules.largestBound), not \(bound) in '\(dim)'"))
      }
    }
    for index in DimRules.cycles(module.dims) {
      diagnostics.append(Diagnostic("dim-cycle", DimRules.cycleMessage(module.dims[index])))
    }
    return diagnostics
  }

  private mutating func globalDiagnostics(_ global: Global) -> [Diagnostic] {
    let name = Lexical.symbol(global.name)
    if let (id, message) = problem(global.type) {
      return [Diagnostic(id, "the global '\(name)': \(message)", at: global.location)]
    }
    var isConstant = false
    if case .constant = global.content { isConstant = true }
    if let message = GlobalRules.problem(global.type, isConstant: isConstant) {
      return [Diagnostic("global-type", "the global '\(name)': \(message)", at: global.location)]
    }
    if case .constant(let values) = global.content {
      let count = DimRules.elementCount(global.type) { _ in nil } ?? 0
      if values.count != count {
        let message = "the global '\(name)': \(global.type) holds \(count) values, not \(values.count)"
        return [Diagnostic("constant-count", message, at: global.location)]
      }
    }
    return []
  }
}
