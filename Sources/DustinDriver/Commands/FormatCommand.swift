import ArgumentParser
import DustinRunner
import DustinSupport

struct FormatCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fmt", abstract: "Prints modules in the canonical form; comments stay.")

  @Flag(name: [.customShort("i"), .long], help: "Rewrites the files instead of printing.")
  var inPlace = false
  @Argument(help: "The .dust files; '-' is standard input.")
  var files: [String]

  func validate() throws {
    if inPlace, files.contains("-") { throw ValidationError("-i needs files: standard input cannot be rewritten.") }
  }

  func run() throws {
    for file in files {
      let source = try readSource(file)
      let text = try Formatter.format(source)
      if !inPlace {
        try Console.current.write(text)
      } else if Array(text.utf8) != source.utf8 {
        try writeFileAtomically(file, bytes: Array(text.utf8))
      }
    }
  }
}
