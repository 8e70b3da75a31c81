import DustinIR
import DustinSupport
import Synchronization

/// A tensor of a model's files, in the type in which the file holds it.
public struct TensorView {
  /// The name in the file.
  public let name: String
  public let element: ElementType
  /// Row-major extents.
  public let shape: [Int]
  /// The elements, little-endian, perhaps unaligned: read them with `loadUnaligned` or the conversions of this type.
  /// Valid while the `WeightStore` lives and has not been released.
  public let bytes: UnsafeRawBufferPointer

  public var count: Int { bytes.count / element.byteCount }
}

/// The weights of a model directory, memory-mapped: `model.safetensors`, or the files that
/// `model.safetensors.index.json` names. Safe to read from many threads.
public final class WeightStore: Sendable {
  private struct Entry: Sendable {
    let file: Int
    let tensor: StoredTensor
  }
  private struct State: Sendable {
    var files: [SafetensorsFile]
    var isReleased = false
  }

  public let directory: String
  private let paths: [String]
  private let entries: [String: Entry]
  private let state: Mutex<State>

  /// Opens one safetensors file outside a model directory, such as reference outputs.
  public init(file: String) throws {
    let opened = try SafetensorsFile(file)
    directory = file
    paths = [file]
    entries = WeightStore.located(opened)
    state = Mutex(State(files: [opened]))
  }

  /// Opens the files and checks their headers; the weights themselves are not touched yet.
  public init(directory: String) throws {
    self.directory = directory
    let single = directory + "/model.safetensors"
    let index = directory + "/model.safetensors.index.json"
    var entries: [String: Entry] = [:]
    let files: [SafetensorsFile]
    if fileExists(single) {
      let file = try SafetensorsFile(single)
      entries = WeightStore.located(file)
      files = [file]
    } else if fileExists(index) {
      (files, entries) = try WeightStore.openShards(index, directory)
    } else {
      var notes: [Diagnostic] = []
      if fileExists(directory + "/pytorch_model.bin") || fileExists(directory + "/pytorch_model.bin.index.json") {
        notes.append(.note("'pytorch_model.bin' is not read: convert it to safetensors"))
      }
      throw DiagnosticError(
        "model-directory", "'\(directory)' has neither model.safetensors nor model.safetensors.index.json", notes: notes
      )
    }
    paths = files.map(\.path)
    self.entries = entries
    state = Mutex(State(files: files))
  }

  /// The names of all tensors, sorted.
  public var names: [String] { entries.keys.sorted() }

  public func contains(_ name: String) -> Bool { entry(name) != nil }

  /// Stored type, shape and file of a tensor, whether the compiler can read it or not; nil when there is none.
  public func describe(_ name: String) -> (name: String, type: StoredType, shape: [Int], path: String)? {
    entry(name).map { ($0.tensor.name, $0.tensor.type, $0.tensor.shape, paths[$0.file]) }
  }

  /// The tensor of that name, or of that name with or without the prefix `model.`: files of bare decoders lack it.
  /// Throws when there is none, when its element type is none that the compiler reads, and after `release()`.
  public func tensor(_ name: String) throws -> TensorView {
    guard let entry = entry(name) else {
      throw DiagnosticError(
        "missing-weight", "'\(directory)' has no tensor '\(name)'", notes: suggestion(for: name))
    }
    guard case .element(let element) = entry.tensor.type else {
      throw DiagnosticError(
        "weight-type",
        "the tensor '\(entry.tensor.name)' in '\(paths[entry.file])' has the element type \(entry.tensor.type); f32, f16 and bf16 are read"
      )
    }
    return try state.withLock { state in
      guard !state.isReleased else {
        throw DiagnosticError(
          "weights-released", "the weights of '\(directory)' were released before '\(name)' was read")
      }
      return TensorView(
        name: entry.tensor.name, element: element, shape: entry.tensor.shape,
        bytes: UnsafeRawBufferPointer(rebasing: state.files[entry.file].file.bytes[entry.tensor.range]))
    }
  }

  /// Unmaps the files. No view that was handed out may be used from here on.
  public func release() {
    state.withLock { state in
      state.files = []
      state.isReleased = true
    }
  }

  /// A note with the closest name, if one is close; the prefix `model.` does not count as a difference.
  func suggestion(for name: String) -> [Diagnostic] {
    let short = name.hasPrefix("model.") ? String(name.dropFirst(6)) : "model." + name
    let close = closestName(to: name, in: names) ?? closestName(to: short, in: names)
    return close.map { [.note("did you mean '\($0)'?")] } ?? []
  }

  private func entry(_ name: String) -> Entry? {
    entries[name] ?? (name.hasPrefix("model.") ? entries[String(name.dropFirst(6))] : entries["model." + name])
  }

  private static func located(_ file: SafetensorsFile) -> [String: Entry] {
    Dictionary(file.tensors.map { ($0.name, Entry(file: 0, tensor: $0)) }, uniquingKeysWith: { first, _ in first })
  }

  // MARK: Shards

  private static func openShards(_ index: String, _ directory: String) throws -> ([SafetensorsFile], [String: Entry]) {
    let json = try JSONValue.parse(SourceBuffer(name: index, utf8: try readFile(index)))
    guard let map = json["weight_map"]?.objectEntries else {
      throw DiagnosticError(
        "weight-index", "the index has no 'weight_map' from tensors to files", at: json.range.first)
    }
    var numbers: [String: Int] = [:]
    var files: [SafetensorsFile] = []
    var located: [String: Entry] = [:]
    for (name, value) in map {
      guard let fileName = value.stringValue else {
        throw DiagnosticError(
          "weight-index", "'\(name)' must name a file, not \(value.kindDescription)", at: value.range)
      }
      if numbers[fileName] == nil {
        guard isInside(fileName) else {
          throw DiagnosticError(
            "weight-index", "the file name \(JSON.quoted(fileName)) leaves the model's directory", at: value.range)
        }
        guard fileExists(directory + "/" + fileName) else {
          throw DiagnosticError(
            "weight-index", "the file '\(fileName)' does not exist in '\(directory)'", at: value.range)
        }
        let file = try SafetensorsFile(directory + "/" + fileName)
        for tensor in file.tensors {
          if let other = located.updateValue(Entry(file: files.count, tensor: tensor), forKey: tensor.name) {
            throw DiagnosticError(
              "safetensors", "the tensor '\(tensor.name)' stands in both '\(files[other.file].path)' and '\(file.path)'"
            )
          }
        }
        numbers[fileName] = files.count
        files.append(file)
      }
      // A later file may still hold it, but the index says this one.
      guard let entry = located[name], entry.file == numbers[fileName] else {
        throw DiagnosticError("weight-index", "the file '\(fileName)' has no tensor '\(name)'", at: value.range)
      }
    }
    guard !files.isEmpty else {
      throw DiagnosticError("weight-index", "the 'weight_map' is empty", at: json.range.first)
    }
    return (files, located)
  }

  private static func isInside(_ fileName: String) -> Bool {
    !fileName.isEmpty && !fileName.hasPrefix("/") && !fileName.utf8.contains(0)
      && !fileName.split(separator: "/", omittingEmptySubsequences: false).contains("..")
  }
}
