import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The names of a folder's entries, sorted, without those that begin with a dot.
///
/// - Throws: `DiagnosticError` with id `file` that names the folder and the reason.
func namesInFolder(_ path: String) throws -> [String] {
  guard let folder = opendir(path) else {
    throw DiagnosticError("file", "cannot open the folder '\(path)': \(String(cString: strerror(errno)))")
  }
  defer { closedir(folder) }
  var names: [String] = []
  while let entry = readdir(folder) {
    let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    if !name.hasPrefix(".") { names.append(name) }
  }
  return names.sorted()
}

func isFolder(_ path: String) -> Bool {
  var status = stat()
  return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
}
