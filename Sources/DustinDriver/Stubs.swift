import ArgumentParser

struct BenchCommand: ParsableCommand { static let configuration = CommandConfiguration(commandName: "bench") }
struct SelfcheckCommand: ParsableCommand { static let configuration = CommandConfiguration(commandName: "selfcheck") }
struct RunCommand: ParsableCommand { static let configuration = CommandConfiguration(commandName: "run") }
