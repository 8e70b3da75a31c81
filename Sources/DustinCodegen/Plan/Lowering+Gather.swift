import DustinIR
import DustinSupport

extension FunctionLowering {
  /// Adds what an op reads of a sequence's cache to what a step of the function reads.
  mutating func note(_ read: CacheRead?) {
    guard let read else { return }
    if read.isAttention { reads.densePerPosition += read.bytes }
    guard let set = read.set, let number = sequenceValues[set] else {
      reads.perPosition += read.bytes
      return
    }
    if let index = reads.perSelected.firstIndex(where: { $0.set == number }) {
      reads.perSelected[index].bytes += read.bytes
    } else {
      reads.perSelected.append(Program.CacheReads.Selected(set: number, bytes: read.bytes))
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
  }

  /// The regions in which a group's caches lie as rows: as many regions behind the packed ones as there are of those.
  func rowArguments(_ op: Operation, group: String = "cache") throws -> [KernelPlan.Argument] {
    try op[group: group].map { cache in
      guard let region = regions[cache] else { throw unsupported("'%\(cache.name)' is not a cache argument", op) }
      return regionArgument(plan.program.cacheRegions.count / 2 + region)
    }
  }
}
