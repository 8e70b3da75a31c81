import DustinCodegen
import DustinRunner
import DustinRuntime
import DustinSupport
import XCTest

@testable import DustinDriver

/// When the lines of `dustin run --prompts` come.
final class PromptLinesTests: XCTestCase {
  private func generator() throws -> Generator {
    let pair = try ModelPair.load(
      target: "\(root)/Tests/Fixtures/llama", options: LoadOptions(target: try .host()))
    return try Generator(pair.runnable(), team: ThreadTeam(threads: 1), options: GenerationOptions())
  }

  private func prompts(_ counts: [Int]) -> [Prompt] {
    counts.enumerated().map { Prompt(id: .int($0), tokens: [1, 2, 3], maxNewTokens: $1) }
  }

  private func ids(_ console: Console) throws -> [Int?] {
    try String(decoding: console.output, as: UTF8.self).split(separator: "\n").map {
      try json(String($0))["id"]?.intValue
    }
  }

  func testALineComesWhenItAndAllBeforeAreDone() throws {
    let generator = try generator()
    let console = Console(input: [])
    // After each step of prompt 2: the lines that are there.
    var seen: [[Int?]] = []
    generator.onEvent = { number, _ in if number == 2 { seen.append((try? self.ids(console)) ?? [nil]) } }
    try Console.$current.withValue(console) {
      try PromptLines(generator, batchSize: 4).run(prompts([3, 1, 6, 2]), maxNewTokens: 9)
    }
    XCTAssertEqual(seen, [[], [], [], [0, 1], [0, 1], [0, 1]])
    XCTAssertEqual(try ids(console), [0, 1, 2, 3])
    let counts = try String(decoding: console.output, as: UTF8.self).split(separator: "\n").map {
      try json(String($0)).tokens.count
    }
    XCTAssertEqual(counts, [3, 1, 6, 2])
  }

  /// The figures of an early line are those of whole rounds.
  func testAnEarlyLineHasItsKVFigures() throws {
    let generator = try generator()
    let console = Console(input: [])
    try Console.$current.withValue(console) {
      try PromptLines(generator, batchSize: 2).run(prompts([2, 5]), maxNewTokens: 9)
    }
    for line in String(decoding: console.output, as: UTF8.self).split(separator: "\n") {
      let bytes = try json(String(line))["kv"]?["target"]?["bytes_read_per_token"]?.doubleValue
      XCTAssertGreaterThan(bytes ?? 0, 0, String(line))
    }
  }

  func testCtrlCKeepsWhatIsDone() throws {
    let generator = try generator()
    let console = Console(input: [])
    defer { interruption.reset() }
    generator.onEvent = { number, event in if number == 4, event.tokens.count > 0 { interruption.cancel() } }
    XCTAssertThrowsError(
      try Console.$current.withValue(console) {
        // The first batch is done; in the second one prompt 3 is, but not prompt 2 before it.
        try PromptLines(generator, batchSize: 2).run(prompts([2, 3]) + prompts([9, 1, 9]), maxNewTokens: 9)
      }
    ) { XCTAssertTrue($0 is Interrupted) }
    XCTAssertEqual(try ids(console), [0, 1, 0, 1])
  }
}
