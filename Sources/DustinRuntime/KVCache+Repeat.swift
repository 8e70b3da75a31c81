import CDustin

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension KVCache {
  /// Makes the sequence longer by copies of its own positions, one behind the other: for measuring times behind contexts
  /// that nobody has read. What a model says behind such a cache means nothing.
  ///
  /// - Parameter target: Positions afterwards, in whole blocks of 16 behind the present ones.
  /// - Throws: `DiagnosticError` with id `context` when they do not fit, or when less than a block is there.
  public func repeatPositions(to target: Int) throws {
    let block = DUSTIN_BLOCK
    let source = length / block * block
    guard source > 0, target <= limit else { throw full(by: max(1, target - length)) }
    if target <= length { return }
    var offset = 0  // bytes a position of the regions before
    for region in model.program.cacheRegions {
      let parts = region.layout == .packed ? region.heads : 1
      let bytes = region.bytesPerPosition / parts
      for part in 0..<parts {
        let base = memory.base + (offset + part * bytes) * capacity
        var filled = source
        while filled < target {
          let count = min(source, (target - filled + block - 1) / block * block, capacity - filled)
          memcpy(base + filled * bytes, base, count * bytes)
          filled += count
        }
      }
      offset += region.bytesPerPosition
    }
    try commit(target - length)
  }
}
