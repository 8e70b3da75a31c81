import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A file's bytes as read-only memory, loaded by the kernel on first touch; unmapped when the object goes.
///
/// The memory never changes and outlives every use inside the package: `WeightStore` hands out pointers only while it
/// holds the object. A file that somebody shortens while it is mapped faults on access, as with any memory map.
final class MappedFile: @unchecked Sendable {
  let path: String
  let bytes: UnsafeRawBufferPointer

  init(_ path: String) throws {
    self.path = path
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw MappedFile.failure("cannot open", path) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw MappedFile.failure("cannot read", path) }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw DiagnosticError("file", "cannot map '\(path)': it is not a regular file")
    }
    let count = Int(status.st_size)
    guard count > 0 else {
      bytes = UnsafeRawBufferPointer(start: nil, count: 0)
      return
    }
    guard let base = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), base != MAP_FAILED else {
      throw MappedFile.failure("cannot map", path)
    }
    bytes = UnsafeRawBufferPointer(start: base, count: count)
  }

  deinit {
    if let base = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: base), bytes.count) }
  }

  private static func failure(_ action: String, _ path: String) -> DiagnosticError {
    DiagnosticError("file", "\(action) '\(path)': \(String(cString: strerror(errno)))")
  }
}
