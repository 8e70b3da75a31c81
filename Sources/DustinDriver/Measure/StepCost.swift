import DustinModels
import DustinSupport

/// Bytes and operations that a step cannot do without; they follow from the model and the lengths.
struct StepCost {
  /// Every weight that the rows pass, once, and the positions of the cache, once.
  let bytes: Double
  /// Multiplications and additions of the matrices and of attention.
  let operations: Double

  /// - Parameters:
  ///   - rows: rows of the step, of one sequence.
  ///   - length: committed positions before it.
  ///   - logitRows: rows that go through the output matrix. If they are fewer than `rows`, only they pass what lies
  ///     behind the last layer's attention.
  init(_ model: LoadedModel, rows: Int, length: Int, logitRows: Int) {
    let config = model.config
    let program = model.compiled.program
    let (rows, length, logitRows) = (Double(rows), Double(length), Double(logitRows))
    let heads = Double(config.heads * config.headDim)
    let kvHeads = Double(config.kvHeads * config.headDim)
    let hidden = Double(config.hiddenSize)
    let layers = Double(config.layers)
    let front = hidden * (heads + 2 * kvHeads)
    let back = heads * hidden + 3 * hidden * Double(config.intermediateSize)
    let output = Double(config.vocabSize) * hidden
    // Packed weights have the cache's element type in 'fast'; in 'f32' they keep the file's.
    let total = layers * (front + back) + output + (config.tiesEmbeddings ? 0 : output)
    let bytesPerWeight = Double(program.weightBytes) / max(total, 1)
    bytes =
      (layers * (front + back) + output) * bytesPerWeight + (length + rows) * Double(program.cacheBytesPerPosition)
    let pairs = rows * length + rows * (rows + 1) / 2
    operations =
      2 * rows * (layers * front + (layers - 1) * back) + 2 * logitRows * (back + output) + 4 * layers * heads * pairs
  }

  private init(bytes: Double, operations: Double) {
    self.bytes = bytes
    self.operations = operations
  }

  static func + (a: StepCost, b: StepCost) -> StepCost {
    StepCost(bytes: a.bytes + b.bytes, operations: a.operations + b.operations)
  }

  /// Reading a prompt from the beginning, in tiles.
  static func prefill(_ model: LoadedModel, tokens: Int, tile: Int) -> StepCost {
    var cost = StepCost(bytes: 0, operations: 0)
    for start in stride(from: 0, to: tokens, by: tile) {
      let rows = min(tile, tokens - start)
      cost = cost + StepCost(model, rows: rows, length: start, logitRows: 1)
    }
    return cost
  }

  /// Seconds that the machine needs at least.
  func least(_ rates: MachineLimits.Rates, _ numerics: NumericsChoice) -> Double {
    max(bytes / rates.readBytes, operations / (numerics == .fast ? rates.bf16 : rates.f32))
  }
}
