import CDustin
import DustinSupport

extension KVCache {
  /// The cached bytes of some positions in canonical order, whatever the layout: `[position][region][head][dim]`.
  ///
  /// Two caches hold the same bits exactly when these are equal; slots behind the committed positions do not count, nor
  /// do copies in rows (`rowCopiesMatch`).
  /// - Throws: `DiagnosticError` with id `context` when positions are not committed.
  public func bits(ofPositions range: Range<Int>) throws -> [UInt8] {
    try check(range)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(range.count * model.program.cacheBytesPerPosition)
    let regions = model.program.cacheRegions.prefix { $0.layout == .packed }
    for position in range { appendBits(regions, offset: 0, position, to: &bytes) }
    return bytes
  }

  /// Whether the copies in rows hold the bits of the packed regions; true for a program without copies.
  /// - Throws: `DiagnosticError` with id `context` when positions are not committed.
  public func rowCopiesMatch(inPositions range: Range<Int>) throws -> Bool {
    try check(range)
    let packed = model.program.cacheRegions.prefix { $0.layout == .packed }
    let copies = model.program.cacheRegions.dropFirst(packed.count)
    if copies.isEmpty { return true }
    let offset = packed.reduce(0) { $0 + $1.bytesPerPosition }
    return range.allSatisfy { position in
      var (a, b): ([UInt8], [UInt8]) = ([], [])
      appendBits(packed, offset: 0, position, to: &a)
      appendBits(copies, offset: offset, position, to: &b)
      return a == b
    }
  }

  private func check(_ range: Range<Int>) throws {
    guard range.lowerBound >= 0, range.upperBound <= length else {
      throw DiagnosticError("context", "positions \(range) are not all committed: the cache holds \(length)")
    }
  }

  /// - Parameter offset: Bytes a position of the regions before these.
  private func appendBits(
    _ regions: ArraySlice<Program.CacheRegion>, offset: Int, _ position: Int, to bytes: inout [UInt8]
  ) {
    var offset = offset
    for region in regions {
      for head in 0..<region.heads {
        for d in 0..<region.dim {
          let element: UnsafeMutableRawPointer
          switch region.layout {
          case .packed:
            let start = memory.base + (offset + head * region.dim * region.elementBytes) * capacity
            element = start + region.byteOffset(position: position, dim: d)
          case .rows:
            let row = memory.base + offset * capacity + position * region.bytesPerPosition
            element = row + (head * region.dim + d) * region.elementBytes
          }
          for byte in 0..<region.elementBytes { bytes.append(element.load(fromByteOffset: byte, as: UInt8.self)) }
        }
      }
      offset += region.bytesPerPosition
    }
  }
}

extension Program.CacheRegion {
  /// Where an element of a packed region lies inside its head: keys in blocks `[dim/u][16][u]`, values in blocks
  /// `[16/u][dim][u]`, with u = 2 for bf16 and 1 for f32.
  public func byteOffset(position: Int, dim d: Int) -> Int {
    let block = DUSTIN_BLOCK
    let u = element == .bf16 ? 2 : 1
    let slot = position % block
    let inside = isKeys ? (d / u * block + slot) * u + d % u : (slot / u * dim + d) * u + slot % u
    return (position / block * block * dim + inside) * elementBytes
  }
}
