import DustinSupport

extension Program.Function {
  /// Calls one behind the other, each of a kernel that exists, and the last ends with the table: emitted code trusts that.
  func validateTable(kernels: Int) throws {
    var next = 0
    while next < table.count {
      guard table.count - next >= 3, table[next] >= 0, table[next] < kernels, 0...1 ~= table[next + 1],
        table[next + 2] >= 0, table[next + 2] <= table.count - next - 3
      else { throw DiagnosticError("program", "the call table of function '\(name)' is damaged at word \(next)") }
      next += 3 + Int(table[next + 2])
    }
  }
}

extension Program {
  func validateSizes() throws {
    for size in [arenaBytes, weightBytes, scratchBytesPerThread] + functions.map(\.partialBytes) where size < 0 {
      throw DiagnosticError("program", "a size of the program is negative: \(size)")
    }
    try validateRegions()
    try validateValues()
    guard policy.refresh >= 1, policy.denseEvery >= 0, 0...Int(Int32.max) ~= policy.observe else {
      throw DiagnosticError("program", "the policy of the rounds is damaged")
    }
  }

  private func validateRegions() throws {
    var total = 0
    for (index, region) in cacheRegions.enumerated() {
      guard region.element != .i32, region.heads > 0, region.dim > 0, region.dim % 2 == 0 else {
        throw DiagnosticError("program", "cache region \(index) has no valid shape")
      }
      let bytes = try product(region.heads, region.dim, region.elementBytes, of: "cache region \(index)")
      let (sum, overflow) = total.addingReportingOverflow(bytes)
      guard !overflow else { throw DiagnosticError("program", "the size of the cache overflows") }
      total = sum
    }
    let packed = cacheRegions.prefix { $0.layout == .packed }
    var copies = cacheRegions.dropFirst(packed.count).map { $0 }
    for index in copies.indices where copies[index].layout == .rows { copies[index].layout = .packed }
    guard
      copies.isEmpty
        || (copies.elementsEqual(packed) && !cacheRegions.dropFirst(packed.count).contains { $0.layout == .packed })
    else { throw DiagnosticError("program", "the cache's rows are no copies of its packed regions") }
  }

  private func validateValues() throws {
    var (fixed, perPosition) = (0, 0)
    var names: Set<String> = []
    for value in sequenceValues {
      let what = "the signal or set '\(value.name)'"
      guard names.insert(value.name).inserted else {
        throw DiagnosticError("program", "\(what) is declared twice")
      }
      guard 1...65_536 ~= value.planes else {
        throw DiagnosticError("program", "\(what) has \(value.planes) planes")
      }
      if case .set(let bound) = value.kind, !(1...Int(Int32.max) ~= bound) {
        throw DiagnosticError("program", "\(what) holds up to \(bound) positions")
      }
      // Below 2^52 each: no overflow before this.
      let (a, first) = fixed.addingReportingOverflow(value.fixedBytes)
      let (b, second) = perPosition.addingReportingOverflow(value.bytesPerPosition)
      guard !first, !second else { throw DiagnosticError("program", "the size of the signals and sets overflows") }
      (fixed, perPosition) = (a, b)
    }
  }

  /// The reads of a function, fit for counting: none is absurd. A program that states none at all reads everything.
  func checkedReads(of function: Function) throws -> CacheReads {
    let all = cacheRegions.reduce(0) { $0 + ($1.layout == .packed ? $1.bytesPerPosition : 0) }
    if functions.allSatisfy({ $0.reads == CacheReads() }) {
      var reads = CacheReads()
      (reads.perPosition, reads.densePerPosition) = (all, all)
      return reads
    }
    let reads = function.reads
    // An op reads a region at most once; a function has no more ops than words in its table.
    let (most, overflow) = all.multipliedReportingOverflow(by: function.table.count + 1)
    let bytes = [reads.perPosition, reads.densePerPosition] + reads.perSelected.map(\.bytes)
    guard bytes.allSatisfy({ $0 >= 0 && (overflow || $0 <= most) }) else {
      throw DiagnosticError("program", "function '\(function.name)' cannot read so many bytes of its caches")
    }
    for selected in reads.perSelected {
      guard sequenceValues.indices.contains(selected.set), case .set = sequenceValues[selected.set].kind else {
        throw DiagnosticError("program", "function '\(function.name)' reads through a set that there is not")
      }
    }
    return reads
  }

  /// Kept rows go from function to function by name: some function must leave such rows.
  func checkSource(of port: ArenaPort, in function: Function) throws {
    let isLeft = functions.contains { other in
      other.results.contains { result in
        guard result.name == port.name, result.role == port.role,
          case .arena(_, _, let count, let element, _) = result.place
        else { return false }
        return count == port.count && element == port.element
      }
    }
    guard isLeft else {
      throw DiagnosticError(
        "program", "no function leaves the rows '\(port.name)' that function '\(function.name)' reads")
    }
  }
}
