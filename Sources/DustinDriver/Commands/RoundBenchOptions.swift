import ArgumentParser
import DustinRunner
import DustinRuntime
import DustinSupport

/// `dustin bench --preset`: whole rounds, dense against sparse.
struct RoundBenchOptions: ParsableArguments {
  @Option(help: "With --preset: lengths of the contexts, from 64 to 16000000, separated by commas.")
  var lengths = "32768"
  @Option(help: "With --preset: sequences that run at the same time, up to 512, separated by commas.")
  var batches = "1,16"
  @Option(parsing: .unconditional, help: "With --preset: new tokens of every sequence.")
  var tokens = 128
  @Option(parsing: .unconditional, help: "With --preset: tokens that the draft proposes a round.")
  var draftMax = 4
  @Option(help: ArgumentHelp("With --preset: a folder of texts to continue.", valueName: "dir"))
  var books = "examples/books"
  @Option(help: ArgumentHelp("With --preset: plain, dense, sparse, exact, separated by commas.", valueName: "ways"))
  var ways = "plain,dense,sparse,exact"

  func validate() throws {
    try check("--tokens", tokens, in: 1...4096)
    try check("--draft-max", draftMax, in: 1...64)
    _ = try (chosenLengths(), chosenBatches(), chosenWays())
  }

  // Behind the longest there is room for what is generated: a context has 2^24 positions at most.
  private func chosenLengths() throws -> [Int] { try numberList(lengths, "--lengths", in: 64...16_000_000) }
  private func chosenBatches() throws -> [Int] { try numberList(batches, "--batches", in: 1...512) }

  private func chosenWays() throws -> [RoundBenchmark.Way] {
    let names: [(String, RoundBenchmark.Way)] = [
      ("plain", .plain), ("dense", .dense), ("sparse", .sparse), ("exact", .exact),
    ]
    if ways.allSatisfy({ $0 == "," }) { throw ValidationError("--ways is empty.") }
    return try ways.split(separator: ",").map { part in
      guard let way = names.first(where: { $0.0 == part }) else {
        throw ValidationError("--ways takes \(names.map(\.0).joined(separator: ", ")), not '\(part)'.")
      }
      return way.1
    }
  }

  func run(
    _ choice: PresetChoice, target: String, draft: String?, _ machine: MachineOptions, runs: Int, json: Bool
  ) throws {
    let (lengths, batches) = try (chosenLengths(), chosenBatches())
    var options = try machine.loadOptions()
    options.preset = choice.text
    options.isExact = try chosenWays().contains(.exact)
    // Blocks of an exact stack overshoot; beyond the model's own length only times count.
    let longest = (lengths.max() ?? 0) + tokens + 16 * (draftMax + 1)
    options.contextSize = longest
    options.mayBeLonger = true
    options.maxRows = max(options.maxRows, (batches.max() ?? 1) * 16 * (draftMax + 1))
    for note in choice.notes { Console.current.writeError("note: \(note)\n") }
    let pair = try ModelPair.load(target: target, draft: draft, options: options)
    guard let tokenizer = pair.tokenizer else {
      throw pair.tokenizerError ?? DiagnosticError("tokenizer", "'\(pair.target.path)' has no tokenizer.json")
    }
    guard pair.draft != nil else {
      throw DiagnosticError("bench-draft", "rounds need a draft: give one with -md DIR")
    }
    let team = try ThreadTeam(threads: machine.threadCount)
    func limits() throws -> MachineLimits { try MachineLimits(target: options.target, threads: team.count, runs: 20) }
    let before = try limits()
    let readable = pair.target.config.contextLength
    var benchmark = try RoundBenchmark(
      pair, numerics: options.numerics, rates: before.all, team: team, tokens: tokens, gamma: draftMax,
      runs: runs, longestText: min(readable, 32_768))
    let texts =
      try readBooks(books, use: .judge, tokenizer: tokenizer) + readBooks(books, use: .calibrate, tokenizer: tokenizer)
    for length in lengths {
      let windows = try BookWindow.spread(
        over: texts, count: batches.max() ?? 1, length: min(length, benchmark.longestText), continuation: 1,
        decode: { tokenizer.decode($0, skipSpecial: false) })
      try benchmark.run(length: length, batches: batches, windows: windows.map(\.context), ways: try chosenWays())
    }
    let report = RoundBenchReport(
      benchmark: benchmark, limits: before.best(with: try limits()), choice: choice, readable: benchmark.longestText)
    try Console.current.write(json ? report.json.text + "\n" : report.text)
  }
}
