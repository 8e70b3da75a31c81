import CLLVM

/// Rows times packed weights. One kernel serves one row and a whole prefill tile, with equal bits.
///
///     for item in my share of (panels of 64 columns) x (groups of 96 rows):
///       for tile of up to R rows in the group, V vectors of the panel:
///         acc[R][V] = 0
///         for unit in 0 ..< units:  acc[r][v] = dot(acc[r][v], panel[unit][v], x[r][unit]), fetching part of the next panel
///         epilogue: + bias, swiglu, residual + acc; store
///
/// A panel is [units][64] 32-bit lanes. With swiglu its columns are 32 of the gate, then the same 32 of the up weight.
struct MatmulKernel: Kernel, Hashable {
  let dot: Dot
  /// Length of the reduction.
  let k: Int
  /// Output columns, before padding to whole panels.
  let n: Int
  let hasBias: Bool
  let hasResidual: Bool
  let isSwiGLU: Bool
  let output: FloatElement
  let domain: RowDomain

  static let panel = 64
  private static let rowGroup = 96

  var units: Int { (k + dot.unit - 1) / dot.unit }
  var panels: Int { ((isSwiGLU ? 2 * n : n) + Self.panel - 1) / Self.panel }
  private var xRowBytes: Int { rowBytes(k, dot == .bf16Dot || dot == .bf16FMA ? .bf16 : .f32) }
  private var outRowBytes: Int { rowBytes(n, output) }

  var name: String {
    var parts = ["matmul", dot.rawValue, "k\(k)", "n\(n)"]
    if hasBias { parts.append("bias") }
    if isSwiGLU { parts.append("swiglu") }
    if hasResidual { parts.append("residual") }
    return (parts + [output.rawValue, domain.rawValue]).joined(separator: "_")
  }
  var argumentNames: [String] {
    ["x", "weights"] + (hasBias ? ["bias"] : []) + ["out"] + (hasResidual ? ["residual"] : [])
  }

  private struct Operands {
    let x, bias, out, residual: LLVMValue?
  }

  func emit(_ k: KernelBuilder) {
    let e = k.e
    var next = 0
    func argument(_ wanted: Bool, _ address: (Int) -> LLVMValue) -> LLVMValue? {
      guard wanted else { return nil }
      next += 1
      return address(next - 1)
    }
    let x = argument(true, k.arena)
    let weights = k.weights(1)
    next = 2
    let bias = argument(hasBias, k.weights)
    let out = argument(true, k.arena)
    let residual = argument(hasResidual, k.arena)
    let base = Operands(x: x, bias: bias, out: out, residual: residual)

    let rows = k.rows(domain)
    let groups = e.div(e.add(rows, Self.rowGroup - 1), Self.rowGroup)
    let (low, high) = k.share(of: e.mul(groups, panels))
    e.each(low, high) { item in
      let panel = e.div(item, groups)
      let row0 = e.mul(e.sub(item, e.mul(panel, groups)), Self.rowGroup)
      let end = e.minimum(rows, e.add(row0, Self.rowGroup))
      let w = e.at(weights, e.mul(panel, units * Self.panel * 4))
      let size = k.e.target.tile.rows
      // Of many rows the first tile alone would wait for memory: the tiles before it bring its panel near, a quarter each.
      // Few rows wait for memory all the time, and ask for what they have.
      let quarter = units * Self.panel
      let isMany = e.compare(e.sub(end, row0), LLVMIntSGE, e.int(4 * size))
      func fetched(_ number: LLVMValue) -> LLVMValue {
        e.select(isMany, e.at(w, e.mul(e.add(e.and(number, 3), 4), quarter)), w)
      }
      let (full, tiles) = { ($0[0], $0[1]) }(
        e.loop(row0, e.sub(end, e.int(size - 1)), e.int(size), carried: [row0, e.int(0)]) { row, carried in
          tile(e, rows: size, row, panel, w, fetched(carried[1]), base)
          return [e.add(row, size), e.add(carried[1], 1)]
        })
      let rest = e.sub(end, full)
      for count in 1..<max(size, 2) where count < size {
        e.ifTrue(e.compare(rest, LLVMIntEQ, e.int(count))) {
          tile(e, rows: count, full, panel, w, fetched(tiles), base)
        }
      }
    }
  }

  private func tile(
    _ e: Emitter, rows: Int, _ row: LLVMValue, _ panel: LLVMValue, _ w: LLVMValue, _ fetched: LLVMValue,
    _ base: Operands
  ) {
    guard let x = base.x, let out = base.out else { return }
    let width = e.target.tile.vectors
    let xRow = e.at(x, e.mul(row, xRowBytes))
    // swiglu pairs vector v with vector v + 2; a narrow tile takes them one after the other
    var columns: [[Int]] = stride(from: 0, to: 4, by: width).map { Array($0..<min($0 + width, 4)) }
    if isSwiGLU, width == 1 { columns = [[0, 2], [1, 3]] }
    for vectors in columns {
      let zero = LLVMConstNull(e.vector(e.f32, 16))!
      let accumulators = e.loop(
        e.int(0), e.int(units), carried: Array(repeating: zero, count: rows * vectors.count), atLeastOnce: true
      ) { unit, accumulators in
        var next = accumulators
        let lane = e.at(w, e.mul(unit, Self.panel * 4))
        let weights = vectors.map { dot.packed(e, e.at(lane, $0 * 64)) }
        e.prefetch(e.at(fetched, e.mul(unit, 64)), pastFirst: true)
        for r in 0..<rows {
          let broadcast = dot.broadcast(e, e.at(e.at(xRow, e.mul(unit, dot.rowUnitBytes)), r * xRowBytes))
          for v in vectors.indices {
            let index = r * vectors.count + v
            next[index] = dot.accumulate(e, next[index], weights[v], broadcast)
          }
        }
        return next
      }
      for r in 0..<rows {
        var values = (0..<vectors.count).map { accumulators[r * vectors.count + $0] }
        if let bias = base.bias {
          let p = e.at(bias, e.mul(panel, Self.panel * 4))
          for v in values.indices {
            values[v] = e.fadd(values[v], e.load(e.vector(e.f32, 16), e.at(p, vectors[v] * 64)))
          }
        }
        var targets = vectors
        if isSwiGLU {
          let half = values.count / 2
          values = (0..<half).map { e.fmul(e.silu(values[$0]), values[$0 + half]) }
          targets = Array(vectors.prefix(half))
        }
        let columnsPerPanel = isSwiGLU ? Self.panel / 2 : Self.panel
        let column = e.mul(panel, columnsPerPanel)
        let outRow = e.at(out, e.mul(e.add(row, r), outRowBytes))
        for (v, value) in zip(targets, values) {
          var result = value
          let offset = e.mul(e.add(column, v * 16), output.byteCount)
          if let residual = base.residual {
            let p = e.at(e.at(residual, e.mul(e.add(row, r), outRowBytes)), offset)
            result = e.fadd(e.load(e.vector(e.f32, 16), p), result)
          }
          switch output {
          case .f32: e.store(result, e.at(outRow, offset))
          case .bf16: e.store(e.roundToBF16(result), e.at(outRow, offset), align: 2)
          }
        }
      }
    }
  }
}
