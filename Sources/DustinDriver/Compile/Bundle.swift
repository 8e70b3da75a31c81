import DustinRunner
import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A directory for programs in C: an object with the runtime and the model's code, its weights, `dustin.h`, a `main.c`
/// that uses them, and a Makefile with the one line that links it.
struct Bundle {
  static let weightsName = "model.weights"

  private let pair: CompiledPair
  private let runtime: RuntimeObject

  init(_ pair: CompiledPair, _ runtime: RuntimeObject) {
    self.pair = pair
    self.runtime = runtime
  }

  /// Before the work, without a change: a directory that holds something is not written into.
  static func checkPlace(_ path: String) throws {
    guard fileExists(path) else { return }
    // The bundle takes the place of an empty directory.
    guard isEmptyDirectory(path) else {
      let what = isDirectory(path) ? "a directory with files in it" : "a file"
      throw DiagnosticError(
        "file",
        "cannot write the bundle '\(path)': \(what) has this name already, and a bundle is a directory of its own",
        notes: [.note("remove '\(path)', or give the name of a new or empty directory to -o")])
    }
  }

  private static func isDirectory(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }

  private static func isEmptyDirectory(_ path: String) -> Bool {
    guard let directory = opendir(path) else { return false }
    defer { closedir(directory) }
    var count = 0
    while readdir(directory) != nil { count += 1 }
    // It itself and its parent.
    return count <= 2
  }

  /// The directory appears when all of it is written; after an error it does not.
  func write(to path: String) throws -> CompiledPair.Written {
    var place = path
    while place.count > 1, place.hasSuffix("/") { place.removeLast() }
    let temporary = "\(place).tmp-\(String(UInt32.random(in: 0 ... .max), radix: 36))"
    func failed() -> DiagnosticError {
      DiagnosticError("file", "cannot write '\(path)': \(String(cString: strerror(errno)))")
    }
    guard mkdir(temporary, 0o777) == 0 else { throw failed() }
    do {
      let result = try writeFiles(to: temporary)
      guard rename(temporary, place) == 0 else { throw failed() }
      return result
    } catch {
      for name in Self.names { unlink("\(temporary)/\(name)") }
      rmdir(temporary)
      throw error
    }
  }

  private static let names = [weightsName, "model.o", "dustin.h", "main.c", "Makefile"]

  private func writeFiles(to folder: String) throws -> CompiledPair.Written {
    var weights = SectionWriter()
    let weightsBytes = try writeFileAtomically("\(folder)/\(Self.weightsName)") { file in
      try pair.writeWeights(&weights, to: &file)
      try weights.finish(&file)
      return file.count
    }
    var sections = SectionWriter()
    var payload = MemorySink()
    try pair.writeHead(&sections, to: &payload)
    sections.refer(to: weights.table)
    try sections.finish(&payload)
    let object = try runtime.adding(payload.bytes)
    try writeFileAtomically("\(folder)/model.o", bytes: object)
    let texts = [
      ("dustin.h", PackageResources.dustin_h), ("main.c", PackageResources.main_c),
      ("Makefile", PackageResources.Makefile),
    ]
    for (name, bytes) in texts { try writeFileAtomically("\(folder)/\(name)", bytes: bytes) }
    return CompiledPair.Written(table: sections.table, bytes: object.count, weightsBytes: weightsBytes)
  }
}
