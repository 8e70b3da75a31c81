import CDustin
import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension KVCache {
  /// A copy of the committed positions for another program of the same model: what one program has read, others that
  /// round alike go on from. Copies in rows are made where the other program wants some and this one has none. Signals,
  /// sets and kept rows stay behind: they are each program's own.
  ///
  /// - Parameter positions: Limit of the copy; default: the same. Must hold the committed positions.
  /// - Throws: `DiagnosticError` with id `cache` when the programs do not keep the same keys and values.
  public func fork(for other: CompiledModel, positions: Int? = nil) throws -> KVCache {
    let mine = model.program.cacheRegions
    let theirs = other.program.cacheRegions
    guard mine.filter({ $0.layout == .packed }) == theirs.filter({ $0.layout == .packed }) else {
      throw DiagnosticError("cache", "what one model has read is of no use to a model with other keys and values")
    }
    let copy = try KVCache(other, positions: positions ?? limit)
    guard copy.limit >= length else { throw copy.full(by: length) }
    let block = DUSTIN_BLOCK
    let used = (length + block - 1) / block * block
    let packed = theirs.count { $0.layout == .packed }
    var offset = 0  // bytes a position of the regions before
    var starts: [Int] = []
    for (number, region) in theirs.enumerated() {
      starts.append(offset)
      if number < mine.count {
        let parts = region.layout == .packed ? region.heads : 1
        let bytes = region.bytesPerPosition / parts
        for part in 0..<parts {
          let start = offset + part * bytes
          memcpy(copy.memory.base + start * copy.capacity, memory.base + start * capacity, used * bytes)
        }
      } else {
        copy.fillRows(region, at: offset, from: starts[number - packed], length)
      }
      offset += region.bytesPerPosition
    }
    try copy.commit(length)
    return copy
  }

  /// Writes a region of rows from the packed region that it is a copy of; offsets in bytes a position.
  private func fillRows(_ region: Program.CacheRegion, at offset: Int, from source: Int, _ count: Int) {
    var packed = region
    packed.layout = .packed
    let size = region.elementBytes
    for head in 0..<region.heads {
      let from = memory.base + (source + head * region.dim * size) * capacity
      let to = memory.base + offset * capacity + head * region.dim * size
      for position in 0..<count {
        let row = to + position * region.bytesPerPosition
        for d in 0..<region.dim {
          let element = packed.byteOffset(position: position, dim: d)
          if size == 2 {
            row.storeBytes(
              of: from.load(fromByteOffset: element, as: UInt16.self), toByteOffset: 2 * d, as: UInt16.self)
          } else {
            row.storeBytes(
              of: from.load(fromByteOffset: element, as: UInt32.self), toByteOffset: 4 * d, as: UInt32.self)
          }
        }
      }
    }
  }
}
