import DustinSupport

/// How an application lies in its file: whatever stands in front (the runner, or nothing), sections that begin at pages,
/// the table of contents, and a trailer of 64 bytes that says where the table is.
///
///     trailer: magic, version: u32, zero: u32, table's offset, bytes and checksum, the file's bytes, zero, and the
///              checksum of these 56 bytes; all others u64, all little-endian
package struct ContentTable: Sendable, Equatable {
  package static let magic = Array("DUSTINAP".utf8)
  package static let version: UInt32 = 1
  package static let trailerBytes = 64
  /// Sections begin at multiples of it, so that they can be mapped by themselves.
  package static let pageBytes = 4096

  package struct Section: Sendable, Equatable {
    package var name: String
    /// From the file's beginning; 0 for a section that lies in another file.
    package var offset: Int
    package var count: Int
    package var checksum: UInt64
    /// Its checksum is compared whenever it is read. Weights are too long for that: `--check` reads them.
    package var isChecked: Bool
    /// It lies, under the same name and with the same checksum, in the file of the weights.
    package var isElsewhere: Bool
    /// Of code: where the entry lies in it.
    package var entryOffset: Int

    package init(
      name: String, offset: Int, count: Int, checksum: UInt64, isChecked: Bool = true, isElsewhere: Bool = false,
      entryOffset: Int = 0
    ) {
      self.name = name
      self.offset = offset
      self.count = count
      self.checksum = checksum
      self.isChecked = isChecked
      self.isElsewhere = isElsewhere
      self.entryOffset = entryOffset
    }
  }

  package var sections: [Section] = []

  package init() {}

  /// The table and the trailer behind `offset` bytes of a file.
  package func bytes(at offset: Int) -> [UInt8] {
    var table = ByteWriter()
    table.add(sections) { section, writer in
      writer.add(section.name)
      writer.add(section.offset)
      writer.add(section.count)
      writer.add(section.checksum)
      writer.add(section.isChecked)
      writer.add(section.isElsewhere)
      writer.add(section.entryOffset)
    }
    var trailer = ByteWriter()
    for byte in Self.magic { trailer.add(byte) }
    trailer.add(Self.version)
    trailer.add(0 as UInt32)
    for number in [offset, table.bytes.count] { trailer.add(UInt64(number)) }
    trailer.add(Checksum.of(table.bytes))
    trailer.add(UInt64(offset + table.bytes.count + Self.trailerBytes))
    trailer.add(0 as UInt64)
    trailer.add(Checksum.of(trailer.bytes))
    return table.bytes + trailer.bytes
  }

  /// Reads the table of a whole file.
  ///
  /// - Parameter name: how messages call the file.
  /// - Returns: Nil when the file does not end with a trailer.
  /// - Throws: `DiagnosticError` with id `damaged`, or `application` for a file of another version.
  package init?(_ file: UnsafeRawBufferPointer, _ name: String) throws {
    func damaged(_ what: String) -> DiagnosticError {
      DiagnosticError("damaged", "'\(name)' is damaged: \(what)", notes: [.note("compile or copy it anew")])
    }
    guard file.count >= Self.trailerBytes else { return nil }
    let trailer = Array(file[(file.count - Self.trailerBytes)...])
    guard trailer.starts(with: Self.magic) else { return nil }
    var reader = ByteReader(Array(trailer.dropFirst(Self.magic.count)), "the end of '\(name)'")
    let version = try reader.read(UInt32.self)
    guard version == Self.version else {
      throw DiagnosticError(
        "application", "'\(name)' has the format \(version); this runner knows \(Self.version) only")
    }
    _ = try reader.read(UInt32.self)
    let (offset, count) = (try reader.size(), try reader.size())
    let (tableSum, fileBytes) = (try reader.read(UInt64.self), try reader.size())
    _ = try reader.read(UInt64.self)
    guard try reader.read(UInt64.self) == Checksum.of(Array(trailer.dropLast(8))) else {
      throw damaged("its last \(Self.trailerBytes) bytes were changed")
    }
    guard fileBytes == file.count else {
      throw damaged("it is \(file.count) bytes long, and was written with \(fileBytes)")
    }
    let most = file.count - Self.trailerBytes
    guard offset <= most, count == most - offset else { throw damaged("its table of contents lies nowhere") }
    let table = Array(file[offset..<offset + count])
    guard Checksum.of(table) == tableSum else { throw damaged("its table of contents was changed") }
    var tableReader = ByteReader(table, "the table of contents of '\(name)'")
    sections = try tableReader.elements { reader in
      Section(
        name: try reader.text(), offset: try reader.read(Int.self), count: try reader.read(Int.self),
        checksum: try reader.read(UInt64.self), isChecked: try reader.bool(), isElsewhere: try reader.bool(),
        entryOffset: try reader.read(Int.self))
    }
    try tableReader.finish()
    for section in sections {
      guard section.count >= 0,
        section.isElsewhere
          || (section.offset >= 0 && section.offset <= offset
            && section.count <= offset - section.offset && section.offset % Self.pageBytes == 0)
      else { throw damaged("the section '\(section.name)' does not lie inside") }
    }
  }
}
