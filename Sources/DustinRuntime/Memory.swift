import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Zeroed, page-aligned memory straight from the kernel, given back when its last owner lets go. Pages that nobody
/// touched cost nothing, so a cache may be as long as its context.
public final class Memory: @unchecked Sendable {
  // Sendable: the address and the size never change. Who may write when is the owner's affair.
  public let base: UnsafeMutableRawPointer
  /// Bytes.
  public let count: Int

  /// - Throws: `DiagnosticError` with id `memory` when the kernel refuses.
  public init(count: Int, for purpose: String) throws {
    let size = max(count, 1)
    let address = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | Int32(MAP_NORESERVE), -1, 0)
    guard count >= 0, let address, address != MAP_FAILED else {
      throw DiagnosticError("memory", "cannot get \(count) bytes for \(purpose)")
    }
    // Few positions far from each other: with small pages every one of them would wait for the page table.
    if size >= 4 << 20 { madvise(address, size, Int32(MADV_HUGEPAGE)) }
    base = address
    self.count = size
  }

  deinit { munmap(base, count) }
}

/// The product of sizes that come from a file or a flag.
func product(_ factors: Int..., of purpose: String) throws -> Int {
  var result = 1
  for factor in factors {
    let (next, overflow) = result.multipliedReportingOverflow(by: factor)
    guard !overflow, factor >= 0 else { throw DiagnosticError("memory", "the size of \(purpose) overflows") }
    result = next
  }
  return result
}
