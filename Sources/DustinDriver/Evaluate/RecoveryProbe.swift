import DustinRunner
import DustinRuntime
import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Measures attention recovery: of the dense target's attention in a round's rows, the share that falls on the positions
/// that a set holds and on those behind it, averaged over layers and heads (the windowed ARR; one set for the whole round).
///
/// Beside it stands the oracle: the sets of the same sizes, for the same layers and heads, that hold the most of it.
final class RecoveryProbe {
  /// Of one round.
  struct Measured {
    var byRow: [Double]
    var oracleByRow: [Double]
    var byLayer: [Double]
  }

  let model: QueryModel
  private let engine: Engine
  private let gamma: Int
  /// Of the text that was read last: keys [layer][KV head][position][dim], queries [layer][row][head][dim].
  private var keys: [[[Float]]] = []
  private var queries: [[Float]] = []
  /// Position of row 0 of the continuation's rows: that of the last token of the context.
  private var first = 0
  private var rowCount = 0

  convenience init(_ base: PairTarget, gamma: Int) throws {
    try self.init(path: base.target.path, options: base.options, team: base.targetEngine.team, gamma: gamma)
  }

  init(path: String, options: LoadOptions, team: ThreadTeam, gamma: Int) throws {
    model = try QueryModel(path: path, options: options)
    engine = try Engine(model: model.compiled, team: team)
    self.gamma = gamma
  }

  // MARK: Reading

  /// Reads a text and its continuation once, densely, for `round(at:)` and `masses(on:)`; goes on from what the context's
  /// target has read.
  func read(_ context: PreparedContext, continuation: [Int32]) throws {
    let rows = context.tokens.suffix(1) + continuation.dropLast()
    first = context.tokens.count - 1
    rowCount = rows.count
    let positions = first + rows.count
    let known = try context.target.map { try $0.fork(for: model.compiled, positions: max($0.length, positions)) }
    let cache = try known ?? KVCache(model.compiled, positions: positions)
    cache.truncate(to: first)
    if cache.length < first {
      let done = try engine.prefill(
        [StepRows(cache, context.tokens[cache.length..<first])], wantLogits: false, cancel: interruption)
      if !done.isComplete { throw Interrupted() }
    }
    queries = model.layers.map { _ in [] }
    for start in stride(from: 0, to: rows.count, by: 128) {
      try checkInterruption()
      let part = Array(rows.dropFirst(start).prefix(128))
      let step = try engine.step("verify", [StepRows(cache, part)])
      for (index, layer) in model.layers.enumerated() {
        for row in part.indices { queries[index] += floats(try step.bytes(layer.queries, sequence: 0, row: row)) }
      }
      try cache.commit(part.count)
    }
    try readKeys(cache)
  }

  private func readKeys(_ cache: KVCache) throws {
    let regions = model.compiled.program.cacheRegions
    let offsets = regions.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.bytesPerPosition) }
    keys = model.layers.map { layer in
      (0..<layer.keyHeads).map { _ in
        var values: [Float] = []
        values.reserveCapacity(cache.length * layer.dim)
        return values
      }
    }
    for start in stride(from: 0, to: cache.length, by: 256) {
      let range = start..<min(start + 256, cache.length)
      let bytes = try cache.bits(ofPositions: range)
      bytes.withUnsafeBytes { bytes in
        for position in 0..<range.count {
          for (index, layer) in model.layers.enumerated() {
            let headBytes = layer.dim * regions[layer.region].elementBytes
            var offset = position * offsets[regions.count] + offsets[layer.region]
            for head in 0..<layer.keyHeads {
              keys[index][head] += floats(UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + headBytes]))
              offset += headBytes
            }
          }
        }
      }
    }
  }

  private func floats(_ bytes: UnsafeRawBufferPointer) -> [Float] {
    if model.element == .bf16 {
      return (0..<bytes.count / 2).map {
        Float(bitPattern: UInt32(bytes.loadUnaligned(fromByteOffset: 2 * $0, as: UInt16.self)) << 16)
      }
    }
    return (0..<bytes.count / 4).map { bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
  }

  // MARK: Heads

  /// Attention of the continuation's rows that falls on some positions, of every head: [layer][head], summed over rows.
  func masses(on positions: Range<Int>) throws -> [[Double]] {
    let width = first + rowCount
    var plane = Array(repeating: Float(0), count: width)
    var scores = plane
    return try model.layers.enumerated().map { index, layer in
      try checkInterruption()
      return (0..<layer.heads).map { head in
        for position in 0..<width { plane[position] = 0 }
        for row in 0..<rowCount {
          let query = (row * layer.heads + head) * layer.dim
          addProbabilities(
            query: queries[index][query..<query + layer.dim], keys: keys[index][head * layer.keyHeads / layer.heads],
            scale: layer.scale, count: first + row + 1, scores: &scores, to: &plane, at: 0)
        }
        return positions.clamped(to: 0..<width).reduce(0) { $0 + Double(plane[$1]) }
      }
    }
  }

  // MARK: A round

  /// The dense attention of the rows of a round.
  struct Round {
    /// Probability mass of each (layer, KV head): [row][position] in one block, summed over its query heads.
    let planes: [[[Float]]]
    /// Query heads of the KV heads of each layer.
    let headsPerPlane: [Int]
    /// Positions that were committed before the round, and rows.
    let committed: Int
    let rows: Int
    /// Extent of a row of a plane: positions up to the last row's own.
    var width: Int { committed + rows }

    func measure(_ read: ReadSets) -> Measured {
      var byRow = Array(repeating: 0.0, count: rows)
      var oracleByRow = byRow
      var byLayer: [Double] = []
      var heads = 0
      // The planes that share a set, for which the oracle picks one set too.
      var groups: [Int: [(layer: Int, head: Int)]] = [:]
      for (layer, planes) in planes.enumerated() {
        var ofLayer = 0.0
        for (head, plane) in planes.enumerated() {
          heads += headsPerPlane[layer]
          let number = layer < read.ofLayer.count && head < read.ofLayer[layer].count ? read.ofLayer[layer][head] : nil
          if let number, read.sets.indices.contains(number) {
            groups[number, default: []].append((layer, head))
            let covered = covered(by: read.sets[number])
            for row in 0..<rows {
              let mass = mass(plane, row, covered)
              byRow[row] += mass
              ofLayer += mass
            }
          } else {
            // Everything is read: all of the mass, for the oracle too.
            for row in 0..<rows {
              byRow[row] += Double(headsPerPlane[layer])
              oracleByRow[row] += Double(headsPerPlane[layer])
            }
            ofLayer += Double(headsPerPlane[layer] * rows)
          }
        }
        byLayer.append(ofLayer / Double(max(1, planes.count * headsPerPlane[layer] * rows)))
      }
      for (number, members) in groups.sorted(by: { $0.key < $1.key }) {
        let best = best(covered(by: read.sets[number]).prefix(committed).count { $0 }, members)
        for (layer, head) in members {
          for row in 0..<rows { oracleByRow[row] += mass(planes[layer][head], row, best) }
        }
      }
      let all = Double(max(1, heads))
      return Measured(byRow: byRow.map { $0 / all }, oracleByRow: oracleByRow.map { $0 / all }, byLayer: byLayer)
    }

    /// A reader reads the set, and everything behind the set's last position.
    private func covered(by set: [Int32]) -> [Bool] {
      var covered = Array(repeating: false, count: width)
      for position in set where position >= 0 && Int(position) < width { covered[Int(position)] = true }
      let last = min(Int(set.last ?? -1), width - 1)
      for position in (last + 1)..<max(width, last + 1) { covered[position] = true }
      return covered
    }

    private func mass(_ plane: [Float], _ row: Int, _ covered: [Bool]) -> Double {
      var sum = 0.0
      let start = row * width
      for position in 0..<width where covered[position] { sum += Double(plane[start + position]) }
      return sum
    }

    /// The `count` committed positions with the most mass of all rows and planes, and the round's own.
    private func best(_ count: Int, _ members: [(layer: Int, head: Int)]) -> [Bool] {
      var total = Array(repeating: Float(0), count: committed)
      for (layer, head) in members {
        let plane = planes[layer][head]
        for row in 0..<rows {
          for position in 0..<committed { total[position] += plane[row * width + position] }
        }
      }
      var covered = Array(repeating: false, count: width)
      let order = total.indices.sorted { (total[$1], $0) < (total[$0], $1) }
      for position in order.prefix(count) { covered[position] = true }
      for position in committed..<width { covered[position] = true }
      return covered
    }
  }

  /// The round that begins with row `start` of the continuation's rows.
  func round(at start: Int) throws -> Round {
    let rows = max(0, min(gamma + 1, rowCount - start))
    let committed = first + start
    let width = committed + rows
    var planes: [[[Float]]] = []
    for (index, layer) in model.layers.enumerated() {
      try checkInterruption()
      let group = layer.heads / layer.keyHeads
      planes.append(
        (0..<layer.keyHeads).map { keyHead in
          var plane = Array(repeating: Float(0), count: rows * width)
          var scores = Array(repeating: Float(0), count: width)
          for row in 0..<rows {
            for head in keyHead * group..<(keyHead + 1) * group {
              let query = ((start + row) * layer.heads + head) * layer.dim
              addProbabilities(
                query: queries[index][query..<query + layer.dim], keys: keys[index][keyHead], scale: layer.scale,
                count: committed + row + 1, scores: &scores, to: &plane, at: row * width)
            }
          }
          return plane
        })
    }
    return Round(
      planes: planes, headsPerPlane: model.layers.map { $0.heads / $0.keyHeads }, committed: committed, rows: rows)
  }
}

/// plane[offset + j] += softmax_j(scale · q · k_j) over the first `count` keys.
private func addProbabilities(
  query: ArraySlice<Float>, keys: [Float], scale: Float, count: Int, scores: inout [Float], to plane: inout [Float],
  at offset: Int
) {
  let dim = query.count
  var greatest = -Float.infinity
  query.withUnsafeBytes { queryBytes in
    keys.withUnsafeBytes { keyBytes in
      // Whole groups of eight lanes; a head's dim is a multiple of 8 in all but toy models.
      for position in 0..<count {
        let base = position * dim
        var sums = SIMD8<Float>(repeating: 0)
        var d = 0
        while d + 8 <= dim {
          let q = queryBytes.loadUnaligned(fromByteOffset: 4 * d, as: SIMD8<Float>.self)
          sums += q * keyBytes.loadUnaligned(fromByteOffset: 4 * (base + d), as: SIMD8<Float>.self)
          d += 8
        }
        var sum = sums.sum()
        while d < dim {
          sum += query[query.startIndex + d] * keys[base + d]
          d += 1
        }
        scores[position] = sum * scale
        greatest = max(greatest, scores[position])
      }
    }
  }
  var total = 0.0
  for position in 0..<count {
    scores[position] = expf(scores[position] - greatest)
    total += Double(scores[position])
  }
  let factor = Float(1 / total)
  for position in 0..<count { plane[offset + position] += scores[position] * factor }
}
