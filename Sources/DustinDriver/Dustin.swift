import DustinIR
import DustinPasses
import DustinRunner

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The whole command line with passes of one's own: all that a tool's `main.swift` needs.
///
///     import DustinDriver
///
///     Dustin.main(passes: [MyPass.init, MyPreset.init])
///
/// They stand in `passes`, `presets`, pipelines and `--preset` beside the built-in ones.
public enum Dustin {
  /// Runs the process's arguments and ends the process with the command's exit code.
  public static func main(passes: [@Sendable () -> any Pass] = [], pipelines: [NamedPipeline] = []) -> Never {
    openMissingStandardFiles()
    ignoreClosedPipes()
    exit(run(Array(CommandLine.arguments.dropFirst()), passes: passes, pipelines: pipelines))
  }

  /// Runs arguments (without the program's name) and returns the exit code, as `runDustin` does; 1 for a pass whose name
  /// is taken.
  public static func run(
    _ arguments: [String], passes: [@Sendable () -> any Pass] = [], pipelines: [NamedPipeline] = [],
    console: Console = .standard
  ) -> Int32 {
    runDustin(arguments, console: console) { registry in
      try registry.add(passes, from: "this tool")
      for pipeline in pipelines { registry.register(pipeline) }
    }
  }
}
