import ArgumentParser
import DustinIR
import DustinPasses
import DustinRunner
import DustinSupport
import DustinTesting

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

struct TestCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "test", abstract: "Runs .dust files as tests.",
    discussion: """
      A test is a module with comments that say what to run and what to expect:

        // RUN: opt -p 'canonicalize,cse'  a command over the file: opt or check
        // CHECK: %a = linear %x           a line of what it prints
        // EXPECT:                         below it, all of what it prints
        // error: text                     behind a line: an error there

      There are also CHECK-NEXT, -SAME, -NOT, -DAG and -LABEL. A pattern may hold {{regex}}, [[NAME:regex]] and [[NAME]]. \
      A file without RUN line must verify and read back as it was printed. --bless writes EXPECT blocks anew. The exit \
      code is 1 if a test fails.
      """)

  @OptionGroup(title: "Passes from outside")
  var plugins: PluginOptions
  @Argument(help: "Test files, and directories whose .dust files are all tests.")
  var paths: [String]
  @Flag(help: "Accepts what commands print: writes EXPECT blocks anew instead of comparing them.")
  var bless = false
  @Flag(name: .shortAndLong, help: "Names every test, not only those that fail.")
  var verbose = false

  func run() throws {
    let console = Console.current
    let test = DustTest(commands: DustTest.commands(passes: .tool), isBlessing: bless || DustTest.blessesByEnvironment)
    // A test that several arguments name runs once.
    var seen: Set<String> = []
    let files = try paths.flatMap(Self.files).filter { seen.insert($0).inserted }
    var failed: [String] = []
    for file in files {
      try checkInterruption()
      do {
        try test.run(path: file)
        if verbose { try console.write("ok      \(file)\n") }
      } catch let error as DiagnosticError {
        failed.append(file)
        console.writeError(error.description + "\n")
        if verbose { try console.write("FAILED  \(file)\n") }
      }
    }
    if !verbose { for file in failed { try console.write("FAILED  \(file)\n") } }
    let count = "\(files.count) test\(files.count == 1 ? "" : "s")"
    try console.write(failed.isEmpty ? "\(count), all passed\n" : "\(count), \(failed.count) failed\n")
    if !failed.isEmpty { throw ExitCode(1) }
  }

  private static func files(_ path: String) throws -> [String] {
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return [path] }
    return try DustTest.files(below: path)
  }
}
