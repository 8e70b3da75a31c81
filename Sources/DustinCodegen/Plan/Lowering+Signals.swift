import DustinIR
import DustinSupport

extension FunctionLowering {
  /// More heads, or numbers in a head, than any model has; sizes that are products of them cannot overflow.
  private static let mostHeads = 1 << 12

  mutating func lowerScore(_ op: Operation) throws {
    guard let cache = op[group: "cache"].first, let region = regions[cache] else {
      throw unsupported("'%\(op[group: "cache"].first?.name ?? "")' is not a cache argument", op)
    }
    let keys = plan.program.cacheRegions[region]
    guard keys.isKeys else {
      throw unsupported("'%\(cache.name)' holds values; only keys are scored", op)
    }
    let shape = try scoreShape(op, keys)
    let scale = Float(op.attributes.float("scale") ?? 1)
    let rows: [KernelPlan.Argument] = [.arena(try offset(op.operands[0])), regionArgument(region)]
    let out = try sequencePlace(op.result)
    let onto = try op[group: "onto"].flatMap { try sequencePlace($0) }
    if let block = op.attributes.int("bound") {
      let kernel = ScoreBoundKernel(shape: shape, scale: scale, block: block, hasOnto: !onto.isEmpty)
      call(kernel, rows + out + onto, op)
    } else {
      guard let dot = Dot(rows: shape.cache.element, packed: shape.cache.element, target: plan.target) else {
        throw unsupported("the cache's element type has no kernel", op)
      }
      if let beside = op[group: "beside"].first, beside !== partialsOf {
        throw unsupported("another op uses its scratch between the attention and the score beside it", op)
      }
      let isForManyRows = op.isBesideAttention
      call(ScoreKernel(shape: shape, scale: scale, dot: dot, isForManyRows: isForManyRows), rows, op)
      call(ScoreFactorKernel(shape: shape), [], op)
      call(ScoreSumKernel(shape: shape, hasOnto: !onto.isEmpty), out + onto, op)
    }
    if shape.pool > 1 { call(ScorePoolKernel(shape: shape), out, op) }
    partialBytes = max(partialBytes, shape.partialBytes)
    partialsOf = nil
  }

  private func scoreShape(_ op: Operation, _ keys: Program.CacheRegion) throws -> ScoreShape {
    let q = op.operands[0]
    guard q.type.shape.first == .named("T") else {
      throw unsupported("a signal is made of one row per token (T)", op)
    }
    let queryHeads = q.type.shape[1].fixedValue ?? 0
    guard max(queryHeads, keys.dim) <= Self.mostHeads else {
      throw unsupported("\(queryHeads) heads of \(keys.dim) are more than \(Self.mostHeads)", op)
    }
    var shape = ScoreShape(
      cache: CacheShape(heads: keys.heads, dim: keys.dim, element: try element(q)), queryHeads: queryHeads,
      heads: op.attributes.ints("heads") ?? Array(0..<queryHeads),
      take: op.attributes.word("take").flatMap(ScoreShape.Take.init) ?? .all,
      reduction: op.attributes.word("reduce").flatMap(ScoreShape.Reduction.init) ?? .mean,
      isSplit: op.result.type.rank == 2, pool: op.attributes.int("pool") ?? 1)
    if op.isBesideAttention { shape.before = AttentionState(dim: keys.dim).bytes * queryHeads }
    return shape
  }

  /// What the kernel of an attention makes for the score beside it; nil if there is none.
  func scores(beside attend: Operation) throws -> ScoreShape? {
    let score = function.body.first { $0[group: "beside"].first === attend.result }
    guard let score, let region = score[group: "cache"].first.flatMap({ regions[$0] }) else { return nil }
    return try scoreShape(score, plan.program.cacheRegions[region])
  }

  /// The kernels behind a score, with no rows that score.
  mutating func lowerPool(_ op: Operation) throws {
    let signal = op.operands[0]
    let planes = signal.type.rank == 2 ? signal.type.shape[0].fixedValue ?? 1 : 1
    guard planes <= Self.mostHeads else { throw unsupported("\(planes) planes are more than \(Self.mostHeads)", op) }
    let shape = ScoreShape(
      cache: CacheShape(heads: planes, dim: 16, element: .f32), queryHeads: planes, heads: [], take: .all,
      reduction: .mean, isSplit: signal.type.rank == 2, pool: op.attributes.int("width") ?? 1)
    let out = try sequencePlace(op.result)
    call(ScoreSumKernel(shape: shape, hasOnto: true), out + (try sequencePlace(signal)), op)
    if shape.pool > 1 { call(ScorePoolKernel(shape: shape), out, op) }
    partialBytes = max(partialBytes, shape.partialBytes)
    partialsOf = nil
  }

  mutating func lowerSelect(_ op: Operation) throws {
    let place = try sequencePlace(op.result)
    guard let number = sequenceValues[op.result], case .set(let room) = plan.program.sequenceValues[number].kind else {
      throw unsupported("'%\(op.result.name)' is no set", op)
    }
    let set = plan.program.sequenceValues[number]
    let size = SetSize(of: op.attributes)
    let positions = op.operands.isEmpty ? op[group: "cache"].first?.type.shape.first : op.operands[0].type.shape.last
    let most = min(
      op.operands.isEmpty ? size.kept : size.budget, size.budget, positions.flatMap { module.bound(of: $0) } ?? .max)
    guard room >= most else {
      throw unsupported("'%\(op.result.name)' has room for \(room) positions, but may get \(most) of them", op)
    }
    let share = size.free / max(1, op.operands.count)
    let kernel = SelectKernel(
      signals: op.operands.count, planes: set.planes, budget: size.budget, sink: size.sink, recent: size.recent,
      quotas: op.attributes.ints("quotas") ?? Array(repeating: share, count: max(0, op.operands.count - 1)),
      cover: op.attributes.float("cover") ?? 1, granularity: size.granularity, planeBytes: set.setBytes)
    call(kernel, place + (try op.operands.flatMap { try sequencePlace($0) }), op)
    partialBytes = max(partialBytes, kernel.partialBytes)
    partialsOf = nil
  }

  /// The two words that tell a kernel where a signal or a set lies.
  private func sequencePlace(_ value: Value) throws -> [KernelPlan.Argument] {
    guard let number = sequenceValues[value] else {
      throw unsupported("'%\(value.name)' has no place with the sequence", nil)
    }
    return plan.arguments(ofSequenceValue: number)
  }
}
