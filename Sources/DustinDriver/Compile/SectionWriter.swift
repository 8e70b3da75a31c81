import DustinRunner
import DustinSupport

/// Where sections go: a file or memory.
protocol SectionSink {
  /// Bytes written so far.
  var count: Int { get }
  mutating func write(_ bytes: UnsafeRawBufferPointer) throws
}

extension FileWriter: SectionSink {}

struct MemorySink: SectionSink {
  private(set) var bytes: [UInt8] = []
  var count: Int { bytes.count }

  mutating func write(_ more: UnsafeRawBufferPointer) { bytes.append(contentsOf: more) }
}

extension SectionSink {
  mutating func write(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try write($0) } }
}

/// Writes sections behind each other, each at a page, and the table of contents at the end.
struct SectionWriter {
  private(set) var table = ContentTable()
  private static let chunk = 8 << 20

  mutating func add(
    _ name: String, _ bytes: [UInt8], entryOffset: Int = 0, to file: inout some SectionSink
  ) throws {
    try bytes.withUnsafeBytes { try add(name, $0, isChecked: true, entryOffset: entryOffset, to: &file) }
  }

  /// - Parameter progress: told of the bytes written so far.
  mutating func add(
    _ name: String, _ bytes: UnsafeRawBufferPointer, isChecked: Bool, entryOffset: Int = 0,
    to file: inout some SectionSink,
    progress: (Int) -> Void = { _ in }
  ) throws {
    let page = ContentTable.pageBytes
    try file.write([UInt8](repeating: 0, count: (page - file.count % page) % page))
    let offset = file.count
    var sum = Checksum()
    for start in stride(from: 0, to: bytes.count, by: Self.chunk) {
      try checkInterruption()
      let piece = UnsafeRawBufferPointer(rebasing: bytes[start..<min(start + Self.chunk, bytes.count)])
      sum.add(piece)
      try file.write(piece)
      progress(start + piece.count)
    }
    table.sections.append(
      ContentTable.Section(
        name: name, offset: offset, count: bytes.count, checksum: sum.value, isChecked: isChecked,
        entryOffset: entryOffset))
  }

  /// Names sections that another file holds.
  mutating func refer(to other: ContentTable) {
    for var section in other.sections {
      section.offset = 0
      section.isElsewhere = true
      table.sections.append(section)
    }
  }

  func finish(_ file: inout some SectionSink) throws { try file.write(table.bytes(at: file.count)) }
}

extension CompiledPair {
  /// What was written.
  struct Written {
    /// Of the executable, or of what stands in the bundle's object.
    let table: ContentTable
    /// Of the executable or the bundle's object.
    let bytes: Int
    /// Of the weights' file; 0: there is none.
    let weightsBytes: Int
  }

  /// Everything but the weights.
  func writeHead(_ sections: inout SectionWriter, to file: inout some SectionSink) throws {
    try sections.add("info", Array(info.json.text.utf8), to: &file)
    if let tokenizer { try sections.add("tokenizer", tokenizer, to: &file) }
    for part in parts {
      for (level, output) in zip(info.levels, part.code) {
        try sections.add("\(part.role)/\(level)/program", output.program.serialized(), to: &file)
        try sections.add(
          "\(part.role)/\(level)/code", output.image.bytes, entryOffset: output.image.entryOffset, to: &file)
      }
    }
  }

  /// Packs one model after the other, so that one at a time is in memory.
  func writeWeights(_ sections: inout SectionWriter, to file: inout some SectionSink) throws {
    let total = parts.reduce(0) { $0 + $1.code[0].program.weightBytes } >> 20
    var bar = ProgressBar("writing weights", unit: "MB")
    defer { bar.clear() }
    var before = 0
    for part in parts {
      try checkInterruption()
      let memory = try part.planned.packedWeights(for: part.code[0].plan)
      let count = part.code[0].program.weightBytes
      try sections.add(
        "\(part.role)/weights", UnsafeRawBufferPointer(start: memory.base, count: count), isChecked: false, to: &file
      ) { bar.update((before + $0) >> 20, of: total) }
      before += count
    }
  }

  /// Writes the executable, and the file of its weights if it does not hold them itself. After an error neither
  /// is there, or both are as they were, but for one: when the weights' new name, which comes last, fails.
  func write(to path: String, weights: String?, runner: [UInt8]) throws -> Written {
    func application(_ elsewhere: ContentTable?, weightsBytes: Int) throws -> Written {
      var sections = SectionWriter()
      return try writeFileAtomically(path, permissions: runner.isEmpty ? 0o666 : 0o777) { file in
        // Nobody reads it before it runs: it is for --check.
        try runner.withUnsafeBytes { try sections.add("runner", $0, isChecked: false, to: &file) }
        try writeHead(&sections, to: &file)
        if let elsewhere { sections.refer(to: elsewhere) } else { try writeWeights(&sections, to: &file) }
        try sections.finish(&file)
        return Written(table: sections.table, bytes: file.count, weightsBytes: weightsBytes)
      }
    }
    guard let weights else { return try application(nil, weightsBytes: 0) }
    return try writeFileAtomically(weights) { file in
      var sections = SectionWriter()
      try writeWeights(&sections, to: &file)
      try sections.finish(&file)
      // Nothing of it can fail any more but its new name; only then does the executable appear.
      try file.synchronize()
      return try application(sections.table, weightsBytes: file.count)
    }
  }
}
