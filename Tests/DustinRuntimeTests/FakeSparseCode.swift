import CDustin
import DustinSupport

@testable import DustinRuntime

/// The words of a fake call.
private struct Words {
  let function: FakePair.Function
  let vocabulary, rowStride, logitsAt: Int
  let agreement, levels: UInt64
  let height: Float
  let isPerSequence: Bool
  let budget, planes: Int
  let writesCopies, readsAllRows: Bool
  let set: (fixed: Int, per: Int, bytes: Int)?
  let signal: (fixed: Int, per: Int)?
  let echoes: Bool

  init?(_ table: UnsafePointer<Int64>) {
    let w = (0..<19).map { Int(table[$0]) }
    guard let function = FakePair.Function(rawValue: w[0]) else { return nil }
    self.function = function
    (vocabulary, rowStride, logitsAt) = (w[1], w[2], w[3])
    (agreement, levels) = (UInt64(w[4]), UInt64(w[5]))
    height = Float(bitPattern: UInt32(w[6]))
    isPerSequence = w[7] == 1
    (budget, planes) = (w[8], w[9])
    (writesCopies, readsAllRows) = (w[10] == 1, w[11] == 1)
    set = w[12] < 0 ? nil : (w[12], w[13], w[14])
    signal = w[15] < 0 ? nil : (w[15], w[16])
    echoes = w[18] == 1
  }

  func at(_ port: Int, _ row: Int) -> Int { port * rowStride + row * 64 }
}

let fakeSparseEntry: dustin_entry = { step, thread in
  guard let step, let table = step.pointee.table, let words = Words(table + 3) else { return }
  let arena = UnsafeMutableRawPointer(step.pointee.arena!)
  let threads = Int64(step.pointee.threads)
  let sequences = (0..<Int(step.pointee.sequence_count)).map { step.pointee.sequences[$0] }
  if thread == 0 { record(words, arena, sequences) }
  fakeBarrier(step)
  for (index, s) in sequences.enumerated() where Int64(index) % threads == thread {
    switch words.function {
    case .select, .look: choose(words, arena, s)
    default:
      for r in 0..<Int(s.rows) { write(words, arena, s, r) }
    }
  }
  fakeBarrier(step)
  // The threads are shifted, so that each reads what another one wrote.
  for (index, s) in sequences.enumerated() where Int64(index + 1) % threads == thread {
    switch words.function {
    case .select, .look: break
    case .observe: choose(words, arena, s)
    default:
      for r in 0..<Int(s.rows) where !words.isPerSequence || r == Int(s.rows) - 1 {
        speak(words, arena, s, r, place: words.isPerSequence ? index : Int(s.row0) + r)
      }
    }
  }
  fakeBarrier(step)
}

// MARK: Sets

private func plane(_ words: Words, _ s: dustin_sequence, _ number: Int) -> UnsafeMutableRawPointer? {
  guard let set = words.set, let values = s.values else { return nil }
  return UnsafeMutableRawPointer(values) + set.fixed + set.per * Int(s.capacity) + number * set.bytes
}

/// The set's planes; the draft's has one.
private func planes(_ words: Words, _ s: dustin_sequence) -> [[Int32]] {
  guard words.set != nil else { return [] }
  return (0..<(words.function == .draft || words.function == .look ? 1 : words.planes)).map { number in
    guard let base = plane(words, s, number) else { return [] }
    let count = Int(base.load(as: Int32.self))
    if !(0...words.budget ~= count) { FakeLog.shared.fault("a set of \(count) positions") }
    let positions = (0..<min(max(count, 0), words.budget)).map {
      base.load(fromByteOffset: 64 + 4 * $0, as: Int32.self)
    }
    if zip(positions, positions.dropFirst()).contains(where: { $0 >= $1 }) {
      FakeLog.shared.fault("positions \(positions) do not ascend")
    }
    if positions.contains(where: { $0 < 0 || $0 >= s.length }) {
      FakeLog.shared.fault("positions \(positions) of \(s.length) committed ones")
    }
    return positions
  }
}

/// Sinks, the last position, and what the signal (or, without one, a hash of the kept rows) puts first.
private func choose(_ words: Words, _ arena: UnsafeMutableRawPointer, _ s: dustin_sequence) {
  let length = Int(s.length)
  var hash: UInt64 = 3
  let port = words.function == .observe ? 0 : 2
  for r in 0..<Int(s.rows) {
    for word in 0..<(port == 0 ? 1 : 3) {
      let value = arena.load(fromByteOffset: words.at(port, Int(s.row0) + r) + 4 * word, as: Int32.self)
      hash = mixed(hash, UInt64(bitPattern: Int64(value)))
    }
  }
  var scores = (0..<length).map { UInt64(mixed(hash, UInt64($0)) % 1000) }
  if words.echoes, words.function == .look, s.rows > 1 {
    let proposal = arena.load(fromByteOffset: words.at(2, Int(s.row0) + 1), as: Int32.self)
    scores = (0..<length).map { $0 == 1 + Int(proposal) ? 999 : 0 }
  }
  if let signal = words.signal, let values = s.values {
    let base = UnsafeMutableRawPointer(values) + signal.fixed + signal.per * Int(s.capacity)
    for position in 0..<length {
      if words.function == .look {
        base.storeBytes(of: Float(scores[position] + 1) / 1000, toByteOffset: 4 * position, as: Float.self)
      } else {
        // Mostly the signal's, a little the rows' choice.
        let score = base.load(fromByteOffset: 4 * position, as: Float.self)
        scores[position] = UInt64(score * 1000) * 4 + scores[position]
      }
    }
  }
  guard words.set != nil else { return }
  for number in 0..<(words.function == .look ? 1 : words.planes) {
    guard let base = plane(words, s, number) else { return }
    var order = (0..<length).sorted { (scores[$0], $1) > (scores[$1], $0) }
    if number > 0 { order.reverse() }
    var chosen: Set<Int> = []
    for position in [0, length - 1] + order where chosen.count < words.budget && 0..<length ~= position {
      chosen.insert(position)
    }
    base.storeBytes(of: Int32(chosen.count), as: Int32.self)
    for (place, position) in chosen.sorted().enumerated() {
      base.storeBytes(of: Int32(position), toByteOffset: 64 + 4 * place, as: Int32.self)
    }
  }
}

// MARK: Rows

/// Positions that a row does not see.
private func hidden(_ set: [Int32], before position: Int) -> Int {
  let last = Int(set.last ?? -1)
  return min(last + 1, position) - set.filter { $0 < position }.count
}

private func write(_ words: Words, _ arena: UnsafeMutableRawPointer, _ s: dustin_sequence, _ r: Int) {
  let row = Int(s.row0) + r
  let id = arena.load(fromByteOffset: words.at(0, row), as: Int32.self)
  let position = arena.load(fromByteOffset: words.at(1, row), as: Int32.self)
  if Int(position) != Int(s.length) + r { FakeLog.shared.fault("position \(position) behind \(s.length) and \(r)") }
  // What is left out leaves its mark in the keys and values.
  var mark: UInt64 = 0
  if words.function != .observe {
    for set in planes(words, s) where hidden(set, before: Int(position)) > 0 {
      mark = set.reduce(mark &+ 5) { mixed($0, UInt64($1)) }
    }
  }
  storeRow(words, s, slot: Int(position), id: id, mark: mark)
  let out = words.at(3, row)
  for (word, value) in [id, position, Int32(words.function.rawValue)].enumerated() {
    arena.storeBytes(of: value, toByteOffset: out + 4 * word, as: Int32.self)
  }
}

private func rowHash(_ id: Int32, _ position: Int, _ mark: UInt64) -> UInt64 {
  mixed(UInt64(id) &+ 1, UInt64(position) &+ 77 &+ mark &* 1_000_003)
}

private func storeRow(_ words: Words, _ s: dustin_sequence, slot: Int, id: Int32, mark: UInt64) {
  var hash = rowHash(id, slot, mark)
  eachFakeElement(s, slot: slot, copies: words.writesCopies) { number, address, bytes in
    if number == 0 { hash = rowHash(id, slot, mark) }  // the copies hold the same
    hash = mixed(hash, 3)
    if bytes == 2 {
      address.storeBytes(of: UInt16(truncatingIfNeeded: hash), as: UInt16.self)
    } else {
      // The first one of the f32 keys is the token itself.
      address.storeBytes(of: number == 12 ? UInt32(bitPattern: id) : UInt32(truncatingIfNeeded: hash), as: UInt32.self)
    }
  }
}

/// The token at a position.
private func token(_ s: dustin_sequence, _ slot: Int) -> Int32 {
  var id: Int32 = 0
  eachFakeElement(s, slot: slot, copies: false) { number, address, _ in
    if number == 12 { id = address.load(as: Int32.self) }
  }
  return id
}

private func seen(_ s: dustin_sequence, _ slot: Int, _ hash: UInt64) -> UInt64 {
  var hash = hash
  eachFakeElement(s, slot: slot, copies: false) { _, address, bytes in
    hash = mixed(hash, bytes == 2 ? UInt64(address.load(as: UInt16.self)) : UInt64(address.load(as: UInt32.self)))
  }
  return hash
}

/// What `seen` makes of a position that a dense pass wrote.
private func ideal(_ id: Int32, _ slot: Int, _ hash: UInt64) -> UInt64 {
  var (hash, bits) = (hash, rowHash(id, slot, 0))
  for number in 0..<16 {
    bits = mixed(bits, 3)
    let value: UInt64 =
      number < 12
      ? UInt64(UInt16(truncatingIfNeeded: bits))
      : number == 12 ? UInt64(UInt32(bitPattern: id)) : UInt64(UInt32(truncatingIfNeeded: bits))
    hash = mixed(hash, value)
  }
  return hash
}

private func speak(_ words: Words, _ arena: UnsafeMutableRawPointer, _ s: dustin_sequence, _ r: Int, place: Int) {
  let position = Int(s.length) + r
  var hash: UInt64 = 12345
  var salt: UInt64 = 1
  switch words.function {
  case .verify, .draft:
    var right: UInt64 = 12345
    for slot in 0...position { right = ideal(token(s, slot), slot, right) }
    let sets = planes(words, s)
    var shown: UInt64 = 99
    var isWhole = words.function == .verify
    for set in sets {
      for slot in 0...position where set.contains(Int32(slot)) || slot > Int(set.last ?? -1) {
        shown = seen(s, slot, shown)
      }
      isWhole = isWhole && hidden(set, before: position) == 0
    }
    if isWhole {
      for slot in 0...position { hash = seen(s, slot, hash) }
    } else if mixed(mixed(right, shown), 99) % 100 < words.agreement {
      hash = right
    } else {
      hash = mixed(right, shown)
      salt = words.function == .draft ? 17 : 5
    }
  default:
    for slot in 0...position { hash = seen(s, slot, hash) }
  }
  let out = (arena + words.logitsAt + place * words.vocabulary * 4).assumingMemoryBound(to: Float.self)
  for token in 0..<words.vocabulary {
    let level = mixed(hash, mixed(salt, 5) &+ UInt64(token)) % words.levels
    out[token] = words.height * Float(level) / Float(words.levels)
  }
  if words.echoes, words.function == .verify, let echo = planes(words, s).first?.dropFirst().first,
    1...Int32(words.vocabulary) ~= echo
  {
    out[Int(echo) - 1] += words.height
  }
}

/// Written from the layout's description in Program.swift, not with the code under test. Elements are numbered in the
/// order of the regions, heads and dims; with `copies` those of the copies follow from 0 on again.
private func eachFakeElement(
  _ s: dustin_sequence, slot: Int, copies: Bool, _ body: (Int, UnsafeMutableRawPointer, Int) -> Void
) {
  let capacity = Int(s.capacity)
  var start = UnsafeMutableRawPointer(s.cache!)
  var number = 0
  for region in FakeModel.regions {
    let bytes = region.elementBytes
    let u = bytes == 2 ? 2 : 1
    for head in 0..<region.heads {
      let block = start + head * region.dim * bytes * capacity + slot / 16 * (16 * region.dim * bytes)
      let p = slot % 16
      for d in 0..<region.dim {
        let element = region.isKeys ? ((d / u) * 16 + p) * u + d % u : ((p / u) * region.dim + d) * u + p % u
        body(number, block + element * bytes, bytes)
        number += 1
      }
    }
    start += region.heads * region.dim * bytes * capacity
  }
  guard copies else { return }
  number = 0
  for region in FakeModel.regions {
    let width = region.heads * region.dim
    for element in 0..<width {
      body(number, start + (slot * width + element) * region.elementBytes, region.elementBytes)
      number += 1
    }
    start += width * region.elementBytes * capacity
  }
}

private func record(_ words: Words, _ arena: UnsafeMutableRawPointer, _ sequences: [dustin_sequence]) {
  let shares = sequences.map { s in
    var share = FakeLog.Share(length: Int(s.length))
    for row in Int(s.row0)..<Int(s.row0 + s.rows) {
      switch words.function {
      case .select, .look:
        share.kept.append((0..<3).map { arena.load(fromByteOffset: words.at(2, row) + 4 * $0, as: Int32.self) })
      default:
        share.ids.append(arena.load(fromByteOffset: words.at(0, row), as: Int32.self))
        share.positions.append(arena.load(fromByteOffset: words.at(1, row), as: Int32.self))
      }
    }
    if words.function == .verify || words.function == .draft { share.set = planes(words, s) }
    return share
  }
  FakeLog.shared.add(.init(function: words.function, shares: shares))
}
