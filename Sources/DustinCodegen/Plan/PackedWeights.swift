import Dispatch
import DustinIR
import DustinSupport
import Synchronization

/// A weight as kernels read it. Equal packings of equal tensors are stored once.
enum PackedWeight: Hashable {
  /// Matrices one under the other (`rows[i]` x `k`), in panels of 64 rows: [panel][unit][64] lanes of 32 bits.
  /// `interleaved`: a panel holds 32 rows of the first matrix, then the same 32 of the second.
  case panels(sources: [String], rows: [Int], k: Int, element: FloatElement, interleaved: Bool)
  /// Vectors side by side as f32, padded with zeros to whole panels; interleaved like the panels they belong to.
  case vector(sources: [String], counts: [Int], interleaved: Bool)
  case constant(name: String, values: [Float])

  var byteCount: Int {
    switch self {
    case .panels(_, let rows, let k, let element, _):
      let unit = element == .bf16 ? 2 : 1
      return (rows.reduce(0, +) + 63) / 64 * ((k + unit - 1) / unit) * 256
    case .vector(_, let counts, _): return (counts.reduce(0, +) + 63) / 64 * 256
    case .constant(_, let values): return (values.count * 4 + 63) / 64 * 64
    }
  }
  var sources: [String] {
    switch self {
    case .panels(let sources, _, _, _, _), .vector(let sources, _, _): sources
    case .constant: []
    }
  }
}

/// Where a model's files keep a tensor: element type and row-major bytes.
public typealias TensorLookup =
  @Sendable (_ name: String) throws -> (element: ElementType, bytes: UnsafeRawBufferPointer)

/// Every packed weight of a plan and its place.
struct WeightLayout {
  private(set) var entries: [(weight: PackedWeight, offset: Int)] = []
  private var offsets: [PackedWeight: Int] = [:]
  private(set) var byteCount = 0

  mutating func offset(of weight: PackedWeight) -> Int {
    if let offset = offsets[weight] { return offset }
    let offset = byteCount
    offsets[weight] = offset
    entries.append((weight, offset))
    byteCount = min(byteCount + min(weight.byteCount, Arena.largestByteCount), Arena.largestByteCount)
    return offset
  }
}

extension WeightLayout {
  /// Fills `target` (64-byte aligned, `byteCount` zeroed bytes) from the model's files, on all cores.
  func pack(into target: UnsafeMutableRawPointer, from lookup: TensorLookup) throws {
    // pieces of at most 16 panels keep the cores evenly busy
    var pieces: [(entry: Int, panels: Range<Int>)] = []
    for (index, entry) in entries.enumerated() {
      guard case .panels(_, let rows, _, _, _) = entry.weight else {
        pieces.append((index, 0..<1))
        continue
      }
      let panels = (rows.reduce(0, +) + 63) / 64
      for first in stride(from: 0, to: panels, by: 16) { pieces.append((index, first..<min(first + 16, panels))) }
    }
    let failure = Mutex<(any Error)?>(nil)
    let work = PackWork(entries: entries, pieces: pieces, target: target)
    DispatchQueue.concurrentPerform(iterations: pieces.count) { piece in
      do { try work.run(piece, lookup) } catch { failure.withLock { $0 = $0 ?? error } }
    }
    if let error = failure.withLock({ $0 }) { throw error }
  }
}

/// Immutable description of the packing; every piece writes a part of the target that no other touches.
private struct PackWork: @unchecked Sendable {
  let entries: [(weight: PackedWeight, offset: Int)]
  let pieces: [(entry: Int, panels: Range<Int>)]
  let target: UnsafeMutableRawPointer

  func run(_ index: Int, _ lookup: TensorLookup) throws {
    let (entry, panels) = pieces[index]
    let (weight, offset) = entries[entry]
    let out = target + offset
    switch weight {
    case .constant(_, let values):
      values.withUnsafeBytes { out.copyMemory(from: $0.baseAddress ?? UnsafeRawPointer(out), byteCount: $0.count) }
    case .vector(let sources, let counts, let interleaved):
      let floats = out.assumingMemoryBound(to: Float.self)
      for (s, source) in sources.enumerated() {
        let tensor = try Self.tensor(source, count: counts[s], lookup)
        for row in 0..<counts[s] { floats[Self.place(row, of: s, counts, interleaved)] = tensor.float(row) }
      }
    case .panels(let sources, let rows, let k, let element, let interleaved):
      let tensors = try zip(sources, rows).map { try Self.tensor($0, count: $1 * k, lookup) }
      let unit = element == .bf16 ? 2 : 1
      let units = (k + unit - 1) / unit
      for (s, tensor) in tensors.enumerated() {
        for row in 0..<rows[s] {
          let place = Self.place(row, of: s, rows, interleaved)
          guard panels.contains(place / 64) else { continue }
          let lane = out + place / 64 * units * 256 + place % 64 * 4
          switch (tensor.element, element) {
          case (.bf16, .bf16):
            for u in 0..<units {
              let low = UInt32(tensor.half(row * k + 2 * u))
              let high = 2 * u + 1 < k ? UInt32(tensor.half(row * k + 2 * u + 1)) : 0
              (lane + u * 256).storeBytes(of: high << 16 | low, as: UInt32.self)
            }
          case (_, .bf16):
            for u in 0..<units {
              let low = UInt32(bf16Bits(tensor.float(row * k + 2 * u)))
              let high = 2 * u + 1 < k ? UInt32(bf16Bits(tensor.float(row * k + 2 * u + 1))) : 0
              (lane + u * 256).storeBytes(of: high << 16 | low, as: UInt32.self)
            }
          case (_, .f32):
            for u in 0..<units { (lane + u * 256).storeBytes(of: tensor.float(row * k + u), as: Float.self) }
          }
        }
      }
    }
  }

  /// Row of the packed matrix that a row of source `s` becomes.
  private static func place(_ row: Int, of s: Int, _ rows: [Int], _ interleaved: Bool) -> Int {
    interleaved ? row / 32 * 64 + s * 32 + row % 32 : rows[..<s].reduce(0, +) + row
  }

  private static func tensor(_ name: String, count: Int, _ lookup: TensorLookup) throws -> SourceTensor {
    let (element, bytes) = try lookup(name)
    guard element.isFloat, bytes.count == count * element.byteCount else {
      throw DiagnosticError(
        "weight-size", "tensor '\(name)' holds \(bytes.count) bytes of \(element.rawValue), not \(count) values")
    }
    return SourceTensor(element: element, bytes: bytes)
  }
}

private struct SourceTensor {
  let element: ElementType
  let bytes: UnsafeRawBufferPointer

  func half(_ index: Int) -> UInt16 { bytes.loadUnaligned(fromByteOffset: index * 2, as: UInt16.self) }
  func float(_ index: Int) -> Float {
    switch element {
    case .bf16: Float(bitPattern: UInt32(half(index)) << 16)
    case .f16: Float(Float16(bitPattern: half(index)))
    default: bytes.loadUnaligned(fromByteOffset: index * 4, as: Float.self)
    }
  }
}

/// The bits of `x` rounded to bf16, nearest even; NaN stays NaN.
func bf16Bits(_ x: Float) -> UInt16 {
  let bits = x.bitPattern
  if x.isNaN { return UInt16(bits >> 16) | 0x40 }
  return UInt16(truncatingIfNeeded: (bits &+ 0x7fff &+ (bits >> 16 & 1)) >> 16)
}
