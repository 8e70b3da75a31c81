import DustinCodegen
import DustinRunner
import DustinRuntime
import DustinSupport
import XCTest

@testable import DustinDriver

/// How an evaluation pairs, stops and goes on.
final class EvaluationTests: XCTestCase {
  /// Says what it is told to, whatever the prompt.
  private final class FakeTarget: EvaluationTarget {
    let mode = EvaluationMode(text: "fake{budget=8}", preset: "fake", budget: 8)
    var answers: [[UInt8]]
    var asked = 0
    let base: PairTarget
    var onGenerate: (Int) -> Void = { _ in }

    init(_ base: PairTarget, answers: [String]) {
      self.base = base
      self.answers = answers.map { Array($0.utf8) }
    }

    func generate(
      _ context: PreparedContext, maxNewTokens: Int, options: GenerationOptions
    ) throws -> Continuation {
      let text = answers[asked % answers.count]
      onGenerate(asked)
      asked += 1
      try checkInterruption()
      return Continuation(tokens: [0, 1], text: text, metrics: RunMetrics())
    }

    func rounds(_ context: PreparedContext, positions: Int, gamma: Int) throws -> any ForcedRounds {
      try base.rounds(context, positions: positions, gamma: gamma)
    }
  }

  private func pair() throws -> (session: EvaluationSession, fake: FakeTarget) {
    let options = LoadOptions(target: try .host())
    let pair = try ModelPair.load(target: target, draft: draft, options: options)
    let base = try PairTarget(
      .dense, target: pair.target, draft: pair.draft, options: options, team: ThreadTeam(threads: 1))
    let fake = FakeTarget(base, answers: ["right", " no", "right"])
    return (
      EvaluationSession(base: base, others: [fake], tokenizer: try XCTUnwrap(pair.tokenizer), gamma: 4), fake
    )
  }

  private func prompt(_ session: EvaluationSession, _ id: Int, _ task: String = "needle") -> EvaluationPrompt {
    let text = "The garden behind the house was full of roses, number \(id)"
    return EvaluationPrompt(
      id: "\(id)", task: task, length: 64, depth: 30, text: text, tokens: session.tokenizer.encode(text),
      answer: "right", answerTokens: [0, 5, 1], maxNewTokens: 3)
  }

  func testProgressWithoutATerminal() throws {
    let (session, _) = try pair()
    for isAsked in [false, true] {
      let console = Console(input: [])
      try Console.$current.withValue(console) {
        let own = EvaluationSession(
          base: session.base, others: [], tokenizer: session.tokenizer, gamma: 4, forcesProgress: isAsked)
        try Evaluation(own).retrieval((0..<2).map { prompt(session, $0) })
      }
      let parts = "retrieval of 64: prompt 1 of 2\nretrieval of 64: prompt 2 of 2\n"
      XCTAssertEqual(
        String(decoding: console.errors, as: UTF8.self), "retrieval of 64: 2 prompts\n" + (isAsked ? parts : ""))
    }
  }

  func testAnswersArePaired() throws {
    let (session, fake) = try pair()
    let evaluation = Evaluation(session)
    try evaluation.retrieval((0..<3).map { prompt(session, $0) } + [prompt(session, 3, "copy")])
    let tally = try XCTUnwrap(evaluation.cell(fake.mode, 64)?.retrieval)
    // The dense target does not say "right" here: two are won.
    XCTAssertEqual([tally.all.count, tally.all.right, tally.all.won, tally.all.lost], [3, 2, 2, 0])
    XCTAssertEqual(tally.byTask["needle"]?.count, 3)
    XCTAssertEqual(tally.byDepth[30]?.right, 2)
    // Of the copy's three tokens two came in order.
    XCTAssertEqual(try XCTUnwrap(tally.copyShare), 2.0 / 3, accuracy: 1e-12)
    let dense = try XCTUnwrap(evaluation.cell(.dense, 64))
    XCTAssertEqual(dense.retrieval?.all.count, 3)
    XCTAssertEqual(dense.retrieval?.all.lost, 0)
    XCTAssertEqual(dense.retrieval?.agreement.mean, 1)
    XCTAssertGreaterThan(dense.answerSpeed?.tokens ?? 0, 0)
    XCTAssertTrue(evaluation.tables.contains("fake{budget=8}"))
    XCTAssertEqual(evaluation.jsonLines.count, 2)
  }

  /// After Ctrl-C whole prompts are kept, and another run does the rest only.
  func testARunStopsAndGoesOn() throws {
    let (session, fake) = try pair()
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/state.json"
    let prompts = (0..<3).map { prompt(session, $0) }
    let first = Evaluation(session, state: try .read(path, settings: ["a"]))
    first.file = path
    defer { interruption.reset() }
    fake.onGenerate = { if $0 == 1 { interruption.cancel() } }
    XCTAssertThrowsError(try first.retrieval(prompts)) { XCTAssertTrue($0 is Interrupted) }
    XCTAssertEqual(first.cell(fake.mode, 64)?.retrieval?.all.count, 1)
    interruption.reset()
    fake.onGenerate = { _ in }

    let state = try EvaluationState.read(path, settings: ["a"])
    XCTAssertEqual(state.done.count, 1)
    let second = Evaluation(session, state: state)
    second.file = path
    try second.retrieval(prompts)
    XCTAssertEqual(second.cell(fake.mode, 64)?.retrieval?.all.count, 3)
    XCTAssertEqual(fake.asked, 4)
    try second.retrieval(prompts)
    XCTAssertEqual(fake.asked, 4)
    XCTAssertEqual(
      Evaluation(session, state: try .read(path, settings: ["a"])).jsonLines.map(\.text), second.jsonLines.map(\.text))

    XCTAssertThrowsError(try EvaluationState.read(path, settings: ["b"])) {
      XCTAssertTrue("\($0)".contains("there it is 'a', here 'b'"), "\($0)")
    }
    let broken = try folder.write("broken.json", "{\"version\": 1}")
    XCTAssertThrowsError(try EvaluationState.read(broken, settings: [])) {
      XCTAssertTrue("\($0)".contains("damaged"), "\($0)")
    }
  }

  /// Dense rounds under another name cost nothing: no token is scored otherwise, and nothing drifts.
  func testForcedDenseRoundsScoreAsDense() throws {
    let (session, fake) = try pair()
    let evaluation = Evaluation(session)
    let text = String(decoding: try readFile("\(root)/examples/books/treasure-island.txt"), as: UTF8.self)
    let tokens = session.tokenizer.encode(Array(text.utf8.prefix(3000)))
    let window = BookWindow(
      book: "b", start: 0, context: Array(tokens[..<200]), continuation: Array(tokens[200..<231]), words: 20)
    var tasks = Evaluation.WindowTasks()
    tasks.perplexity = true
    tasks.recovery = true
    tasks.drift = false
    try evaluation.windows([window], length: 200, tasks: tasks)
    let tally = try XCTUnwrap(evaluation.cell(fake.mode, 200)?.perplexity)
    XCTAssertEqual(tally.loss.count, 31)
    XCTAssertEqual(tally.change, 0)
    XCTAssertEqual(tally.divergence.mean, 0)
    XCTAssertEqual(tally.agreement.mean, 1)
    XCTAssertEqual(tally.loss.mean, evaluation.cell(.dense, 200)?.perplexity?.loss.mean)
    // It reads everything: there are no sets to look at.
    XCTAssertNil(evaluation.cell(fake.mode, 200)?.recovery)
    XCTAssertTrue((1...4).contains(tally.loss.mean), "\(tally.loss.mean)")
  }

  /// A preset's rounds through the runtime: with a budget above the length, bit for bit the dense scores.
  func testAPresetWithRoomForEverythingScoresAsDense() throws {
    var options = LoadOptions(target: try .host())
    let pair = try ModelPair.load(target: target, draft: draft, options: options)
    let team = try ThreadTeam(threads: 1)
    let base = try PairTarget(.dense, target: pair.target, draft: pair.draft, options: options, team: team)
    options.contextSize = nil
    let factory = evaluationPairs(target: target, draft: draft, options: options)
    let modes = try EvaluationMode.list(presets: ["dustin", "streaming-llm"], budgets: [64, 512]).dropFirst()
    let others = try modes.map { mode in
      let made = try factory(mode.text)
      return try PairTarget(mode, target: made.target, draft: made.draft, options: options, team: team)
    }
    let session = EvaluationSession(
      base: base, others: others, tokenizer: try XCTUnwrap(pair.tokenizer), gamma: 4)
    let evaluation = Evaluation(session)
    let text = String(decoding: try readFile("\(root)/examples/books/treasure-island.txt"), as: UTF8.self)
    let tokens = session.tokenizer.encode(Array(text.utf8.prefix(3000)))
    let window = BookWindow(
      book: "b", start: 0, context: Array(tokens[..<300]), continuation: Array(tokens[300..<331]), words: 20)
    var tasks = Evaluation.WindowTasks()
    tasks.perplexity = true
    tasks.recovery = true
    tasks.recoveryRounds = 3
    tasks.drift = true
    tasks.driftTokens = 24
    tasks.plainTokens = 8
    try evaluation.windows([window], length: 300, tasks: tasks)
    for cell in evaluation.cells where !cell.mode.isDense {
      let tally = try XCTUnwrap(cell.perplexity, cell.mode.text)
      let recovery = try XCTUnwrap(cell.recovery, cell.mode.text)
      XCTAssertEqual(recovery.byRow.first?.count, 3)
      XCTAssertLessThanOrEqual(recovery.mean, recovery.oracle + 1e-6, cell.mode.text)
      if cell.mode.budget == 512 {
        XCTAssertEqual(tally.change, 0, cell.mode.text)
        XCTAssertEqual(tally.divergence.mean, 0, accuracy: 1e-12, cell.mode.text)
        XCTAssertEqual(recovery.mean, 1, accuracy: 1e-5, cell.mode.text)
        XCTAssertEqual(cell.drift?.meanEqualTokens, 24, cell.mode.text)
        XCTAssertEqual(cell.drift?.meanAgreement, 1, cell.mode.text)
      } else {
        XCTAssertGreaterThan(tally.divergence.mean, 0, cell.mode.text)
        XCTAssertLessThan(recovery.mean, 1, cell.mode.text)
      }
    }
  }
}
