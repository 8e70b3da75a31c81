import DustinSupport

extension CodeImage {
  /// Links an object that we made: its instructions and read-only constants one behind the other, every reference
  /// between them resolved. References are relative to the instruction, so the image may lie anywhere.
  ///
  /// - Throws: `DiagnosticError` with id `object` for what such an image cannot hold (writable data, symbols that are
  ///   defined elsewhere, absolute addresses) and for damaged objects.
  init(linking bytes: [UInt8], entry: String) throws {
    let object = try ELFObject(bytes)
    let (image, starts) = try Self.place(object, bytes)
    self.init(bytes: image, entryOffset: 0)
    for (index, start) in starts.sorted(by: { $0.key < $1.key }) {
      for relocation in try object.relocations(of: index) {
        try apply(relocation, to: object.sections[index], at: start, object, starts)
      }
    }
    guard let symbol = object.symbols.first(where: { $0.name == entry && $0.section != 0 }),
      let start = starts[symbol.section], object.sections[symbol.section].isExecutable,
      symbol.value < object.sections[symbol.section].size
    else { throw ELFObject.error("it does not define '\(entry)'") }
    entryOffset = start + symbol.value
  }

  /// Copies what runs and what is read; gives each section's place by its number.
  private static func place(_ object: ELFObject, _ bytes: [UInt8]) throws -> ([UInt8], [Int: Int]) {
    var image: [UInt8] = []
    var starts: [Int: Int] = [:]
    var total = 0
    let allocated = object.sections.indices.filter { object.sections[$0].isAllocated && object.sections[$0].size > 0 }
    for wantsCode in [true, false] {
      for index in allocated where object.sections[index].isExecutable == wantsCode {
        let section = object.sections[index]
        guard !section.isWritable else { throw ELFObject.error("'\(section.name)' is writable") }
        guard section.hasContents, section.name.hasPrefix(wantsCode ? ".text" : ".rodata") else { continue }
        // Sections of a sound object do not overlap.
        total += section.size
        guard total <= bytes.count else { throw ELFObject.error("its sections overlap") }
        guard section.alignment <= 4096, section.alignment & (section.alignment - 1) == 0 else {
          throw ELFObject.error("'\(section.name)' wants \(section.alignment)-byte alignment")
        }
        let padding = (section.alignment - image.count % section.alignment) % section.alignment
        image += [UInt8](repeating: 0xcc, count: padding)
        starts[index] = image.count
        image += bytes[section.range]
      }
    }
    guard image.count < Int(Int32.max) else { throw ELFObject.error("it is larger than 2 GiB") }
    return (image, starts)
  }

  private mutating func apply(
    _ relocation: ELFObject.Relocation, to section: ELFObject.Section, at start: Int, _ object: ELFObject,
    _ starts: [Int: Int]
  ) throws {
    // R_X86_64_PC32 and R_X86_64_PLT32: 32 bits, S + A - P
    guard relocation.kind == 2 || relocation.kind == 4 else {
      throw ELFObject.error("'\(section.name)' has a relocation of type \(relocation.kind)")
    }
    guard section.size >= 4, relocation.offset <= section.size - 4, object.symbols.indices.contains(relocation.symbol)
    else { throw ELFObject.error("a relocation of '\(section.name)' lies outside") }
    let symbol = object.symbols[relocation.symbol]
    guard let target = starts[symbol.section], symbol.value <= object.sections[symbol.section].size else {
      let name = symbol.name.isEmpty ? "a section that is not code" : "'\(symbol.name)'"
      throw ELFObject.error("it needs \(name), which it does not define")
    }
    let place = start + relocation.offset
    let (distance, overflow) = relocation.addend.addingReportingOverflow(target + symbol.value - place)
    guard !overflow, let value = Int32(exactly: distance) else {
      throw ELFObject.error("a relocation of '\(section.name)' reaches too far")
    }
    for byte in 0..<4 { bytes[place + byte] = UInt8(truncatingIfNeeded: value >> (8 * byte)) }
  }
}
