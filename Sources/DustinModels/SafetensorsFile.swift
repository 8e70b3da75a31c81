import DustinIR
import DustinSupport

/// How a safetensors file stores a tensor's elements.
public enum StoredType: Hashable, Sendable, CustomStringConvertible {
  /// One that the compiler reads.
  case element(ElementType)
  /// Another one: an error only when the tensor is used. `bits` is nil for names that are not known.
  case other(String, bits: Int?)

  init(name: String) {
    switch name {
    case "F32": self = .element(.f32)
    case "F16": self = .element(.f16)
    case "BF16": self = .element(.bf16)
    case "I32": self = .element(.i32)
    case "F64", "I64", "U64", "C64": self = .other(name, bits: 64)
    case "U32": self = .other(name, bits: 32)
    case "I16", "U16": self = .other(name, bits: 16)
    case "BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ": self = .other(name, bits: 8)
    case "F4": self = .other(name, bits: 4)
    default: self = .other(name, bits: nil)
    }
  }

  var bits: Int? {
    switch self {
    case .element(let element): element.byteCount * 8
    case .other(_, let bits): bits
    }
  }

  public var description: String {
    switch self {
    case .element(let element): element.rawValue
    case .other(let name, _): name
    }
  }
}

/// What a safetensors header says about one tensor.
struct StoredTensor: Sendable {
  let name: String
  let type: StoredType
  let shape: [Int]
  /// Where the bytes lie in the file.
  let range: Range<Int>
}

/// A mapped safetensors file with a checked header: every tensor lies inside the file, has as many bytes as its shape
/// asks for, and the tensors cover the data without gap or overlap.
struct SafetensorsFile: Sendable {
  /// Longest header that is read, as in the reference implementation.
  static let headerLimit = 100_000_000

  let file: MappedFile
  let tensors: [StoredTensor]
  var path: String { file.path }

  init(_ path: String) throws {
    file = try MappedFile(path)
    let bytes = file.bytes
    guard bytes.count >= 8 else {
      throw SafetensorsFile.failure(path, "it has \(bytes.count) bytes, too few for a header")
    }
    let stated = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    guard stated <= UInt64(SafetensorsFile.headerLimit) else {
      throw SafetensorsFile.failure(
        path, "its header would be \(stated) bytes long, more than \(SafetensorsFile.headerLimit)",
        notes: [.note("is it a safetensors file?")])
    }
    let dataStart = 8 + Int(stated)
    guard dataStart <= bytes.count else {
      throw SafetensorsFile.failure(
        path, "it ends inside its header: \(bytes.count) bytes of at least \(dataStart); the file is truncated")
    }
    let buffer = SourceBuffer(name: path, utf8: Array(bytes[8..<dataStart]))
    let header: JSONValue
    do {
      header = try JSONValue.parse(buffer)
    } catch let error as DiagnosticError {
      // The header is one line without end: its place says more than a caret below all of it.
      let first = error.diagnostics.first
      let place = first?.range.map { " at byte \(8 + $0.start)" } ?? ""
      throw SafetensorsFile.failure(path, "its header is not valid JSON\(place): \(first?.message ?? "unreadable")")
    }
    guard let entries = header.objectEntries else {
      throw SafetensorsFile.failure(path, "its header must be an object, not \(header.kindDescription)")
    }
    tensors = try entries.filter { $0.key != "__metadata__" }.map { name, value in
      try SafetensorsFile.tensor(name, value, path, dataStart: dataStart, fileEnd: bytes.count)
    }
    try SafetensorsFile.checkTiling(tensors, path, dataStart..<bytes.count)
  }

  private static func tensor(
    _ name: String, _ value: JSONValue, _ path: String, dataStart: Int, fileEnd: Int
  ) throws -> StoredTensor {
    func fail(_ message: String) -> DiagnosticError { failure(path, "the tensor '\(name)' \(message)") }
    guard let typeName = value["dtype"]?.stringValue else { throw fail("has no 'dtype'") }
    guard let shapeValues = value["shape"]?.arrayValue else { throw fail("has no 'shape'") }
    let shape = shapeValues.compactMap(\.intValue)
    guard shape.count == shapeValues.count, shape.allSatisfy({ $0 >= 0 }) else {
      throw fail("has a 'shape' with something else than extents")
    }
    let offsets = (value["data_offsets"]?.arrayValue ?? []).compactMap(\.intValue)
    guard offsets.count == 2, value["data_offsets"]?.arrayValue?.count == 2 else {
      throw fail("has no 'data_offsets' of two integers")
    }
    let (begin, end) = (offsets[0], offsets[1])
    let dataCount = fileEnd - dataStart
    guard 0 <= begin, begin <= end else { throw fail("has the data offsets \(begin) and \(end)") }
    guard end <= dataCount else {
      throw fail("ends at byte \(end) of the data, of which there are \(dataCount); the file is truncated")
    }
    let type = StoredType(name: typeName)
    if let bits = type.bits {
      var total = bits
      for extent in shape {
        let (product, overflow) = total.multipliedReportingOverflow(by: extent)
        guard !overflow else { throw fail("has the shape \(shape), more than fits into memory") }
        total = product
      }
      let wanted = total / 8 + (total % 8 == 0 ? 0 : 1)
      guard wanted == end - begin else {
        throw fail("has \(end - begin) bytes; \(type)\(shape) needs \(wanted)")
      }
    }
    return StoredTensor(name: name, type: type, shape: shape, range: dataStart + begin..<dataStart + end)
  }

  private static func checkTiling(_ tensors: [StoredTensor], _ path: String, _ data: Range<Int>) throws {
    var end = data.lowerBound
    var previous: StoredTensor?
    let sorted = tensors.sorted {
      ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound)
    }
    for tensor in sorted {
      if tensor.range.lowerBound < end {
        throw failure(path, "the tensors '\(previous?.name ?? "")' and '\(tensor.name)' overlap")
      }
      if tensor.range.lowerBound > end {
        throw failure(path, "\(tensor.range.lowerBound - end) bytes before the tensor '\(tensor.name)' belong to none")
      }
      end = tensor.range.upperBound
      previous = tensor
    }
    if end != data.upperBound {
      throw failure(path, "\(data.upperBound - end) bytes at its end belong to no tensor")
    }
  }

  private static func failure(_ path: String, _ message: String, notes: [Diagnostic] = []) -> DiagnosticError {
    DiagnosticError("safetensors", "'\(path)' is damaged: \(message)", notes: notes)
  }
}
