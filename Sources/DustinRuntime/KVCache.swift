import CDustin
import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A sequence as a model holds it: keys and values of its positions, its signals and sets, and the rows that steps left
/// for other functions.
///
/// A step writes behind the committed positions; `commit` makes rows stay, and a rejected row needs no undoing, since
/// the next step writes over it. Not Sendable: one thread at a time.
public final class KVCache {
  public let model: CompiledModel
  /// Positions that may be used.
  public let limit: Int
  /// Positions that the memory holds: `limit` rounded up to whole groups of keys.
  let capacity: Int
  /// Committed positions.
  public private(set) var length = 0
  let memory: Memory
  /// Signals and sets (`Program.SequenceValue`); nil for a program without.
  let values: Memory?
  /// Rows that steps left under the names of their results (`StepResult.keep`).
  var keptRows: [String: KeptRows] = [:]

  /// - Parameter positions: The most positions that the sequence will hold, 1 … 2^31 - 2048.
  /// - Throws: `DiagnosticError` with id `context` for a length that cannot be, `memory` when it cannot be had.
  public init(_ model: CompiledModel, positions: Int) throws {
    // Positions are i32 in the emitted code.
    guard 1...Int(Int32.max) - 2 * DUSTIN_CHUNK ~= positions else {
      throw DiagnosticError("context", "a context of \(positions) tokens is not possible")
    }
    let group = DUSTIN_GROUP
    self.model = model
    limit = positions
    capacity = (positions + group - 1) / group * group
    let purpose = "a KV cache of \(positions) positions"
    let bytes = try product(model.program.cacheBytesPerPosition, capacity, of: purpose)
    memory = try Memory(count: bytes, for: purpose)
    let perPosition = try product(model.program.valueBytesPerPosition, capacity, of: purpose)
    let (all, overflow) = perPosition.addingReportingOverflow(model.program.fixedValueBytes)
    guard !overflow else { throw DiagnosticError("memory", "the size of \(purpose) overflows") }
    values = all == 0 ? nil : try Memory(count: all, for: "the signals and sets of \(positions) positions")
  }

  /// Positions that are still free.
  public var free: Int { limit - length }

  /// The next `count` rows, written by the last step, stay.
  /// - Throws: `DiagnosticError` with id `context` when they do not fit.
  public func commit(_ count: Int) throws {
    guard count >= 0, count <= free else { throw full(by: count) }
    length += count
  }

  /// Forgets the positions from `length` on: their keys and values, what signals say of them, that sets hold them, and
  /// the rows that were kept of them. A greater length than the present one changes nothing.
  public func truncate(to length: Int) {
    let length = min(self.length, max(length, 0))
    forgetValues(from: length)
    for name in Array(keptRows.keys) {
      keptRows[name]?.truncate(to: length)
      if keptRows[name]?.count == 0 { keptRows[name] = nil }
    }
    self.length = length
  }

  /// An independent copy of the committed positions and all that belongs to them; the memory behind them is zero.
  ///
  /// - Parameter positions: Limit of the copy; default: the same. Must hold the committed positions.
  public func fork(positions: Int? = nil) throws -> KVCache {
    let copy = try KVCache(model, positions: positions ?? limit)
    guard copy.limit >= length else { throw copy.full(by: length) }
    let block = DUSTIN_BLOCK
    let used = (length + block - 1) / block * block
    var offset = 0  // bytes a position of the regions before
    for region in model.program.cacheRegions {
      // Packed regions hold one head behind the other, rows a position behind the other.
      let parts = region.layout == .packed ? region.heads : 1
      let bytes = region.bytesPerPosition / parts
      for part in 0..<parts {
        let start = offset + part * bytes
        memcpy(copy.memory.base + start * copy.capacity, memory.base + start * capacity, used * bytes)
      }
      offset += region.bytesPerPosition
    }
    copy.length = length
    copy.takeValues(from: self)
    copy.keptRows = keptRows
    return copy
  }

  func full(by count: Int) -> DiagnosticError {
    DiagnosticError(
      "context", "the context is full: \(length) of \(limit) positions are taken and \(count) more do not fit")
  }
}

/// Rows of one value, in order, that wait for a function that takes them by name.
struct KeptRows: Equatable {
  let element: Program.Element
  /// Bytes of a row.
  let width: Int
  var bytes: [UInt8] = []
  /// Position behind that of the last row.
  var end: Int

  var count: Int { width == 0 ? 0 : bytes.count / width }

  mutating func truncate(to length: Int) {
    guard end > length else { return }
    bytes.removeLast(min(end - length, count) * width)
    end = length
  }
}
