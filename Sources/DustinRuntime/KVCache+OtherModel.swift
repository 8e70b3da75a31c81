import CDustin
import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension KVCache {
  /// A copy of the committed positions for another program of the same model: one that verifies in another way, or keeps
  /// another set of copies. Signals, sets and kept rows are not taken along, since they are the program's own; for the
  /// cache's own program it is a plain fork, with all of them.
  ///
  /// - Parameter positions: Limit of the copy; default: the same. Must hold the committed positions.
  /// - Throws: `DiagnosticError` with id `cache` when the programs' packed regions differ, `context`, `memory`.
  public func fork(for other: CompiledModel, positions: Int? = nil) throws -> KVCache {
    if other === model { return try fork(positions: positions) }
    let regions = model.program.cacheRegions.prefix { $0.layout == .packed }
    let theirs = other.program.cacheRegions
    let copies = theirs.dropFirst(regions.count)
    guard Array(theirs.prefix(regions.count)) == Array(regions), copies.allSatisfy({ $0.layout == .rows }),
      copies.count <= regions.count, zip(copies, regions).allSatisfy({ $0.holdsTheSame(as: $1) })
    else { throw DiagnosticError("cache", "the two programs keep keys and values in different ways") }
    let copy = try KVCache(other, positions: positions ?? limit)
    guard copy.limit >= length else { throw copy.full(by: length) }
    let block = DUSTIN_BLOCK
    let used = (length + block - 1) / block * block
    var offset = 0  // bytes a position of the regions before
    for region in regions {
      let bytes = region.dim * region.elementBytes
      for head in 0..<region.heads {
        let start = offset + head * bytes
        memcpy(copy.memory.base + start * copy.capacity, memory.base + start * capacity, used * bytes)
      }
      offset += region.bytesPerPosition
    }
    var packed = 0
    for (region, _) in zip(regions, copies) {
      copy.fillRows(region, packed: packed, rows: offset, blocks: used / block)
      packed += region.bytesPerPosition
      offset += region.bytesPerPosition
    }
    try copy.commit(length)
    return copy
  }

  /// Writes the rows of a packed region: `[position][head][dim]` from its blocks of 16 positions, keys `[dim/u][16][u]` and
  /// values `[16/u][dim][u]` with u = 2 for bf16 and 1 for f32. In bounds: both regions hold `blocks * 16` positions.
  private func fillRows(_ region: Program.CacheRegion, packed: Int, rows: Int, blocks: Int) {
    let block = DUSTIN_BLOCK
    let element = region.elementBytes
    let width = region.bytesPerPosition
    let headBytes = region.dim * element
    for head in 0..<region.heads {
      let source = memory.base + (packed + head * headBytes) * capacity
      let target = memory.base + rows * capacity + head * headBytes
      for number in 0..<blocks {
        let from = source + number * block * headBytes
        let to = target + number * block * width
        if region.isKeys {
          // Units of four bytes: two bf16 or one f32.
          for unit in 0..<headBytes / 4 {
            for slot in 0..<block {
              let value = from.load(fromByteOffset: (unit * block + slot) * 4, as: UInt32.self)
              to.storeBytes(of: value, toByteOffset: slot * width + unit * 4, as: UInt32.self)
            }
          }
        } else if element == 4 {
          for slot in 0..<block { memcpy(to + slot * width, from + slot * headBytes, headBytes) }
        } else {
          // Pairs of positions, element by element.
          for pair in 0..<block / 2 {
            let (even, odd) = (to + 2 * pair * width, to + (2 * pair + 1) * width)
            for d in 0..<region.dim {
              let value = from.load(fromByteOffset: (pair * region.dim + d) * 4, as: UInt32.self)
              even.storeBytes(of: UInt16(truncatingIfNeeded: value), toByteOffset: 2 * d, as: UInt16.self)
              odd.storeBytes(of: UInt16(truncatingIfNeeded: value >> 16), toByteOffset: 2 * d, as: UInt16.self)
            }
          }
        }
      }
    }
  }
}

extension Program.CacheRegion {
  fileprivate func holdsTheSame(as other: Program.CacheRegion) -> Bool {
    isKeys == other.isKeys && heads == other.heads && dim == other.dim && element == other.element
  }
}
