import CDustin
import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Of the tool, and of what it compiles.
package let dustinVersion = "0.1"

/// Stands in every runner, so that `dustin compile` can tell whether a file is one that reads what it writes: the tool's
/// version, that of `ContentTable` and that of the ABI. One literal, which the file then holds as it is.
package let runnerMark = "DUSTIN RUNNER 0.1, format 1, runtime 3."

/// Runs an executable that `dustin compile` made, and returns its exit code: 0, 1 after an error, 64 for arguments that
/// it does not understand, 130 after Ctrl-C, 141 when the reader of standard output went away.
///
/// - Parameters:
///   - arguments: without the program's name.
///   - path: of the file with the sections; nil: the one that this process was started from.
public func runApplication(_ arguments: [String], path: String? = nil, console: Console = .standard) -> Int32 {
  interruption.reset()
  return Console.$current.withValue(console) {
    do {
      try answer(arguments, path)
      return 0
    } catch {
      if let code = exitCode(after: error, console) { return code }
      console.writeError("error: \(error)\n")
      return 1
    }
  }
}

private func answer(_ arguments: [String], _ given: String?) throws {
  let request = try RunRequest(arguments)
  let console = Console.current
  let own = given.map { (file: $0, shown: $0) } ?? ownPath()
  let name = own.shown.split(separator: "/").last.map(String.init) ?? own.shown
  switch request.kind {
  case .help: return try console.write(RunRequest.help(program: name))
  case .version:
    let level = CPULevel.host.map(\.rawValue) ?? "none that code is made for"
    return try console.write("\(runnerMark)\nCPU level \(level)\n")
  default: break
  }
  let file = try ApplicationFile(path: own.file, name: name)
  let folder = own.shown.lastIndex(of: "/").map { String(own.shown[..<$0]) } ?? "."
  switch request.kind {
  case .check:
    let weights = try file.weightsFile(request.application.weights, folder: folder)
    try file.check()
    if weights !== file { try weights.check() }
    try console.write("all \(file.table.sections.count) sections of '\(name)' are as they were written\n")
  case .info:
    try console.write(request.settings.json ? file.infoJSON().text + "\n" : file.infoText())
  default:
    let info = try file.info()
    if let problem = request.settings.problem(hasDraft: info.models.count > 1, hasPreset: info.preset != nil) {
      throw UsageError(problem)
    }
    catchInterrupts()
    var options = request.application
    options.contextSize = request.settings.contextSize
    try RunSession(try file.load(options, folder: folder), request.settings).run()
  }
}

/// The file of this process, and its path for people. The kernel's link leads to the file even after somebody renamed it;
/// where there is no /proc, as in an empty chroot, it is as it was started.
private func ownPath() -> (file: String, shown: String) {
  let link = "/proc/self/exe"
  if let resolved = realpath(link, nil) {
    defer { free(resolved) }
    return (link, String(cString: resolved))
  }
  if let started = dustin_started_as() {
    return (String(cString: started), String(cString: started))
  }
  let name = CommandLine.arguments.first ?? ""
  return (name, name)
}
