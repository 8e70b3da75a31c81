import CDustin
import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The KV cache of one sequence: memory for every region of the program and the number of committed positions.
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
    let bytes = try product(model.program.cacheBytesPerPosition, capacity, of: "a KV cache of \(positions) positions")
    memory = try Memory(count: bytes, for: "a KV cache of \(positions) positions")
  }

  /// Positions that are still free.
  public var free: Int { limit - length }

  /// The next `count` rows, written by the last step, stay.
  /// - Throws: `DiagnosticError` with id `context` when they do not fit.
  public func commit(_ count: Int) throws {
    guard count >= 0, count <= free else { throw full(by: count) }
    length += count
  }

  /// Forgets the positions from `length` on; a greater length than the present one changes nothing.
  public func truncate(to length: Int) {
    self.length = min(self.length, max(length, 0))
  }

  /// An independent copy of the committed positions; the memory behind them is zero.
  ///
  /// - Parameter positions: Limit of the copy; default: the same. Must hold the committed positions.
  public func fork(positions: Int? = nil) throws -> KVCache {
    let copy = try KVCache(model, positions: positions ?? limit)
    guard copy.limit >= length else { throw copy.full(by: length) }
    let block = DUSTIN_BLOCK
    let used = (length + block - 1) / block * block
    var offset = 0  // bytes a position of the regions before
    for region in model.program.cacheRegions {
      let headBytes = region.dim * region.elementBytes
      for head in 0..<region.heads {
        let start = offset + head * headBytes
        memcpy(copy.memory.base + start * copy.capacity, memory.base + start * capacity, used * headBytes)
      }
      offset += region.bytesPerPosition
    }
    copy.length = length
    return copy
  }

  func full(by count: Int) -> DiagnosticError {
    DiagnosticError(
      "context", "the context is full: \(length) of \(limit) positions are taken and \(count) more do not fit")
  }

  /// The cached bytes of some positions in canonical order, whatever the layout: `[position][region][head][dim]`.
  ///
  /// Two caches hold the same bits exactly when these are equal; slots behind the committed positions do not count.
  /// - Throws: `DiagnosticError` with id `context` when positions are not committed.
  public func bits(ofPositions range: Range<Int>) throws -> [UInt8] {
    guard range.lowerBound >= 0, range.upperBound <= length else {
      throw DiagnosticError("context", "positions \(range) are not all committed: the cache holds \(length)")
    }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(range.count * model.program.cacheBytesPerPosition)
    for position in range {
      var offset = 0
      for region in model.program.cacheRegions {
        for head in 0..<region.heads {
          let start = memory.base + (offset + head * region.dim * region.elementBytes) * capacity
          for d in 0..<region.dim {
            let element = start + region.byteOffset(position: position, dim: d)
            for byte in 0..<region.elementBytes { bytes.append(element.load(fromByteOffset: byte, as: UInt8.self)) }
          }
        }
        offset += region.bytesPerPosition
      }
    }
    return bytes
  }
}

extension Program.CacheRegion {
  /// Where an element lies inside its head: keys in blocks `[dim/u][16][u]`, values in blocks `[16/u][dim][u]`, with
  /// u = 2 for bf16 and 1 for f32.
  public func byteOffset(position: Int, dim d: Int) -> Int {
    let block = DUSTIN_BLOCK
    let u = element == .bf16 ? 2 : 1
    let slot = position % block
    let inside = isKeys ? (d / u * block + slot) * u + d % u : (slot / u * dim + d) * u + slot % u
    return (position / block * block * dim + inside) * elementBytes
  }
}
