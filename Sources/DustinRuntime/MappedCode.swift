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
  public convenience init(_ image: CodeImage) throws {
    try self.init(count: image.bytes.count, entryOffset: image.entryOffset) {
      let flags = MAP_PRIVATE | MAP_ANONYMOUS
      guard let pages = Self.pages(image.bytes.count, PROT_READ | PROT_WRITE, flags, -1, 0) else { return nil }
      image.bytes.withUnsafeBytes { bytes in
        if let start = bytes.baseAddress { pages.copyMemory(from: start, byteCount: bytes.count) }
      }
      guard mprotect(pages, image.bytes.count, PROT_READ | PROT_EXEC) == 0 else {
        munmap(pages, image.bytes.count)
        return nil
      }
      return pages
    }
  }

  /// Maps an image that lies in an open file: pages that never run are never read.
  ///
  /// - Parameters:
  ///   - descriptor: May be closed afterwards. The file must keep its length while the code is in use.
  ///   - offset: A multiple of the page size.
  /// - Throws: `DiagnosticError` with id `code` when the file does not hold the range or the system refuses.
  public convenience init(descriptor: Int32, offset: Int, count: Int, entryOffset: Int) throws {
    var status = stat()
    guard fstat(descriptor, &status) == 0, offset >= 0, count >= 0, count <= Int(status.st_size),
      offset <= Int(status.st_size) - count, offset % sysconf(Int32(_SC_PAGESIZE)) == 0
    else { throw DiagnosticError("code", "the file has no pages of code at \(offset)") }
    try self.init(count: count, entryOffset: entryOffset) {
      Self.pages(count, PROT_READ | PROT_EXEC, MAP_PRIVATE, descriptor, offset)
    }
  }

  private init(count: Int, entryOffset: Int, _ map: () -> UnsafeMutableRawPointer?) throws {
    guard entryOffset >= 0, entryOffset < count else {
      throw DiagnosticError("code", "the entry of \(count) bytes of code cannot be at \(entryOffset)")
    }
    guard let pages = map() else {
      throw DiagnosticError("code", "cannot map \(count) bytes of code: \(String(cString: strerror(errno)))")
    }
    base = pages
    size = count
    entry = unsafeBitCast(UnsafeRawPointer(pages + entryOffset), to: dustin_entry.self)
  }

  deinit { munmap(base, size) }

  private static func pages(
    _ count: Int, _ protection: Int32, _ flags: Int32, _ descriptor: Int32,
    _ offset: Int
  ) -> UnsafeMutableRawPointer? {
    guard let pages = mmap(nil, count, protection, flags, descriptor, offset), pages != MAP_FAILED else {
      return nil
    }
    return pages
  }
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
