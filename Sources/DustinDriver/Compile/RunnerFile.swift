import DustinRunner
import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The program that every executable begins with, or the object that bundles are made of; `make build` links both,
/// statically, beside the tool.
struct RunnerFile {
  enum Kind {
    case program, object

    /// The types of ELF files that it may be: of programs, linked to a fixed place (EXEC) or to any (DYN), or of objects
    /// (REL).
    var types: [UInt16] {
      switch self {
      case .program: [2, 3]
      case .object: [1]
      }
    }

    /// Names beside the tool, in the order of preference: where the whole package was built, the plain name is that of a
    /// program that needs Swift's libraries.
    var names: [String] {
      switch self {
      case .program: ["dustin-runner-static", "dustin-runner"]
      case .object: ["dustin-runtime.o"]
      }
    }
  }

  let path: String
  let bytes: [UInt8]

  /// - Parameter given: `--runner`; nil: the one beside the tool.
  /// - Throws: `DiagnosticError` with id `runner` that says how to get one.
  init(_ kind: Kind, _ given: String?) throws {
    let paths = try given.map { [$0] } ?? Self.beside(Self.folders(), kind.names)
    var problem: DiagnosticError?
    for path in paths {
      let bytes = try readFile(path, limit: 1 << 30)
      let found = Self.problem(of: bytes, path, kind)
      problem = problem ?? found
      if found == nil {
        self.bytes = bytes
        self.path = path
        return
      }
    }
    throw problem ?? Self.failed("there is no runner", "")
  }

  private static func beside(_ folders: [String], _ names: [String]) throws -> [String] {
    let found = folders.flatMap { folder in names.map { "\(folder)/\($0)" } }.filter(fileExists)
    guard found.isEmpty else { return found }
    throw failed("there is no '\(names[0])' beside the tool", folders.first.map { " in '\($0)'" } ?? "")
  }

  /// Where the tool lies: by the kernel, and by the name that it was started with.
  private static func folders() -> [String] {
    var paths: [String] = []
    for name in ["/proc/self/exe"] + CommandLine.arguments.prefix(1) {
      guard let resolved = realpath(name, nil) else { continue }
      paths.append(String(cString: resolved))
      free(resolved)
    }
    return paths.compactMap { path in path.lastIndex(of: "/").map { String(path[..<$0]) } }
  }

  private static func failed(_ message: String, _ place: String) -> DiagnosticError {
    DiagnosticError(
      "runner", "\(message)\(place), and what is compiled begins with it",
      notes: [.note("'make build' makes one beside the tool; --runner FILE names another place")])
  }

  private static func problem(of bytes: [UInt8], _ path: String, _ kind: Kind) -> DiagnosticError? {
    let mark = Array(runnerMark.utf8)
    guard bytes.contains(mark) else {
      let other = bytes.contains(Array("DUSTIN RUNNER ".utf8))
      return failed(other ? "'\(path)' is the runner of another version of dustin" : "'\(path)' is no runner", "")
    }
    let trailer = bytes.suffix(ContentTable.trailerBytes)
    guard !trailer.starts(with: ContentTable.magic) else {
      return failed("'\(path)' is an executable that holds a model already", "")
    }
    guard let header = ELFHeader(bytes), kind.types.contains(header.type) else {
      return failed("'\(path)' is no \(kind == .program ? "program" : "object file") of Linux", "")
    }
    guard !needsInterpreter(bytes, header) else {
      return failed("'\(path)' is linked dynamically and would need Swift's libraries wherever it runs", "")
    }
    return nil
  }

  /// Whether a program asks for a dynamic linker.
  private static func needsInterpreter(_ bytes: [UInt8], _ header: ELFHeader) -> Bool {
    guard header.segments.rowBytes > 0, let table = header.segments.range(in: bytes.count) else { return false }
    let interpreter: UInt32 = 3
    return bytes.withUnsafeBytes { memory in
      stride(from: table.lowerBound, to: table.upperBound, by: header.segments.rowBytes).contains {
        memory.number(UInt32.self, at: $0) == interpreter
      }
    }
  }
}

extension [UInt8] {
  /// Whether `part`, which is not empty, stands somewhere in the bytes.
  fileprivate func contains(_ part: [UInt8]) -> Bool {
    withUnsafeBytes { all in
      part.withUnsafeBytes { part in
        guard let start = all.baseAddress, let wanted = part.baseAddress else { return false }
        var next = 0
        while all.count - next >= part.count {
          guard let found = memchr(start + next, Int32(part[0]), all.count - next) else { return false }
          next = found - UnsafeMutableRawPointer(mutating: start)
          if all.count - next >= part.count, memcmp(found, wanted, part.count) == 0 { return true }
          next += 1
        }
        return false
      }
    }
  }
}
