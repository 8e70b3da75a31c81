import ArgumentParser
import DustinModels
import DustinRunner
import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

struct PluginFlagsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plugin-flags", abstract: "Prints the flags with which swiftc builds a plug-in for --load.",
    discussion: """
      swiftc $(dustin plugin-flags) MyPass.swift -o libmypass.so \
      builds a library for this very tool: it is to be built again whenever the tool is.
      """)

  func run() throws {
    var buffer = [CChar](repeating: 0, count: 1 << 12)
    let length = readlink("/proc/self/exe", &buffer, buffer.count)
    guard length > 0 else { throw DiagnosticError("plugin-flags", "the place of this program cannot be found out") }
    let program = String(decoding: buffer[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let folder = program.lastIndex(of: "/").map { String(program[..<$0]) } ?? "."
    let (modules, map) = ("\(folder)/Modules", "\(folder)/CDustin.build/module.modulemap")
    for path in ["\(modules)/DustinIR.swiftmodule", map] where !fileExists(path) {
      throw DiagnosticError(
        "plugin-flags", "'\(path)' is not there: this tool was moved away from what it was built of",
        notes: [.note("ask the tool in its build folder, such as .build/release/dustin")])
    }
    // A shell splits what `$(…)` gives at spaces, whatever quotes stand there.
    guard !folder.contains(where: \.isWhitespace) else {
      throw DiagnosticError("plugin-flags", "the path '\(folder)' has spaces in it, which flags cannot have")
    }
    let flags = ["-swift-version", "6", "-O", "-parse-as-library", "-emit-library", "-I", modules]
    try Console.current.write(
      (flags + ["-Xcc", "-fmodule-map-file=\(map)"]).joined(separator: " ") + "\n")
  }
}
