import DustinInterpreter
import DustinModels
import DustinSupport
import XCTest

/// The checkout's folder.
let checkout: String = {
  var parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
  parts.removeLast(3)
  return parts.joined(separator: "/")
}()

struct StoreWeights: WeightSource {
  let store: WeightStore

  func tensor(named name: String) throws -> Tensor {
    let view = try store.tensor(name)
    return try Tensor(view.element, view.shape, try view.floats())
  }
}

/// The f32 and i32 tensors of a safetensors file: 8 bytes of header length, a JSON header, the data.
func referenceTensors(_ path: String) throws -> [String: Tensor] {
  let bytes = try readFile(path)
  func word(_ offset: Int) -> UInt32 {
    bytes[offset..<offset + 4].reversed().reduce(0) { $0 << 8 | UInt32($1) }
  }
  let start = 8 + Int(word(0))
  let header = try JSONValue.parse(SourceBuffer(name: path, utf8: Array(bytes[8..<start])))
  var tensors: [String: Tensor] = [:]
  for (name, entry) in header.objectEntries ?? [] where name != "__metadata__" {
    let shape = try XCTUnwrap(entry["shape"]?.arrayValue).compactMap(\.intValue)
    let begin = start + (try XCTUnwrap(entry["data_offsets"]?.arrayValue?.first?.intValue))
    let words = (0..<shape.reduce(1, *)).map { word(begin + 4 * $0) }
    tensors[name] =
      entry["dtype"]?.stringValue == "F32"
      ? try Tensor(shape, words.map { Float(bitPattern: $0) })
      : try Tensor(shape, ints: words.map { Int32(bitPattern: $0) })
  }
  return tensors
}
