import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A file that is mapped, read-only: pages that nobody touches cost nothing, and those that are touched can be dropped
/// again, since the file holds them.
final class FileMapping: @unchecked Sendable {
  // Sendable: never changes after init.
  let bytes: UnsafeRawBufferPointer

  /// - Throws: `DiagnosticError` with id `file`.
  init(_ path: String) throws {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    func failed() -> DiagnosticError {
      DiagnosticError("file", "cannot open '\(path)': \(String(cString: strerror(errno)))")
    }
    guard descriptor >= 0 else { throw failed() }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw failed() }
    guard status.st_mode & S_IFMT == S_IFREG, status.st_size > 0 else {
      throw DiagnosticError("file", "'\(path)' is no file that could hold a model")
    }
    let count = Int(status.st_size)
    guard let base = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), base != MAP_FAILED else { throw failed() }
    bytes = UnsafeRawBufferPointer(start: base, count: count)
  }

  deinit { munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count) }
}

/// A compiled pair as it lies in a file or in memory, with the sections that its table of contents names.
///
///     runner                     the program itself, in front of all; for `--check`
///     info                       what `--info` prints (ApplicationInfo)
///     tokenizer                  the tokenizer
///     ROLE/weights               packed weights, as the kernels of all levels read them
///     ROLE/LEVEL/program, code   a `Program` and its `CodeImage`
package final class ApplicationFile: @unchecked Sendable {
  // Sendable: never changes after init; the memory is only read.
  /// What messages call it.
  package let name: String
  package let table: ContentTable
  private let bytes: UnsafeRawBufferPointer
  /// What keeps the bytes alive.
  private let owner: AnyObject?

  /// - Throws: `DiagnosticError` with id `file`, `damaged`, or `application` when the file holds no application.
  package convenience init(path: String, name: String? = nil) throws {
    let mapping = try FileMapping(path)
    try self.init(mapping.bytes, name: name ?? path, owner: mapping)
  }

  /// - Parameter bytes: stay as they are as long as `owner` lives; nil: for ever.
  package init(_ bytes: UnsafeRawBufferPointer, name: String, owner: AnyObject? = nil) throws {
    guard let table = try ContentTable(bytes, name) else {
      // The runner alone ends where its own headers say; what is longer once was an application.
      if let header = ELFHeader(bytes), header.sections.range(in: bytes.count)?.upperBound == bytes.count {
        throw DiagnosticError(
          "application", "'\(name)' holds no model: it is the runner that executables begin with",
          notes: [.note("'dustin compile -m MODEL -o APP' makes an executable")])
      }
      throw DiagnosticError(
        "damaged", "'\(name)' is damaged: its end is missing, or something stands behind it",
        notes: [.note("compile or copy it anew")])
    }
    self.name = name
    self.table = table
    self.bytes = bytes
    self.owner = owner
  }

  package func section(_ name: String) throws -> ContentTable.Section {
    guard let section = table.sections.first(where: { $0.name == name }) else {
      throw DiagnosticError("damaged", "'\(self.name)' is damaged: it has no section '\(name)'")
    }
    return section
  }

  /// A section where it lies; compared with its checksum if it is one that is.
  func view(_ name: String) throws -> UnsafeRawBufferPointer {
    let section = try section(name)
    guard !section.isElsewhere else {
      throw DiagnosticError("damaged", "'\(self.name)' is damaged: its section '\(name)' should lie in it")
    }
    let view = UnsafeRawBufferPointer(rebasing: bytes[section.offset..<section.offset + section.count])
    if section.isChecked { try compare(section, view) }
    return view
  }

  func bytes(_ name: String) throws -> [UInt8] { Array(try view(name)) }

  func code(_ name: String) throws -> CodeImage {
    CodeImage(bytes: try bytes(name), entryOffset: try section(name).entryOffset)
  }

  private func compare(_ section: ContentTable.Section, _ view: UnsafeRawBufferPointer) throws {
    var sum = Checksum()
    sum.add(view)
    guard sum.value == section.checksum else {
      throw DiagnosticError(
        "damaged", "'\(name)' is damaged: its section '\(section.name)' was changed",
        notes: [.note("compile or copy it anew")])
    }
  }

  /// Reads everything that lies in this file.
  /// - Throws: `DiagnosticError` with id `damaged` that names the first section that was changed.
  package func check() throws {
    var done = 0
    let all = table.sections.filter { !$0.isElsewhere }
    let total = all.reduce(0) { $0 + $1.count }
    var bar = ProgressBar("checking", unit: "MB")
    defer { bar.clear() }
    for section in all {
      try checkInterruption()
      try compare(section, UnsafeRawBufferPointer(rebasing: bytes[section.offset..<section.offset + section.count]))
      done += section.count
      bar.update(done >> 20, of: total >> 20)
    }
  }
}
