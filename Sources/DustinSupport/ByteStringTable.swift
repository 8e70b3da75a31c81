/// Byte strings and their numbers: an open-addressing hash table whose keys lie in one array.
///
/// Swift's own strings compare by canonical equivalence, which two different keys or tokens may share, and a dictionary of
/// byte arrays allocates once a key. Keys are numbered from 0 in the order of their coming; at most 2^32 - 1 of them.
public struct ByteStringTable: Sendable {
  private var arena: [UInt8] = []
  /// Key i is `arena[ends[i - 1]..<ends[i]]`.
  private var ends: [Int] = []
  /// Hash in the upper half, key number + 1 in the lower one; 0 for a free place. The count is a power of two, at least
  /// twice the number of keys.
  private var slots: [UInt64]

  public init(capacity: Int = 16) {
    var size = 32
    while size < capacity * 2 { size *= 2 }
    slots = [UInt64](repeating: 0, count: size)
  }

  public var count: Int { ends.count }

  /// The bytes of key `number`, which is below `count`.
  public func key(_ number: Int) -> ArraySlice<UInt8> { arena[(number == 0 ? 0 : ends[number - 1])..<ends[number]] }

  /// The number of the key that equals `bytes[range]`.
  public func find(_ bytes: [UInt8], _ range: Range<Int>) -> Int? {
    probe(bytes, range, hash(bytes, range)).key
  }

  /// The number of the key, new or old.
  public mutating func insert(_ bytes: [UInt8], _ range: Range<Int>) -> (key: Int, isNew: Bool) {
    let hash = hash(bytes, range)
    let place = probe(bytes, range, hash)
    if let key = place.key { return (key, false) }
    let key = ends.count
    arena.append(contentsOf: bytes[range])
    ends.append(arena.count)
    slots[place.slot] = UInt64(hash) << 32 | UInt64(UInt32(truncatingIfNeeded: key + 1))
    if ends.count * 2 > slots.count { grow() }
    return (key, true)
  }

  private func probe(_ bytes: [UInt8], _ range: Range<Int>, _ hash: UInt32) -> (key: Int?, slot: Int) {
    let mask = slots.count - 1
    var slot = Int(hash) & mask
    while slots[slot] != 0 {
      let entry = slots[slot]
      let key = Int(UInt32(truncatingIfNeeded: entry)) - 1
      if UInt32(truncatingIfNeeded: entry >> 32) == hash, equals(key, bytes, range) { return (key, slot) }
      slot = (slot + 1) & mask
    }
    return (nil, slot)
  }

  private func equals(_ key: Int, _ bytes: [UInt8], _ range: Range<Int>) -> Bool {
    let start = key == 0 ? 0 : ends[key - 1]
    guard ends[key] - start == range.count else { return false }
    for offset in 0..<range.count where arena[start + offset] != bytes[range.lowerBound + offset] { return false }
    return true
  }

  /// SipHash with the process's random seed: a text cannot be made to collide.
  private func hash(_ bytes: [UInt8], _ range: Range<Int>) -> UInt32 {
    var hasher = Hasher()
    bytes.withUnsafeBytes { hasher.combine(bytes: UnsafeRawBufferPointer(rebasing: $0[range])) }
    return UInt32(truncatingIfNeeded: hasher.finalize())
  }

  private mutating func grow() {
    let old = slots
    slots = [UInt64](repeating: 0, count: old.count * 2)
    let mask = slots.count - 1
    for entry in old where entry != 0 {
      var slot = Int(entry >> 32) & mask
      while slots[slot] != 0 { slot = (slot + 1) & mask }
      slots[slot] = entry
    }
  }
}
