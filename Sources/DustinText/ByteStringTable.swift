/// Byte strings and their numbers: an open-addressing hash table whose keys lie in one array.
///
/// Swift's own strings compare by canonical equivalence, which two different tokens may share, and a dictionary of byte
/// arrays allocates once a key.
struct ByteStringTable: Sendable {
  private var arena: [UInt8] = []
  /// Key i is `arena[ends[i - 1]..<ends[i]]`.
  private var ends: [Int] = []
  private var hashes: [UInt32] = []
  /// Key number + 1, or 0 for a free place. The count is a power of two, at least twice the number of keys.
  private var slots: [UInt32]

  init(capacity: Int = 16) {
    var size = 32
    while size < capacity * 2 { size *= 2 }
    slots = [UInt32](repeating: 0, count: size)
  }

  var count: Int { ends.count }

  /// The number of the key that equals `bytes[range]`.
  func find(_ bytes: [UInt8], _ range: Range<Int>) -> Int? {
    probe(bytes, range, hash(bytes, range)).key
  }

  /// The number of the key, new or old.
  mutating func insert(_ bytes: [UInt8], _ range: Range<Int>) -> (key: Int, isNew: Bool) {
    let hash = hash(bytes, range)
    let place = probe(bytes, range, hash)
    if let key = place.key { return (key, false) }
    let key = ends.count
    arena.append(contentsOf: bytes[range])
    ends.append(arena.count)
    hashes.append(hash)
    slots[place.slot] = UInt32(truncatingIfNeeded: key + 1)
    if ends.count * 2 > slots.count { grow() }
    return (key, true)
  }

  private func probe(_ bytes: [UInt8], _ range: Range<Int>, _ hash: UInt32) -> (key: Int?, slot: Int) {
    let mask = slots.count - 1
    var slot = Int(hash) & mask
    while slots[slot] != 0 {
      let key = Int(slots[slot]) - 1
      if hashes[key] == hash, equals(key, bytes, range) { return (key, slot) }
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
    slots = [UInt32](repeating: 0, count: slots.count * 2)
    let mask = slots.count - 1
    for key in hashes.indices {
      var slot = Int(hashes[key]) & mask
      while slots[slot] != 0 { slot = (slot + 1) & mask }
      slots[slot] = UInt32(truncatingIfNeeded: key + 1)
    }
  }
}
