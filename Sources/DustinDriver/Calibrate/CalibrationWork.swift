import DustinRunner
import DustinRuntime
import DustinSupport

/// Measures what a calibration asks for, once: what the journal knows is not measured again, and texts are read only when
/// something is left to be measured.
final class CalibrationWork {
  let plan: CalibrationPlan
  let session: EvaluationSession
  private(set) var journal: CalibrationJournal
  /// Candidates that were measured now, and in all.
  private(set) var measured = 0
  private let programs: CandidatePrograms
  private let first: Candidate
  private let books: [Book]
  private let forcesProgress: Bool
  private var texts: [CalibrationText]?

  init(
    plan: CalibrationPlan, session: EvaluationSession, programs: CandidatePrograms, first: Candidate, books: [Book],
    journal: CalibrationJournal, forcesProgress: Bool
  ) {
    self.plan = plan
    self.session = session
    self.programs = programs
    self.first = first
    self.books = books
    self.journal = journal
    self.forcesProgress = forcesProgress
  }

  private func readTexts() throws -> [CalibrationText] {
    if let texts { return texts }
    let reader = CalibrationReader(
      plan: plan, session: session, programs: programs, first: first, forcesProgress: forcesProgress)
    let read = try reader.read(books, wantsHeads: journal.heads == nil)
    texts = read.texts
    if journal.heads == nil {
      // Prompts whose values have no place of their own say nothing: all heads are alike then.
      func flat(_ model: LoadedModel?) -> HeadScores {
        let layers = model.map { ScoredModel($0).layers } ?? []
        return HeadScores(scores: layers.map { Array(repeating: 0, count: $0.heads) })
      }
      try journal.add(
        target: read.target ?? flat(session.base.target), draft: read.draft ?? flat(session.base.draft))
    }
    return read.texts
  }

  /// The calibration has ended well: nothing is left to go on with.
  func end() throws { try journal.remove() }

  func heads() throws -> (target: HeadScores, draft: HeadScores) {
    if journal.heads == nil { _ = try readTexts() }
    guard let heads = journal.heads else { throw DiagnosticError("heads", "no heads were scored") }
    return heads
  }

  func measure(_ candidate: Candidate, progress: (Int) -> Void) throws -> CandidateResult {
    let text = candidate.text(budget: plan.budget)
    if let known = journal.results[text] { return known }
    try checkInterruption()
    let texts = try readTexts()
    let target = CandidateTarget(try programs.pair(candidate))
    let result = try CandidateMeasurement(session: session, texts: texts).measure(target, progress: progress)
    measured += 1
    try journal.add(text, result)
    return result
  }
}
