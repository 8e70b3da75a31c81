import DustinIR
import DustinSupport

/// A tensor's numbers in row-major order. bf16 and f16 tensors hold floats that those types can represent.
public struct Tensor: Sendable, Equatable {
  public enum Storage: Sendable, Equatable {
    case floats([Float])
    case ints([Int32])
  }
  public let element: ElementType
  public let shape: [Int]
  public let storage: Storage

  /// A float tensor; `floats` are rounded to `element`. Throws when their count is not that of the shape.
  public init(_ element: ElementType, _ shape: [Int], _ floats: [Float]) throws {
    guard element.isFloat else { throw DiagnosticError("tensor-element", "floats cannot fill a tensor of i32") }
    try Tensor.check(shape, holds: floats.count)
    self.init(element, shape, rounding: floats)
  }

  /// An f32 tensor. Throws when the count of numbers is not that of the shape.
  public init(_ shape: [Int], _ floats: [Float]) throws { try self.init(.f32, shape, floats) }

  /// An i32 tensor. Throws when the count of numbers is not that of the shape.
  public init(_ shape: [Int], ints: [Int32]) throws {
    try Tensor.check(shape, holds: ints.count)
    element = .i32
    self.shape = shape
    storage = .ints(ints)
  }

  /// For ops, whose shapes follow from checked ones.
  init(_ element: ElementType, _ shape: [Int], rounding floats: consuming [Float]) {
    self.element = element
    self.shape = shape
    if element != .f32 {
      floats.withUnsafeMutableBufferPointer { buffer in
        if let base = buffer.baseAddress { round(base, buffer.count, to: element) }
      }
    }
    storage = .floats(floats)
  }

  private init(element: ElementType, shape: [Int], storage: Storage) {
    self.element = element
    self.shape = shape
    self.storage = storage
  }

  /// The same numbers under another shape of the same count.
  func reshaped(_ shape: [Int]) -> Tensor { Tensor(element: element, shape: shape, storage: storage) }

  /// Some rows of it. Throws when it has fewer.
  public func rows(_ range: Range<Int>) throws -> Tensor {
    guard !shape.isEmpty, range.lowerBound >= 0, range.upperBound <= rows else {
      throw DiagnosticError("tensor-range", "there are no rows \(range) in \(typeDescription)")
    }
    let part = range.lowerBound * width..<range.upperBound * width
    let shape = [range.count] + shape.dropFirst()
    return switch storage {
    case .floats(let values): Tensor(element: element, shape: shape, storage: .floats(Array(values[part])))
    case .ints(let values): Tensor(element: element, shape: shape, storage: .ints(Array(values[part])))
    }
  }

  /// The rows of another tensor behind its own. Throws when they differ in type.
  public func joined(_ other: Tensor) throws -> Tensor {
    guard other.element == element, !shape.isEmpty, other.shape.dropFirst() == shape.dropFirst() else {
      throw DiagnosticError("tensor-shape", "rows of \(other.typeDescription) cannot follow \(typeDescription)")
    }
    let shape = [rows + other.rows] + shape.dropFirst()
    return element == .i32
      ? Tensor(element: element, shape: shape, storage: .ints(ints + other.ints))
      : Tensor(element: element, shape: shape, storage: .floats(floats + other.floats))
  }

  /// A signal, [L] or [KV, L], cut to its first positions.
  func columns(upTo count: Int) throws -> Tensor {
    let width = shape.last ?? 0
    guard count < width else { return self }
    let planes = width == 0 ? 0 : self.count / width
    return try Tensor(
      element, shape.dropLast() + [count], (0..<planes).flatMap { floats[$0 * width..<$0 * width + count] })
  }

  /// A set, [S] or [KV, S], without the positions from `end` on; a plane that then has fewer than another ends in -1.
  func positions(below end: Int) throws -> Tensor {
    let width = shape.last ?? 0
    let planeCount = width == 0 ? 0 : count / width
    let planes = (0..<planeCount).map { plane in
      ints[plane * width..<(plane + 1) * width].filter { 0..<end ~= Int($0) }
    }
    let longest = planes.map(\.count).max() ?? 0
    return try Tensor(
      shape.dropLast() + [longest], ints: planes.flatMap { $0 + [Int32](repeating: -1, count: longest - $0.count) })
  }

  /// Empty for an i32 tensor.
  public var floats: [Float] {
    if case .floats(let values) = storage { values } else { [] }
  }
  /// Empty for a float tensor.
  public var ints: [Int32] {
    if case .ints(let values) = storage { values } else { [] }
  }
  public var count: Int {
    switch storage {
    case .floats(let values): values.count
    case .ints(let values): values.count
    }
  }
  /// The first extent; 1 for a scalar.
  public var rows: Int { shape.first ?? 1 }
  /// Numbers in one row.
  public var width: Int { shape.dropFirst().reduce(1, *) }
  /// `bf16[5, 64]`.
  public var typeDescription: String { "\(element.rawValue)[\(shape.map(String.init).joined(separator: ", "))]" }

  private static func check(_ shape: [Int], holds count: Int) throws {
    let text = "[\(shape.map(String.init).joined(separator: ", "))]"
    var product = 1
    for extent in shape {
      guard extent >= 0, extent <= Int32.max else {
        throw DiagnosticError("tensor-shape", "the shape \(text) has an extent outside 0 … \(Int32.max)")
      }
      let (next, overflow) = product.multipliedReportingOverflow(by: extent)
      guard !overflow else { throw DiagnosticError("tensor-shape", "the shape \(text) is too large") }
      product = next
    }
    guard product == count else {
      throw DiagnosticError("tensor-shape", "the shape \(text) holds \(product) numbers, not \(count)")
    }
  }
}

/// Where an interpreter takes a module's weights from.
public protocol WeightSource {
  /// The tensor with its shape, every number widened exactly to f32. Throws a `DiagnosticError` that names it when it
  /// is missing or cannot be read.
  func tensor(named name: String) throws -> Tensor
}

/// Weights in memory, by name.
public struct DictionaryWeights: WeightSource, Sendable {
  public var tensors: [String: Tensor]

  public init(_ tensors: [String: Tensor] = [:]) { self.tensors = tensors }

  public func tensor(named name: String) throws -> Tensor {
    if let tensor = tensors[name] { return tensor }
    let notes = closestName(to: name, in: tensors.keys).map { [Diagnostic.note("did you mean '\($0)'?")] } ?? []
    throw DiagnosticError("unknown-weight", "there is no weight '\(name)'", notes: notes)
  }
}
