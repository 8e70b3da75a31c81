import ArgumentParser
import DustinIR
import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// `dustin opt`: what to print or keep of every pass.
struct DumpOptions: ParsableArguments {
  @Option(name: .customLong("print-ir-before"), help: "Dumps the module before a pass; may be repeated.")
  var printBefore: [String] = []
  @Option(name: .customLong("print-ir-after"), help: "Dumps the module after a pass; may be repeated.")
  var printAfter: [String] = []
  @Flag(name: .customLong("print-ir-after-all"), help: "Dumps the module after every pass.")
  var printAfterAll = false
  @Flag(name: .customLong("print-ir-after-change"), help: "Dumps the module after every pass that changed it.")
  var printAfterChange = false
  @Flag(name: .customLong("print-ir-after-failure"), help: "Dumps the module as a failing pass left it.")
  var printAfterFailure = false
  @Flag(help: "Prints what every pass changed as a unified diff.")
  var diff = false
  @Option(
    help: ArgumentHelp(
      "Writes the module after every pass into a file of its own: 001-canonicalize.dust, …", valueName: "dir"))
  var dumpDir: String?
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Positions of the context at which dumps count bytes and FLOPs; default: 32768, or all of a shorter context.",
      valueName: "n"))
  var dumpLength: Int?
  @Flag(help: "Prints the time of every pass.")
  var timing = false
  @Flag(help: "Prints the counters of every pass.")
  var stats = false

  func validate() throws {
    try check("--dump-length", dumpLength, in: 0...1 << 31)
  }

  /// What watches the passes, and what is to be printed behind them.
  struct Watchers {
    let all: [any Instrumentation]
    let finish: () throws -> Void
  }

  func watchers(_ registry: PassRegistry) throws -> Watchers {
    for name in printBefore + printAfter where registry.make(name) == nil {
      throw unknownName("unknown-pass", "pass", name, registry.names)
    }
    let console = Console.current
    let dumps = PassDumps(
      before: printBefore.isEmpty ? .none : .named(Set(printBefore)),
      after: printAfterAll ? .all : printAfter.isEmpty ? .none : .named(Set(printAfter)),
      afterChange: printAfterChange, afterFailure: printAfterFailure
    ) { console.writeError($0) }
    dumps.length = dumpLength
    let (passTiming, statistics) = (PassTiming(), PassStatistics())
    var all: [any Instrumentation] = [dumps]
    if diff { all.append(PassDiffs { console.writeError($0) }) }
    if timing { all.append(passTiming) }
    if stats { all.append(statistics) }
    var folder: DumpFolder?
    if let dumpDir {
      let opened = try DumpFolder(dumpDir)
      all.append(PassFiles(length: dumpLength) { opened.write($0, $1) })
      folder = opened
    }
    return Watchers(all: all) { [timing, stats, folder] in
      if timing { console.writeError(passTiming.report()) }
      if stats { console.writeError(statistics.report()) }
      if let error = folder?.error { throw error }
    }
  }
}

/// The directory of `--dump-dir`.
private final class DumpFolder {
  private let path: String
  /// What went wrong first. A pass does not fail because the disk is full.
  private(set) var error: DiagnosticError?

  /// Makes the directory, or clears it of the dumps of an earlier run: files of two runs would read as one.
  init(_ path: String) throws {
    self.path = path
    if mkdir(path, 0o777) != 0, errno != EEXIST {
      throw DiagnosticError("file", "cannot make the directory '\(path)': \(String(cString: strerror(errno)))")
    }
    guard let stream = opendir(path) else {
      throw DiagnosticError("file", "cannot read the directory '\(path)': \(String(cString: strerror(errno)))")
    }
    defer { closedir(stream) }
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      guard name.prefix(3).allSatisfy(\.isNumber), name.hasSuffix(".dust"),
        let bytes = try? readFile("\(path)/\(name)"), bytes.starts(with: Array("// ---- ".utf8))
      else { continue }
      unlink("\(path)/\(name)")
    }
  }

  func write(_ name: String, _ text: String) {
    guard error == nil else { return }
    do {
      try writeFileAtomically("\(path)/\(name)", bytes: Array(text.utf8))
    } catch let failure as DiagnosticError {
      error = failure
    } catch {
      self.error = DiagnosticError("file", "cannot write '\(path)/\(name)': \(error)")
    }
  }
}
