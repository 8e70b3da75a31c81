import DustinIR
import DustinSupport

extension CacheShape {
  /// Bytes of one position's keys and values, all heads.
  var pairBytes: Int { 2 * heads * positionBytes }
}

extension FunctionLowering {
  /// Notes cache bytes that a step reads of every position of a sequence.
  mutating func addRead(perPosition bytes: Int) { reads.perPosition += bytes }

  /// Notes cache bytes that a step reads of each of a set's positions and of those behind it.
  mutating func addRead(perSelected bytes: Int, of set: Int) {
    if let index = reads.perSelected.firstIndex(where: { $0.set == set }) {
      reads.perSelected[index].bytes += bytes
    } else {
      reads.perSelected.append(Program.CacheReads.Selected(set: set, bytes: bytes))
    }
  }

  /// Attention through a set: what `dense` would compute over the set's positions and those behind the last one.
  mutating func lowerGatherAttend(
    _ op: Operation, _ dense: AttendKernel, _ set: Value, _ packed: [KernelPlan.Argument]
  ) throws {
    guard let number = sequenceValues[set], case .set(let bound) = plan.program.sequenceValues[number].kind else {
      throw unsupported("'%\(set.name)' is no set", op)
    }
    let value = plan.program.sequenceValues[number]
    let source: GatherSource = keepsRows ? .rows : .packed
    let kernel = GatherAttendKernel(
      dense: dense, set: SetShape(planes: value.planes, bound: bound, planeBytes: value.setBytes), source: source)
    let place = plan.arguments(ofSequenceValue: number)
    let out = KernelPlan.Argument.arena(try offset(op.result))
    let caches = source == .rows ? try rowArguments(op, group: "tail") : packed
    call(kernel, [.arena(try offset(op.operands[0]))] + caches + place + [out], op)
    call(GatherMergeKernel(attend: kernel), place + [out], op)
    addRead(perSelected: dense.cache.pairBytes, of: number)
  }

  /// The regions in which a group's caches lie as rows: as many regions behind the packed ones as there are of those.
  func rowArguments(_ op: Operation, group: String = "cache") throws -> [KernelPlan.Argument] {
    try op[group: group].map { cache in
      guard let region = regions[cache] else { throw unsupported("'%\(cache.name)' is not a cache argument", op) }
      return regionArgument(plan.program.cacheRegions.count / 2 + region)
    }
  }
}
