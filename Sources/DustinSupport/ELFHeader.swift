/// What the first 64 bytes of a 64-bit little-endian ELF file say: what kind of file it is, and where its tables lie.
public struct ELFHeader: Sendable {
  /// Rows of one size. The numbers are the file's own: only `range` tells whether there is such a table.
  public struct Table: Sendable {
    public let offset: UInt64
    public let rowBytes: Int
    public let count: Int

    /// Where the table lies in a file of so many bytes; nil when it does not lie inside.
    public func range(in fileBytes: Int) -> Range<Int>? {
      // Both factors have 16 bits.
      guard let start = Int(exactly: offset), start <= fileBytes, rowBytes * count <= fileBytes - start else {
        return nil
      }
      return start..<start + rowBytes * count
    }
  }
  /// 1: an object for a linker; 2: a program that is linked to a fixed place; 3: a program or a library for any place.
  public let type: UInt16
  /// 62: x86-64.
  public let machine: UInt16
  /// What a program asks to have in memory.
  public let segments: Table
  public let sections: Table
  /// Number of the section with the sections' names.
  public let nameSection: Int

  /// Nil for a file of another kind.
  public init?(_ file: UnsafeRawBufferPointer) {
    // The mark, 64 bits, little-endian, version 1.
    guard file.count >= 64, file.starts(with: [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1]) else { return nil }
    func number<Number: FixedWidthInteger>(_ type: Number.Type, _ place: Int) -> Number {
      file.number(type, at: place) ?? 0
    }
    func table(_ offset: Int, _ rowBytes: Int, _ count: Int) -> Table {
      Table(
        offset: number(UInt64.self, offset), rowBytes: Int(number(UInt16.self, rowBytes)),
        count: Int(number(UInt16.self, count)))
    }
    type = number(UInt16.self, 16)
    machine = number(UInt16.self, 18)
    segments = table(32, 54, 56)
    sections = table(40, 58, 60)
    nameSection = Int(number(UInt16.self, 62))
  }

  public init?(_ file: [UInt8]) {
    guard let header = file.withUnsafeBytes({ ELFHeader($0) }) else { return nil }
    self = header
  }
}

extension UnsafeRawBufferPointer {
  /// The little-endian number at a place; nil when it does not lie inside.
  @inlinable public func number<Number: FixedWidthInteger>(_ type: Number.Type, at place: Int) -> Number? {
    guard place >= 0, place <= count - MemoryLayout<Number>.size else { return nil }
    return Number(littleEndian: loadUnaligned(fromByteOffset: place, as: type))
  }
}
