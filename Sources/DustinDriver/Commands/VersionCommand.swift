import ArgumentParser
import DustinCodegen
import DustinRunner

/// What `dustin version` prints.
func versionText() -> String {
  let cpu = (try? CPUTarget.host().name) ?? "none (this CPU lacks SSE4.2)"
  return "dustin 0.1\nLLVM \(llvmVersion())\nCPU path \(cpu)"
}

/// The LLVM that the tool is linked with: `14.0.6`.
func llvmVersion() -> String { Compiler.llvmVersion }

struct VersionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "version", abstract: "Prints the versions of the tool and of LLVM, and the CPU path.")

  func run() throws { try Console.current.write(versionText() + "\n") }
}
