import DustinIR
import DustinSupport

/// What an op's implementation is given: the operands' values, and the extents that its results must have.
public struct OpEvaluation {
  public let operation: Operation
  let values: [Interpreter.Argument]
  /// The shapes of the results; a cache's first extent is its committed length, and a set's extent is -1 when the op
  /// decides it.
  public let resultShapes: [[Int]]

  public var attributes: AttributeList { operation.attributes }

  /// The only value of an operand group, or the one at `index`, which must be a tensor.
  public func tensor(_ group: String = "", _ index: Int = 0) throws -> Tensor {
    guard case .tensor(let tensor) = try value(group, index) else {
      throw error("'\(operation.name)' cannot read a cache as a tensor")
    }
    return tensor
  }

  /// The value of an operand group, which must be a whole cache that no append has overwritten.
  public func cache(_ group: String, _ index: Int) throws -> KVCacheTensor {
    let cache = try cacheVersion(group, index)
    guard cache.positions == nil else {
      throw error("'\(operation.name)' needs a whole cache in its group '\(group)', not gathered positions")
    }
    guard cache.length == cache.storage.length else {
      throw error("'\(operation.name)' cannot work behind speculated rows, only read what is committed before them")
    }
    return cache.storage
  }

  /// The value of an operand group, which must be a cache or a view of one that no append has overwritten.
  public func cacheVersion(_ group: String, _ index: Int) throws -> Cache {
    guard case .cache(let cache) = try value(group, index) else {
      throw error("'\(operation.name)' needs a cache in its group '\(group)'")
    }
    if cache.isStale {
      throw error(
        "'\(operation.name)' reads a version of a cache that an append has replaced; caches are used linearly")
    }
    return cache
  }

  public func tensors(_ group: String) throws -> [Tensor] {
    try operation[group: group].indices.map { try tensor(group, $0) }
  }

  /// A float result in its element type; `fill` gets zeroless memory for all its numbers.
  func floatResult(_ index: Int = 0, _ fill: (UnsafeMutablePointer<Float>) throws -> Void) rethrows -> Tensor {
    let shape = resultShapes[index]
    let count = shape.reduce(1) { $0 * max(0, $1) }
    let floats = try [Float](unsafeUninitializedCapacity: max(1, count)) { buffer, filled in
      if let base = buffer.baseAddress, count > 0 { try fill(base) }
      filled = count
    }
    return Tensor(operation.results[index].type.element, shape, rounding: floats)
  }

  func error(_ message: String) -> DiagnosticError { DiagnosticError("evaluation", message, at: operation.location) }

  private func value(_ group: String, _ index: Int) throws -> Interpreter.Argument {
    var start = 0
    for operands in operation.groups {
      if operands.label == group {
        guard index < operands.values.count else { break }
        return values[start + index]
      }
      start += operands.values.count
    }
    throw error("'\(operation.name)' lacks operand \(index) of its group '\(group)'")
  }
}

extension Tensor {
  /// Calls `body` with the floats; a pointer to nothing readable when there are none.
  func withFloats<Result>(_ body: (UnsafePointer<Float>) throws -> Result) rethrows -> Result {
    try floats.withUnsafeBufferPointer { buffer in
      if let base = buffer.baseAddress { return try body(base) }
      var nothing: Float = 0
      return try body(&nothing)
    }
  }
}

/// The implementation of one op: its results, in order, with the shapes that the evaluation states.
public typealias OpImplementation = @Sendable (OpEvaluation) throws -> [Interpreter.Argument]
