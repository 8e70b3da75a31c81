import DustinSupport

/// A relocatable x86-64 ELF object, as LLVM makes them: what the linker asks of it. Every access is checked; a damaged
/// object is an error that says where it stops making sense.
struct ELFObject {
  struct Section {
    let name: String
    let type: UInt32
    let flags: UInt64
    /// Bytes of the object; empty for sections without any.
    let range: Range<Int>
    let size: Int
    let link: Int
    let info: Int
    let alignment: Int

    /// Takes part in the program.
    var isAllocated: Bool { flags & 2 != 0 }
    var isWritable: Bool { flags & 1 != 0 }
    var isExecutable: Bool { flags & 4 != 0 }
    /// Has bytes in the object.
    var hasContents: Bool { type == 1 }
  }
  struct Symbol {
    let name: String
    /// Number of the section; 0 for a symbol that the object does not define.
    let section: Int
    let value: Int
  }
  struct Relocation {
    let offset: Int
    let kind: UInt32
    let symbol: Int
    let addend: Int
  }

  private let bytes: [UInt8]
  private(set) var sections: [Section] = []
  private(set) var symbols: [Symbol] = []

  /// - Throws: `DiagnosticError` with id `object`.
  init(_ bytes: [UInt8]) throws {
    self.bytes = bytes
    guard let header = ELFHeader(bytes), header.type == 1, header.machine == 62 else {
      throw Self.error("it is no relocatable x86-64 ELF object")
    }
    let table = header.sections
    guard table.rowBytes == 64, table.count > 0 else { throw Self.error("it has no section headers") }
    guard let range = table.range(in: bytes.count), header.nameSection < table.count else {
      throw Self.error("its section headers lie outside")
    }
    try readSections(range.lowerBound, count: table.count, names: header.nameSection)
    try readSymbols()
  }

  /// The relocations of a section.
  func relocations(of section: Int) throws -> [Relocation] {
    var result: [Relocation] = []
    for table in sections where table.info == section && (table.type == 4 || table.type == 9) {
      guard table.type == 4, table.size % 24 == 0 else { throw Self.error("'\(table.name)' is no table of addends") }
      for place in stride(from: table.range.lowerBound, to: table.range.upperBound, by: 24) {
        let info = try number(UInt64.self, place + 8)
        result.append(
          Relocation(
            offset: try offset(place), kind: UInt32(truncatingIfNeeded: info), symbol: Int(info >> 32),
            addend: Int(Int64(bitPattern: try number(UInt64.self, place + 16)))))
      }
    }
    return result
  }

  static func error(_ what: String) -> DiagnosticError {
    DiagnosticError("object", "the object file cannot be linked: \(what)")
  }

  private mutating func readSections(_ headers: Int, count: Int, names: Int) throws {
    let nameTable = try contents(headers + names * 64)
    for index in 0..<count {
      let header = headers + index * 64
      let type = try number(UInt32.self, header + 4)
      let hasBytes = type != 0 && type != 8  // null, nobits
      sections.append(
        Section(
          name: try string(Int(try number(UInt32.self, header)), in: nameTable), type: type,
          flags: try number(UInt64.self, header + 8), range: hasBytes ? try contents(header) : 0..<0,
          size: try offset(header + 32), link: Int(try number(UInt32.self, header + 40)),
          info: Int(try number(UInt32.self, header + 44)), alignment: max(1, try offset(header + 48))))
    }
  }

  private mutating func readSymbols() throws {
    for table in sections where table.type == 2 {
      guard symbols.isEmpty, table.size % 24 == 0, sections.indices.contains(table.link) else {
        throw Self.error("its table of symbols is damaged")
      }
      let names = sections[table.link].range
      for place in stride(from: table.range.lowerBound, to: table.range.upperBound, by: 24) {
        symbols.append(
          Symbol(
            name: try string(Int(try number(UInt32.self, place)), in: names),
            section: Int(try number(UInt16.self, place + 6)), value: try offset(place + 8)))
      }
    }
  }

  /// Where the contents of the section lie whose header is at `header`.
  private func contents(_ header: Int) throws -> Range<Int> {
    let (start, size) = (try offset(header + 24), try offset(header + 32))
    guard start <= bytes.count, size <= bytes.count - start else { throw Self.error("a section lies outside") }
    return start..<start + size
  }

  private func string(_ index: Int, in table: Range<Int>) throws -> String {
    guard index <= table.count else { throw Self.error("a name lies outside of its table") }
    return String(decoding: bytes[(table.lowerBound + index)..<table.upperBound].prefix { $0 != 0 }, as: UTF8.self)
  }

  /// A place, a size or an alignment: 64 bits that must fit a positive `Int`.
  private func offset(_ place: Int) throws -> Int {
    guard let value = Int(exactly: try number(UInt64.self, place)) else { throw Self.error("a number is too large") }
    return value
  }

  private func number<Number: FixedWidthInteger>(_ type: Number.Type, _ place: Int) throws -> Number {
    guard let number = bytes.withUnsafeBytes({ $0.number(type, at: place) }) else {
      throw Self.error("it ends too early")
    }
    return number
  }
}
