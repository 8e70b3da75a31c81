import DustinIR
import DustinSupport

#if canImport(Glibc)
  import Glibc
#endif

// embed, rmsnorm, elementwise ops, cast, reshape, slice, last_row.

/// Work per task, in numbers, that is worth a hand-over to another core.
private let grain = 1 << 14

func silu(_ x: Float) -> Float { x / (1 + expf(-x)) }

/// y[i] = x[i] / sqrt(mean(x^2) + eps) * gain[i], for one row.
func rmsnormRow(
  _ x: UnsafePointer<Float>, _ gain: UnsafePointer<Float>, _ count: Int, eps: Double, _ y: UnsafeMutablePointer<Float>
) {
  var squares = 0.0
  var index = 0
  while index < count {
    squares += Double(x[index]) * Double(x[index])
    index += 1
  }
  let factor = Float(1 / (squares / Double(count) + eps).squareRoot())
  index = 0
  while index < count {
    y[index] = x[index] * factor * gain[index]
    index += 1
  }
}

extension OpEvaluation {
  func embed() throws -> [Interpreter.Argument] {
    let ids = try tensor().ints
    let table = try tensor("weight")
    for id in ids where id < 0 || Int(id) >= table.rows {
      throw error("the token id \(id) is outside the table's \(table.rows) rows")
    }
    let width = table.width
    return [
      .tensor(
        floatResult { y in
          table.withFloats { rows in
            for (row, id) in ids.enumerated() { (y + row * width).update(from: rows + Int(id) * width, count: width) }
          }
        })
    ]
  }

  func rmsnorm() throws -> [Interpreter.Argument] {
    let x = try tensor()
    let gain = try tensor("weight")
    let eps = attributes.float("eps") ?? 0
    return [
      .tensor(
        floatResult { y in
          x.withFloats { x0 in
            gain.withFloats { gain in
              let width = x.width
              parallelRanges(x.rows, grain: grain / max(1, width)) { rows in
                for row in rows { rmsnormRow(x0 + row * width, gain, width, eps: eps, y + row * width) }
              }
            }
          }
        })
    ]
  }

  func elementwise(_ combine: (Float, Float) -> Float) throws -> [Interpreter.Argument] {
    let a = try tensor("", 0)
    let b = try tensor("", 1)
    return [
      .tensor(
        floatResult { y in
          a.withFloats { a0 in
            b.withFloats { b0 in
              var index = 0
              while index < a.count {
                y[index] = combine(a0[index], b0[index])
                index += 1
              }
            }
          }
        })
    ]
  }

  func siluRows() throws -> [Interpreter.Argument] {
    let x = try tensor()
    return [
      .tensor(
        floatResult { y in
          x.withFloats { x0 in
            parallelRanges(x.count, grain: grain) { range in
              for index in range { y[index] = silu(x0[index]) }
            }
          }
        })
    ]
  }

  func cast() throws -> [Interpreter.Argument] {
    let x = try tensor()
    return [.tensor(Tensor(operation.result.type.element, x.shape, rounding: x.floats))]
  }

  func reshape() throws -> [Interpreter.Argument] { [.tensor(try tensor().reshaped(resultShapes[0]))] }

  func slice() throws -> [Interpreter.Argument] {
    let x = try tensor()
    let begin = attributes.int("begin") ?? 0
    let count = attributes.int("count") ?? 0
    return [
      .tensor(
        floatResult { y in
          x.withFloats { x0 in
            for row in 0..<x.rows { (y + row * count).update(from: x0 + row * x.width + begin, count: count) }
          }
        })
    ]
  }

  func lastRow() throws -> [Interpreter.Argument] {
    let x = try tensor()
    guard x.rows > 0 else { throw error("'last_row' needs at least one row") }
    let start = (x.rows - 1) * x.width
    switch x.storage {
    case .floats(let floats):
      return [.tensor(Tensor(x.element, resultShapes[0], rounding: Array(floats[start...])))]
    case .ints(let ints):
      return [.tensor(try Tensor(resultShapes[0], ints: Array(ints[start...])))]
    }
  }
}
