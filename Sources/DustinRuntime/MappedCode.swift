import CDustin
import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A `CodeImage` in memory that can be executed and not written; lives as long as the object.
public final class MappedCode: @unchecked Sendable {
  // Sendable: nothing changes after init, and the memory is read-only.
  private let base: UnsafeMutableRawPointer
  private let size: Int
  public let entry: dustin_entry

  /// Copies an image into pages of its own.
  ///
  /// - Throws: `DiagnosticError` with id `code` when the entry lies outside, or the system refuses.
  public init(_ image: CodeImage) throws {
    let count = image.bytes.count
    guard image.bytes.indices.contains(image.entryOffset) else {
      throw DiagnosticError("code", "the entry of \(count) bytes of code cannot be at \(image.entryOffset)")
    }
    func refused() -> DiagnosticError {
      DiagnosticError("code", "cannot map \(count) bytes of code: \(String(cString: strerror(errno)))")
    }
    let flags = MAP_PRIVATE | MAP_ANONYMOUS
    guard let pages = mmap(nil, count, PROT_READ | PROT_WRITE, flags, -1, 0), pages != MAP_FAILED else {
      throw refused()
    }
    image.bytes.withUnsafeBytes { bytes in
      if let start = bytes.baseAddress { pages.copyMemory(from: start, byteCount: count) }
    }
    guard mprotect(pages, count, PROT_READ | PROT_EXEC) == 0 else {
      let error = refused()
      munmap(pages, count)
      throw error
    }
    base = pages
    size = count
    entry = unsafeBitCast(UnsafeRawPointer(pages + image.entryOffset), to: dustin_entry.self)
  }

  deinit { munmap(base, size) }
}

extension CompiledModel {
  /// A model whose code is an image in memory.
  ///
  /// - Throws: as the other `init`, and `DiagnosticError` with id `code` when the code cannot be mapped.
  public convenience init(
    program: Program, code: CodeImage, weights: UnsafeRawPointer?, owners: [AnyObject] = []
  ) throws {
    let code = try MappedCode(code)
    try self.init(program: program, entry: code.entry, weights: weights, owners: owners + [code])
  }
}
