import DustinSupport

/// One option of a run: how it is spelt, what it is for, and what it sets. `dustin run` takes its texts from here, and an
/// executable its reader too.
package struct RunOption: Sendable {
  /// `-n`, `--predict`, …: the short one first.
  package let names: [String]
  /// What the help calls the value; nil for a flag.
  package let value: String?
  package let help: String
  /// Nil: all is well. Otherwise what the value should be.
  let set: @Sendable (inout RunSettings, String) -> String?

  fileprivate init(
    _ names: [String], _ value: String? = nil, _ help: String,
    _ set: @escaping @Sendable (inout RunSettings, String) -> String?
  ) {
    self.names = names
    self.value = value
    self.help = help
    self.set = set
  }
}

extension RunOption {
  package static let prompt = text(["-p", "--prompt"], "text", "The text to continue.", \.prompt)
  package static let file = text(
    ["-f", "--file"], "file", "A file with the text to continue; '-' is standard input.", \.file)
  package static let promptIds = text(
    ["--prompt-ids"], "file", "A file with a JSON array of token ids to continue.", \.promptIds)
  package static let prompts = text(
    ["--prompts"], "file",
    "A file of prompts, one JSON object a line: 'prompt' or 'prompt_ids', 'id', 'max_new_tokens'.",
    \.prompts)
  package static let promptLimit = whole(
    ["--prompt-limit"], "n", "Reads only the first tokens of the prompt."
  ) { $0.promptLimit = $1 }
  package static let count = whole(
    ["-n", "--predict", "--n-predict"], "n", "Most new tokens; 0 only reads the prompt."
  ) { $0.count = $1 }
  package static let contextSize = whole(
    ["-c", "--ctx-size"], "n", "Most tokens of prompt and answer together; default: what fits, up to the model's limit."
  ) { $0.contextSize = $1 }
  package static let threads = whole(
    ["-t", "--threads"], "n", "Threads; default: one for each core that the process may use."
  ) { $0.threads = $1 }
  package static let draftMax = whole(
    ["--draft-max"], "n", "Tokens that the draft proposes a round; 0 decodes without it."
  ) { $0.draftMax = $1 }
  package static let batchSize = whole(
    ["--batch-size"], "n", "Prompts of --prompts that run at the same time."
  ) { $0.batchSize = $1 }
  package static let temperature = number(
    ["--temp"], "x", "Temperature; 0 takes the most probable token.", "a number", Float.self
  ) { $0.sampling.temperature = $1 }
  package static let topK = whole(
    ["--top-k"], "k", "Samples from the k most probable tokens only; 0: from all."
  ) { $0.sampling.topK = $1 }
  package static let topP = number(
    ["--top-p"], "x", "Samples from the most probable tokens that reach this sum; 1: from all.", "a number", Float.self
  ) { $0.sampling.topP = $1 }
  package static let minP = number(
    ["--min-p"], "x", "Samples from tokens with this share of the best one's probability.", "a number", Float.self
  ) { $0.sampling.minP = $1 }
  package static let seed = number(
    ["-s", "--seed"], "n", "Seed of the random numbers.", "a whole number from 0 up", UInt64.self
  ) { $0.sampling.seed = $1 }
  package static let stop = RunOption(
    ["--stop"], "text", "Ends the text before this string; may be repeated."
  ) { settings, text in
    settings.stop.append(text)
    return nil
  }
  package static let exact = flag(
    ["--exact"],
    "With a preset: its tokens are only proposed, and dense passes decide; the text is that of the model itself.",
    \.exact)
  package static let ignoreEos = flag(["--ignore-eos"], "Goes on behind the tokens that end a text.", \.ignoreEos)
  package static let json = flag(["--json"], "Prints one JSON object instead of the text.", \.json)
  package static let noStream = flag(["--no-stream"], "Prints the text when it is complete.", \.noStream)
  package static let quiet = flag(["-q", "--quiet"], "Prints no figures.", \.quiet)
  package static let progress = flag(
    ["--progress"], "Shows how far a long prompt is read although standard error is no terminal.", \.progress)
  package static let logits = text(
    ["--logits"], "file", "Writes the logits behind the prompt: little-endian f32, one per token of the vocabulary.",
    \.logits)

  /// In the order of the help.
  package static let all = [
    prompt, file, promptIds, promptLimit, prompts, count, contextSize, threads, draftMax, batchSize, temperature, topK,
    topP, minP, seed, stop, exact, ignoreEos, json, noStream, quiet, progress, logits,
  ]

  private typealias Field<Value> = WritableKeyPath<RunSettings, Value> & Sendable

  private static func text(
    _ names: [String], _ value: String, _ help: String, _ field: Field<String?>
  ) -> RunOption {
    RunOption(names, value, help) { settings, text in
      settings[keyPath: field] = text
      return nil
    }
  }

  private static func flag(_ names: [String], _ help: String, _ field: Field<Bool>) -> RunOption {
    RunOption(names, nil, help) { settings, _ in
      settings[keyPath: field] = true
      return nil
    }
  }

  private static func whole(
    _ names: [String], _ value: String, _ help: String, _ set: @escaping @Sendable (inout RunSettings, Int) -> Void
  ) -> RunOption {
    number(names, value, help, "a whole number", Int.self, set)
  }

  private static func number<Number: LosslessStringConvertible & Sendable>(
    _ names: [String], _ value: String, _ help: String, _ kind: String, _: Number.Type,
    _ set: @escaping @Sendable (inout RunSettings, Number) -> Void
  ) -> RunOption {
    RunOption(names, value, help) { settings, text in
      guard let number = Number(text) else { return kind }
      set(&settings, number)
      return nil
    }
  }
}

/// Arguments that cannot be understood: exit 64.
package struct UsageError: Error {
  package let message: String

  package init(_ message: String) { self.message = message }
}

/// What an executable's arguments ask for.
package struct RunRequest: Sendable {
  package enum Kind: Sendable { case run, help, version, info, check }

  package var kind = Kind.run
  package var settings = RunSettings()
  /// What only executables are asked.
  package var application = ApplicationOptions()

  private static let cpu = "--cpu"
  private static let weights = "--weights"
  /// The options that only executables have: name, value, text, and what it asks for if that is another thing than a run.
  private static let others: [(names: [String], value: String?, help: String, kind: Kind?)] = [
    ([cpu], "level", "The code to run; default: the best that the CPU can.", nil),
    ([weights], "file", "Where weights lie that are not in the executable.", nil),
    (["--info"], nil, "Says what the executable was made from, with --json as an object.", .info),
    (["--check"], nil, "Reads all of the file, the program itself too, and tells whether it is undamaged.", .check),
    (["--version"], nil, "Prints the version and the CPU level.", .version),
    (["-h", "--help"], nil, "Prints this.", .help),
  ]

  /// - Parameter arguments: without the program's name.
  /// - Throws: `UsageError` that names the argument.
  package init(_ arguments: [String]) throws {
    var rest = arguments[...]
    while let argument = rest.popFirst() {
      guard argument.hasPrefix("-"), argument != "-" else {
        throw UsageError("'\(argument)' belongs to no option; a text to continue goes behind -p, a file behind -f")
      }
      // `--seed=3`; a short option's value stands by itself.
      let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let isJoined = argument.hasPrefix("--") && parts.count == 2
      let name = isJoined ? String(parts[0]) : argument
      let option = RunOption.all.first { $0.names.contains(name) }
      let other = Self.others.first { $0.names.contains(name) }
      guard option != nil || other != nil else {
        let names = (RunOption.all.map(\.names) + Self.others.map(\.names)).joined()
        let hint = suggestion(for: name, in: names)
        throw UsageError("there is no option '\(name)'\(hint)")
      }
      var value = isJoined ? String(parts[1]) : nil
      if let what = option?.value ?? other?.value {
        value = value ?? rest.popFirst()
        guard value != nil else { throw UsageError("'\(name)' needs a value: \(name) <\(what)>") }
      } else if value != nil {
        throw UsageError("'\(name)' takes no value")
      }
      if let option {
        if let kind = option.set(&settings, value ?? "") {
          throw UsageError("'\(name)' takes \(kind), not '\(value ?? "")'")
        }
      } else {
        try set(name, value ?? "", other?.kind)
      }
    }
  }

  private mutating func set(_ name: String, _ value: String, _ kind: Kind?) throws {
    switch name {
    case Self.weights: application.weights = value
    case Self.cpu:
      application.level = CPULevel(rawValue: value)
      let names = CPULevel.allCases.map(\.rawValue)
      guard application.level != nil else {
        let hint = suggestion(for: value, in: names)
        throw UsageError("there is no CPU level '\(value)', only \(names.joined(separator: ", "))\(hint)")
      }
    // Whoever asks for help along with other things wants help.
    default: if let kind, self.kind != .help { self.kind = kind }
    }
  }

  /// The table for people.
  package static func help(program: String) -> String {
    let options = RunOption.all.map { ($0.names, $0.value, $0.help) } + others.map { ($0.names, $0.value, $0.help) }
    return "Continues texts. Text goes to standard output as it comes, figures to standard error.\n\n"
      + "usage: \(program) (-p <text> | -f <file> | --prompt-ids <file> | --prompts <file>) [options]\n\n"
      + options.map { names, value, help in
        "  \(names.joined(separator: ", "))\(value.map { " <\($0)>" } ?? "")\n        \(help)\n"
      }.joined()
  }
}
