import ArgumentParser
import DustinCodegen
import DustinSupport

/// `--cpu`.
enum CPUChoice: ExpressibleByArgument, Hashable, Sendable, CustomStringConvertible {
  /// The best path of this machine.
  case native
  case level(CPULevel)

  init?(argument: String) {
    if argument == "native" {
      self = .native
    } else {
      guard let level = CPULevel(rawValue: argument) else { return nil }
      self = .level(level)
    }
  }

  static let allValueStrings = ["native"] + CPULevel.allCases.map(\.rawValue)
  /// All of them, for help texts.
  static let list = allValueStrings.dropLast().joined(separator: ", ") + " or " + (allValueStrings.last ?? "")
  var defaultValueDescription: String { description }
  var description: String {
    switch self {
    case .native: "native"
    case .level(let level): level.rawValue
    }
  }

  /// The path that code is made for; this machine may be unable to run it.
  func target() throws -> CPUTarget {
    switch self {
    case .native: try .host()
    case .level(let level): CPUTarget(level)
    }
  }

  /// The path, if this machine can run its code.
  func runnableTarget() throws -> CPUTarget {
    let target = try target()
    guard CPULevel.runnable.contains(target.level) else {
      throw DiagnosticError(
        "unsupported-cpu", "this CPU cannot run the path '\(target)'; its best is '\(try CPUTarget.host())'")
    }
    return target
  }
}
