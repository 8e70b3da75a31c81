import DustinSupport

extension Engine {
  /// What a prefill leaves: logits after the last row of each sequence, or fewer if it was cancelled.
  public struct Prefilled {
    /// False when the cancel flag stopped it; what is in the caches then is committed and consistent.
    public var isComplete = true
    /// f32[vocabulary] per sequence, in the order of the call; empty unless they were asked for and it is complete.
    public var logits: [[Float]] = []
  }

  /// Feeds prompts in tiles of the function's `maxRows`, one sequence after the other, a tile taking the end of one and
  /// the start of the next. Commits as it goes, and leaves the last row of each sequence for the functions that take it.
  ///
  /// - Parameters:
  ///   - progress: Called after each tile with the tokens done and in all.
  /// - Throws: As `step`, before anything is computed.
  public func prefill(
    _ rows: [StepRows], function name: String = "prefill", wantLogits: Bool = true, cancel: CancelFlag? = nil,
    progress: ((Int, Int) -> Void)? = nil
  ) throws -> Prefilled {
    let function = try model.function(name)
    let total = rows.reduce(0) { $0 + $1.tokens.count }
    guard function.ids != nil, rows.allSatisfy({ $0.length == nil }) else {
      throw DiagnosticError("step", "a prefill needs a function of tokens, and feeds them behind all positions")
    }
    if wantLogits { _ = try function.result("logits") }
    // All errors of the caller first: a cache must not be half full because a later prompt is too long.
    try check(rows, for: function)
    var result = Prefilled()
    if wantLogits { result.logits = Array(repeating: [], count: rows.count) }
    var done = 0
    for tile in Self.split(rows.map(\.tokens.count), maxRows: function.maxRows, fillsSteps: true) {
      if cancel?.isCancelled == true {
        return Prefilled(isComplete: false, logits: [])
      }
      let shares = tile.map { piece in
        let tokens = rows[piece.sequence].tokens
        return StepRows(
          rows[piece.sequence].cache,
          tokens[tokens.startIndex + piece.rows.lowerBound..<tokens.startIndex + piece.rows.upperBound])
      }
      let step = try self.step(name, shares)
      for (place, piece) in tile.enumerated() {
        let share = rows[piece.sequence]
        // However the prompt was cut into tiles, its last row is what later functions get.
        if piece.rows.upperBound == share.tokens.count {
          try step.keep(sequence: place, rows: piece.rows.count - 1..<piece.rows.count)
        }
        try share.cache.commit(piece.rows.count)
        done += piece.rows.count
        if wantLogits, piece.rows.upperBound == share.tokens.count {
          result.logits[piece.sequence] = Array(try step.lastLogits(sequence: place))
        }
      }
      progress?(done, total)
    }
    return result
  }
}
