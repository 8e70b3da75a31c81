import DustinSupport

/// The relocatable object with the runtime, which `make build` links beside the tool: it refers to a payload that it does
/// not hold (bundle.c). `adding` gives it one.
struct RuntimeObject {
  private var bytes: [UInt8]
  private let path: String

  /// The two symbols around the payload.
  private static let start = "dustin_payload_start"
  private static let end = "dustin_payload_end"

  init(_ bytes: [UInt8], path: String) {
    self.bytes = bytes
    self.path = path
  }

  /// The object with one more read-only section, between whose ends the symbols of the payload lie.
  ///
  /// The section's bytes and a new table of sections go behind the old file; the symbols, which were undefined, are
  /// written over in place.
  /// - Throws: `DiagnosticError` with id `runner` when this is no object with these symbols.
  func adding(_ payload: [UInt8]) throws -> [UInt8] {
    guard let file = ELFHeader(bytes), file.type == 1 else { throw failed("is no object file") }
    let (rowBytes, count) = (file.sections.rowBytes, file.sections.count)
    // Beyond these numbers objects have another form.
    guard rowBytes == 64, (1..<0xFE00).contains(count), let table = file.sections.range(in: bytes.count) else {
      throw failed("has a table of sections that is not understood")
    }
    let sections = try (0..<count).map { try section(table.lowerBound + $0 * rowBytes) }
    let names = sections[min(file.nameSection, count - 1)]
    let constants = try sections.first { try text($0.name, in: names) == ".rodata" }
    guard let constants else { throw failed("has no constants") }

    var object = self
    let places = [Self.start: 0, Self.end: payload.count]
    var found = 0
    for symbols in sections where symbols.type == 2 {
      guard symbols.link < count else { throw failed("has symbols without names") }
      for place in stride(from: symbols.offset, to: symbols.offset + symbols.size - 23, by: 24) {
        let name = try text(Int(number(place, UInt32.self)), in: sections[symbols.link])
        guard let value = places[name] else { continue }
        guard try number(place + 6, UInt16.self) == 0 else { throw failed("holds a model already") }
        object.set(place + 6, UInt16(count))
        object.set(place + 8, UInt64(value))
        found += 1
      }
    }
    guard found == places.count else { throw failed("does not ask for a model") }

    object.pad(to: 4096)
    let offset = object.bytes.count
    object.bytes += payload
    object.pad(to: 8)
    let newTable = object.bytes.count
    object.bytes += bytes[table]
    // Name, type (bits of the program), flags (in memory), address, offset, size, link, info, alignment, entry size.
    var header = ByteWriter()
    header.add(UInt32(constants.name))
    header.add(1 as UInt32)
    for word in [2, 0, offset, payload.count, 0, 4096, 0] { header.add(UInt64(word)) }
    object.bytes += header.bytes
    object.set(40, UInt64(newTable))
    object.set(60, UInt16(count + 1))
    return object.bytes
  }

  private struct Section {
    let name: Int
    let type: UInt32
    let offset: Int
    let size: Int
    let link: Int
  }

  private func section(_ place: Int) throws -> Section {
    let section = Section(
      name: try Int(number(place, UInt32.self)), type: try number(place + 4, UInt32.self),
      offset: try Int(clamping: number(place + 24, UInt64.self)),
      size: try Int(clamping: number(place + 32, UInt64.self)),
      link: try Int(number(place + 40, UInt32.self)))
    // Sections of zeros lie nowhere.
    guard section.type == 8 || (section.offset <= bytes.count && section.size <= bytes.count - section.offset) else {
      throw failed("has a section that does not lie inside")
    }
    return section
  }

  private func number<Value: FixedWidthInteger>(_ place: Int, _ type: Value.Type) throws -> Value {
    guard let number = bytes.withUnsafeBytes({ $0.number(type, at: place) }) else { throw failed("ends too early") }
    return number
  }

  /// A name in a table of names.
  private func text(_ place: Int, in names: Section) throws -> String {
    guard names.type == 3 else { throw failed("has names that lie in no table of names") }
    // The section lies inside the file, so that the sum is no larger than its bytes.
    guard place < names.size,
      let end = bytes[names.offset + place..<names.offset + names.size].firstIndex(of: 0)
    else { throw failed("has a name without an end") }
    return String(decoding: bytes[names.offset + place..<end], as: UTF8.self)
  }

  private mutating func set(_ place: Int, _ value: some FixedWidthInteger) {
    withUnsafeBytes(of: value.littleEndian) { new in
      for (index, byte) in new.enumerated() { bytes[place + index] = byte }
    }
  }

  private mutating func pad(to multiple: Int) {
    bytes += [UInt8](repeating: 0, count: (multiple - bytes.count % multiple) % multiple)
  }

  private func failed(_ what: String) -> DiagnosticError {
    DiagnosticError("runner", "'\(path)' \(what)", notes: [.note("'make build' makes the right one beside the tool")])
  }
}
