#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The bytes of a file.
///
/// - Parameter limit: Longer files are refused (default 4 GiB): what is read here is text, weights are mapped.
/// - Throws: `DiagnosticError` with id `file` that names the file and the reason.
public func readFile(_ path: String, limit: Int = 1 << 32) throws -> [UInt8] {
  try checkPath(path)
  let descriptor = retry { open(path, O_RDONLY | O_CLOEXEC) }
  guard descriptor >= 0 else { throw fileError("cannot open", path) }
  defer { close(descriptor) }
  return try readFile(descriptor: descriptor, name: path, limit: limit)
}

/// What an open file holds from where it stands.
///
/// - Parameter path: what messages call it.
public func readFile(descriptor: Int32, name path: String, limit: Int = 1 << 32) throws -> [UInt8] {
  var status = stat()
  guard fstat(descriptor, &status) == 0 else { throw fileError("cannot read", path) }
  guard status.st_mode & S_IFMT != S_IFDIR else { throw fileError("cannot read", path, EISDIR) }
  // A pipe or a /proc file states no size: the file ends where read says so, never where stat said.
  let isRegular = status.st_mode & S_IFMT == S_IFREG
  guard !isRegular || Int(status.st_size) <= limit else { throw tooLong(path, limit) }
  var bytes: [UInt8] = []
  if isRegular { bytes.reserveCapacity(Int(status.st_size)) }
  var chunk = [UInt8](repeating: 0, count: isRegular ? min(max(Int(status.st_size), 4096), 1 << 20) : 1 << 16)
  while true {
    let count = chunk.withUnsafeMutableBytes { memory in retry { read(descriptor, memory.baseAddress, memory.count) } }
    guard count >= 0 else { throw fileError("cannot read", path) }
    if count == 0 { return bytes }
    guard bytes.count + count <= limit else { throw tooLong(path, limit) }
    bytes.append(contentsOf: chunk[0..<count])
  }
}

/// Writes a file so that its name shows the old bytes or all of the new ones, never a part.
///
/// The bytes go into a temporary file in the same directory, to the disk, and then take the name; after an error the
/// temporary file is gone. A symbolic link is followed; a device or a pipe is written as it stands.
///
/// - Parameter permissions: Of a new file, less the process's umask; an existing file keeps its own, and can be executed
///   afterwards by those who may read it if this says so.
/// - Throws: `DiagnosticError` with id `file` that names the file and the reason.
public func writeFileAtomically(_ path: String, bytes: [UInt8], permissions: UInt32 = 0o666) throws {
  try writeFileAtomically(path, permissions: permissions) { file in
    try bytes.withUnsafeBytes { try file.write($0) }
  }
}

/// The same for what is too long to hold, or comes bit by bit.
///
/// - Parameters:
///   - permissions: Of a new file, less the process's umask; an existing file keeps its own, and can be executed
///     afterwards by those who may read it if this says so.
///   - write: writes it all; what it throws is thrown, and the file stays as it was.
/// - Returns: What `write` returns.
public func writeFileAtomically<Result>(
  _ path: String, permissions: UInt32 = 0o666, _ write: (inout FileWriter) throws -> Result
) throws -> Result {
  try checkPath(path)
  var target = path
  var mode: mode_t?
  var status = stat()
  if stat(path, &status) == 0 {
    guard status.st_mode & S_IFMT != S_IFDIR else { throw fileError("cannot write", path, EISDIR) }
    guard status.st_mode & S_IFMT == S_IFREG else { return try writeThrough(path, write) }
    mode = status.st_mode & 0o7777
    if permissions & 0o100 != 0 { mode = status.st_mode & 0o7777 | 0o100 | (status.st_mode & 0o444) >> 2 }
    if let resolved = realpath(path, nil) {
      target = String(cString: resolved)
      free(resolved)
    }
  }
  let (temporary, descriptor) = try openTemporary(beside: target, for: path, permissions)
  do {
    defer { close(descriptor) }
    var file = FileWriter(descriptor, path)
    let result = try write(&file)
    if let mode, fchmod(descriptor, mode) != 0 { throw fileError("cannot write", path) }
    try file.synchronize()
    guard rename(temporary, target) == 0 else { throw fileError("cannot write", path) }
    return result
  } catch {
    unlink(temporary)
    throw error
  }
}

/// Writes one file from its beginning to its end.
public struct FileWriter {
  private let descriptor: Int32
  private let path: String
  /// Bytes written so far.
  public private(set) var count = 0

  fileprivate init(_ descriptor: Int32, _ path: String) {
    self.descriptor = descriptor
    self.path = path
  }

  public mutating func write(_ bytes: UnsafeRawBufferPointer) throws {
    try writeAll(descriptor, bytes, path)
    count += bytes.count
  }

  public mutating func write(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try write($0) } }

  /// What was written so far is on the disk afterwards.
  public func synchronize() throws {
    // Pipes and devices cannot be, and need not.
    guard fsync(descriptor) == 0 || errno == EINVAL || errno == EROFS else { throw fileError("cannot write", path) }
  }
}

/// Whether the path leads to something; symbolic links are followed.
public func fileExists(_ path: String) -> Bool { access(path, F_OK) == 0 }

/// A new file that nobody else has; O_EXCL decides, the name is only a guess.
private func openTemporary(
  beside target: String, for path: String, _ permissions: UInt32
) throws -> (name: String, descriptor: Int32) {
  for _ in 0..<100 {
    let name = target + ".tmp-" + String(UInt32.random(in: 0 ... .max), radix: 36)
    let descriptor = retry { open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode_t(permissions & 0o7777)) }
    if descriptor >= 0 { return (name, descriptor) }
    guard errno == EEXIST else { break }
  }
  throw fileError("cannot write", path)
}

private func writeThrough<Result>(_ path: String, _ write: (inout FileWriter) throws -> Result) throws -> Result {
  let descriptor = retry { open(path, O_WRONLY | O_CLOEXEC) }
  guard descriptor >= 0 else { throw fileError("cannot write", path) }
  defer { close(descriptor) }
  var file = FileWriter(descriptor, path)
  return try write(&file)
}

private func writeAll(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer, _ path: String) throws {
  var done = 0
  while done < bytes.count {
    let count = retry { write(descriptor, bytes.baseAddress?.advanced(by: done), min(bytes.count - done, 1 << 30)) }
    guard count > 0 else { throw fileError("cannot write", path, count == 0 ? ENOSPC : nil) }
    done += count
  }
}

/// Again while a signal interrupts.
private func retry<Result: SignedInteger>(_ call: () -> Result) -> Result {
  while true {
    let result = call()
    if result != -1 || errno != EINTR { return result }
  }
}

private func checkPath(_ path: String) throws {
  if path.isEmpty { throw DiagnosticError("file", "the name of a file is empty") }
  if path.utf8.contains(0) { throw DiagnosticError("file", "the name of a file contains a NUL character") }
}

private func tooLong(_ path: String, _ limit: Int) -> DiagnosticError {
  DiagnosticError("file", "cannot read '\(path)': it is longer than \(limit) bytes")
}

private func fileError(_ action: String, _ path: String, _ code: Int32? = nil) -> DiagnosticError {
  DiagnosticError("file", "\(action) '\(path)': \(String(cString: strerror(code ?? errno)))")
}
