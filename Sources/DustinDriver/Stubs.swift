import ArgumentParser

struct BenchCommand: ParsableCommand { static let configuration = CommandConfiguration(commandName: "bench") }
struct SelfcheckCommand: ParsableCommand { static let configuration = CommandConfiguration(commandName: "selfcheck") }
