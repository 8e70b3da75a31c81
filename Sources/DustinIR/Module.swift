import DustinSupport

/// How far a module has been lowered; the verifier's rules follow it. Each op says in which stages it may stand.
public enum Stage: String, Sendable, CaseIterable, Comparable {
  /// The model as the front end describes it: one op per mathematical step.
  case tensor
  /// After fusion: every op is a kernel or a short fixed sequence of kernels.
  case kernel
  /// After `plan-memory`: every row result also carries its place in the arena (`at`, bytes).
  case planned

  public static func < (a: Stage, b: Stage) -> Bool {
    Stage.allCases.firstIndex(of: a)! < Stage.allCases.firstIndex(of: b)!
  }
}

/// `weight @name : bf16[512, 512]`, filled from the model's files, or `constant @name : f32[32] = [..]`.
public final class Global {
  public enum Content: Hashable, Sendable {
    case weight
    case constant([Float])
  }
  public let name: String
  public let content: Content
  public private(set) var value: Value!
  public var location: SourceRange?

  public init(_ name: String, _ type: TensorType, _ content: Content) {
    self.name = name
    self.content = content
    value = Value(global: self, type: type)
  }
  public var type: TensorType { value.type }
}

/// What becomes of a value that functions pass on: of an argument between rounds, of a result after one.
public enum ValueRole: String, Sendable, CaseIterable {
  /// Input of one step: token ids, positions, activations. The default; not printed.
  case plain
  /// A KV cache: appended at commit.
  case cache
  /// One row per in-flight token; the row of the last accepted token is kept.
  case row
  /// One row per in-flight token; those of all accepted tokens of the round are kept.
  case rows
  /// Dropped at the end of the round.
  case round
  /// A signal that the steps of a round add to: zero when a round begins. The n-th result with this role is the next
  /// version of the n-th argument with it, by whose name it goes; what only takes it reads the sum.
  case running
  /// Never changes.
  case `static`
}

/// Whether a function still computes the target's dense distribution.
public enum Fidelity: Hashable, Sendable {
  case exact
  /// The pass that made it approximate.
  case approximate(String)
}

/// Where a function rounds.
public enum Numerics: String, Sendable, CaseIterable {
  /// As the front end wrote it: nothing has been decided.
  case abstract
  /// Weights as in the file, f32 activations, caches and dots.
  case f32
  /// bf16 weights, caches and dot inputs; f32 accumulation, softmax and residual.
  case fast
}

/// `func @verify(%ids: i32[T], …) -> (f32[T, 4096], …) {fidelity = exact, numerics = fast} { … }`; describes one sequence.
public final class Function {
  public let name: String
  public private(set) var arguments: [Value] = []
  public var argumentRoles: [ValueRole] = []
  /// In order; every operand is defined above its use.
  public private(set) var body: [Operation] = []
  public var returns: [Value] = []
  public var returnRoles: [ValueRole] = []
  public var fidelity: Fidelity = .exact
  public var numerics: Numerics = .abstract
  public var location: SourceRange?

  public init(_ name: String) { self.name = name }

  @discardableResult
  public func addArgument(_ name: String, _ type: TensorType, role: ValueRole = .plain) -> Value {
    let value = Value(argumentOf: self, index: arguments.count, type: type, name: name)
    arguments.append(value)
    argumentRoles.append(role)
    return value
  }

  /// Drops arguments that no operation uses and nothing returns.
  public func drop(arguments dropped: Set<Value>) {
    let kept = zip(arguments, argumentRoles).filter { !dropped.contains($0.0) }
    arguments = kept.map(\.0)
    argumentRoles = kept.map(\.1)
    for (index, argument) in arguments.enumerated() { argument.move(toArgument: index) }
  }

  public func addReturn(_ value: Value, role: ValueRole = .plain) {
    returns.append(value)
    returnRoles.append(role)
  }

  /// Puts an operation at the end of the body.
  @discardableResult
  public func append(_ operation: Operation) -> Operation {
    operation.function = self
    body.append(operation)
    return operation
  }

  /// Replaces the whole body; rewriting builds a new list and sets it once.
  public func setBody(_ operations: [Operation]) {
    for operation in body { operation.function = nil }
    for operation in operations { operation.function = self }
    body = operations
  }
}

/// Dims, globals and functions: all that a `.dust` file holds.
public final class Module {
  public var stage: Stage = .tensor
  /// Module attributes, such as `model = "qwen2"`; printed after the stage.
  public var attributes = AttributeList()
  public var dims: [DimDeclaration] = []
  public var globals: [Global] = []
  public var functions: [Function] = []

  public init() {}

  public func function(_ name: String) -> Function? { functions.first { $0.name == name } }
  public func global(_ name: String) -> Global? { globals.first { $0.name == name } }

  /// The largest extent of a dim; nil for a dim that is not declared or defined by itself.
  public func bound(of dim: Dim) -> Int? {
    guard case .named(var name) = dim else { return dim.fixedValue }
    var limit = Int.max
    for _ in dims {
      guard let declaration = dims.first(where: { $0.name == name }) else { return nil }
      switch declaration.rule {
      case .bounded(let bound): return min(limit, bound)
      case .minimum(let number, let other):
        limit = min(limit, number)
        name = other
      }
    }
    return nil
  }
}
