import CLLVM
import DustinIR

/// Distance of two arena rows of `count` values.
func rowBytes(_ count: Int, _ element: FloatElement) -> Int {
  Arena.rowBytes(columns: count, elementBytes: element.byteCount)
}

/// Token ids to rows of a table that is packed as a matmul's weights (tied embeddings are stored once).
///
///     for row in my rows: for unit in units: y[row][unit's elements] = table[panel of id][unit][lane of id]
struct EmbedKernel: Kernel, Hashable {
  let columns: Int
  let table: FloatElement

  var name: String { "embed_\(table.rawValue)_n\(columns)" }
  let argumentNames = ["ids", "table", "out"]

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let (ids, weights, out) = (k.arena(0), k.weights(1), k.arena(2))
    let unit = table == .bf16 ? 2 : 1
    let units = (columns + unit - 1) / unit
    let (low, high) = k.share(of: k.rows(.tokens))
    e.each(low, high) { row in
      let id = e.loadInt32(e.at(ids, e.mul(row, 4)))
      let lane = e.at(
        weights, e.add(e.mul(e.div(id, MatmulKernel.panel), units * MatmulKernel.panel * 4), e.mul(e.rem(id, 64), 4)))
      let y = e.at(out, e.mul(row, rowBytes(columns, .f32)))
      e.each(e.int(0), e.int(units)) { u in
        let bits = e.load(e.i32, e.at(lane, e.mul(u, MatmulKernel.panel * 4)))
        let target = e.at(y, e.mul(u, unit * 4))
        if table == .f32 {
          e.store(bits, target)
        } else {
          e.store(e.shl(bits, 16), target)
          e.store(e.and(bits, 0xffff_0000), e.at(target, 4))  // an odd last column falls into the row's padding
        }
      }
    }
  }
}

/// rmsnorm of every row, rounded to the output's element type.
///
///     sum = sum of squares in 16 lanes, folded by halves; r = 1 / sqrt(sum / n + eps); y = x * r * gain
struct NormKernel: Kernel, Hashable {
  let columns: Int
  let eps: Float
  let output: FloatElement
  let domain: RowDomain

  var name: String { "rmsnorm_n\(columns)_eps\(eps)_\(output.rawValue)_\(domain.rawValue)" }
  let argumentNames = ["x", "gain", "out"]

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let (x, gain, out) = (k.arena(0), k.weights(1), k.arena(2))
    let (low, high) = k.share(of: k.rows(domain))
    e.each(low, high) { row in
      let input = e.at(x, e.mul(row, rowBytes(columns, .f32)))
      let y = e.at(out, e.mul(row, rowBytes(columns, output)))
      let whole = columns / 16 * 16
      let lanes = e.loop(e.int(0), e.int(whole), e.int(16), carried: [LLVMConstNull(e.vector(e.f32, 16))]) { c, sum in
        let v = k.loadFloats(.f32, input, c, 16)
        return [e.fma(v, v, sum[0])]
      }[0]
      let sum = e.loop(e.int(whole), e.int(columns), carried: [e.reduce(lanes, e.fadd)]) { c, sum in
        let v = k.loadFloats(.f32, input, c, 1)
        return [e.fma(v, v, sum[0])]
      }[0]
      let mean = e.fdiv(sum, e.float(Float(columns)))
      let r = e.fdiv(e.float(1), e.sqrt(e.fadd(mean, e.float(eps))))
      k.columns(columns) { c, lanes in
        let scaled = e.fmul(k.loadFloats(.f32, input, c, lanes), e.splat(r, lanes))
        k.storeFloats(output, e.fmul(scaled, k.loadFloats(.f32, gain, c, lanes)), y, c)
      }
      k.zeroOddColumn(columns, output, y)
    }
  }
}

/// One output row from one or two input rows, column by column: add, mul, silu, casts, slices and copies.
///
///     for row in my rows: for column: y[row][column] = f(a[row or last row][begin + column], b[row][column])
struct ElementwiseKernel: Kernel, Hashable {
  enum Function: String, Hashable, Sendable { case add, mul, silu, copy }
  let function: Function
  let input: FloatElement
  let output: FloatElement
  /// Columns of a, the first that is read, and how many.
  let inputColumns: Int
  let begin: Int
  let columns: Int
  let domain: RowDomain
  /// Reads the last token row of each sequence (`domain` is then `.sequences`).
  var takesLastRow = false

  var name: String {
    "\(function.rawValue)_\(input.rawValue)_\(output.rawValue)_n\(inputColumns)_\(begin)_\(columns)"
      + "_\(takesLastRow ? "last" : domain.rawValue)"
  }
  var argumentNames: [String] { function == .add || function == .mul ? ["a", "b", "out"] : ["a", "out"] }

  func emit(_ k: KernelBuilder) {
    let e = k.e
    let isBinary = argumentNames.count == 3
    let a = k.arena(0)
    let b = isBinary ? k.arena(1) : nil
    let out = k.arena(isBinary ? 2 : 1)
    let (low, high) = k.share(of: k.rows(domain))
    e.each(low, high) { row in
      var source = row
      if takesLastRow {
        let sequence = k.sequence(row)
        source = e.add(e.add(sequence.row0, sequence.rows), -1)
      }
      let x = e.at(a, e.mul(source, rowBytes(inputColumns, input)))
      let y = e.at(out, e.mul(row, rowBytes(columns, output)))
      k.columns(columns) { c, lanes in
        var value = k.loadFloats(input, x, e.add(c, begin), lanes)
        if let b {
          let other = k.loadFloats(input, e.at(b, e.mul(row, rowBytes(columns, input))), c, lanes)
          value = function == .add ? e.fadd(value, other) : e.fmul(value, other)
        } else if function == .silu {
          value = e.silu(value)
        }
        k.storeFloats(output, value, y, c)
      }
      k.zeroOddColumn(columns, output, y)
    }
  }
}
