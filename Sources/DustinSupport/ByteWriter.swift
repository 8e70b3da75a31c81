/// Numbers and texts one behind the other, little-endian: what `ByteReader` reads.
public struct ByteWriter: Sendable {
  public private(set) var bytes: [UInt8] = []

  public init() {}

  public mutating func add(_ value: some FixedWidthInteger) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  public mutating func add(_ value: Bool) { add(value ? 1 : 0 as UInt8) }

  /// Its count, then its values.
  public mutating func add<Value: FixedWidthInteger>(_ values: [Value]) {
    add(UInt64(values.count))
    bytes.reserveCapacity(bytes.count + values.count * MemoryLayout<Value>.size)
    for value in values { add(value) }
  }

  public mutating func add(_ text: String) { add(Array(text.utf8)) }

  /// A count, and what `write` makes of each element.
  public mutating func add<Element>(
    _ elements: [Element], _ write: (Element, inout ByteWriter) throws -> Void
  ) rethrows {
    add(UInt64(elements.count))
    for element in elements { try write(element, &self) }
  }
}

/// Reads what `ByteWriter` wrote, and trusts none of it: whatever the bytes are, it ends with values or with an error.
public struct ByteReader {
  private let bytes: [UInt8]
  private let what: String
  private var offset = 0

  /// - Parameter what: how messages call the bytes: `the program of 'app'`.
  public init(_ bytes: [UInt8], _ what: String) {
    self.bytes = bytes
    self.what = what
  }

  /// What every damage becomes.
  public func damaged(_ reason: String) -> DiagnosticError {
    DiagnosticError("damaged", "\(what) is damaged at byte \(offset): \(reason)")
  }

  public mutating func read<Value: FixedWidthInteger>(_ type: Value.Type) throws -> Value {
    guard let value = bytes.withUnsafeBytes({ $0.number(type, at: offset) }) else { throw damaged("it ends too early") }
    offset += MemoryLayout<Value>.size
    return value
  }

  /// A number from 0 up.
  public mutating func size() throws -> Int {
    guard let value = Int(exactly: try read(UInt64.self)) else { throw damaged("a size is absurd") }
    return value
  }

  public mutating func bool() throws -> Bool {
    switch try read(UInt8.self) {
    case 0: return false
    case 1: return true
    default: throw damaged("a truth value is neither 0 nor 1")
    }
  }

  public mutating func integers<Value: FixedWidthInteger>(_ type: Value.Type) throws -> [Value] {
    let count = try size()
    let size = MemoryLayout<Value>.size
    guard count <= (bytes.count - offset) / size else { throw damaged("it ends too early") }
    defer { offset += count * size }
    // At once, not one by one: a tokenizer has hundreds of thousands, and a program starts in milliseconds.
    let values = bytes.withUnsafeBytes { memory in
      [Value](unsafeUninitializedCapacity: count) { buffer, initialized in
        UnsafeMutableRawBufferPointer(buffer).copyMemory(
          from: UnsafeRawBufferPointer(rebasing: memory[offset..<offset + count * size]))
        initialized = count
      }
    }
    #if _endian(big)
      return values.map { Value(littleEndian: $0) }
    #else
      return values
    #endif
  }

  public mutating func text() throws -> String {
    guard let text = String(validating: try integers(UInt8.self), as: UTF8.self) else {
      throw damaged("a text is not UTF-8")
    }
    return text
  }

  /// As many elements as are stated; each takes at least a byte, so that a count cannot ask for more than there is.
  public mutating func elements<Element>(_ read: (inout ByteReader) throws -> Element) throws -> [Element] {
    let count = try size()
    guard count <= bytes.count - offset else { throw damaged("it ends too early") }
    var elements: [Element] = []
    elements.reserveCapacity(min(count, 4096))
    for _ in 0..<count { elements.append(try read(&self)) }
    return elements
  }

  /// - Throws: when bytes are left.
  public func finish() throws {
    guard offset == bytes.count else { throw damaged("\(bytes.count - offset) bytes are left over") }
  }
}

/// A sum that a damaged file fails: 64 bits, FNV-1a over words of eight bytes. No protection against an attacker.
public struct Checksum: Sendable {
  private var hash: UInt64 = 0xcbf2_9ce4_8422_2325
  private var count: UInt64 = 0

  public init() {}

  /// All pieces but the last must be a multiple of eight bytes long.
  public mutating func add(_ bytes: UnsafeRawBufferPointer) {
    let words = bytes.count / 8
    for index in 0..<words {
      mix(UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self)))
    }
    var last: UInt64 = 0
    for index in words * 8..<bytes.count { last = last << 8 | UInt64(bytes[index]) }
    if bytes.count % 8 != 0 { mix(last) }
    count &+= UInt64(bytes.count)
  }

  /// The multiplication carries upwards only: the shift brings the upper half down again.
  private mutating func mix(_ word: UInt64) {
    hash = (hash ^ word) &* 0x0000_0100_0000_01b3
    hash ^= hash >> 32
  }

  public var value: UInt64 {
    var last = self
    last.mix(count)
    return last.hash
  }

  public static func of(_ bytes: [UInt8]) -> UInt64 {
    var sum = Checksum()
    bytes.withUnsafeBytes { sum.add($0) }
    return sum.value
  }
}
