import DustinCodegen
import DustinInterpreter
import DustinRuntime
import XCTest

/// A row's bits depend on its own tokens only: not on how many rows, sequences or threads share the step, nor on
/// whether the prefill or the verify function computed it.
final class RowInvarianceTests: XCTestCase {
  /// Bits of the logits of every position, and of the cache at the end.
  private struct Trace: Equatable {
    var logits: [BitHash?]
    var cache: [UInt8]
  }

  private func shape(_ change: (inout RandomModule.Shape) -> Void) -> RandomModule.Shape {
    var shape = RandomModule.Shape()
    shape.layers = 2
    shape.hidden = 50
    shape.ffn = 72
    shape.vocab = 80
    shape.maxRows = 192
    shape.maxLength = 4096
    change(&shape)
    return shape
  }

  /// Odd head counts, groups from 1 to 5, head dims below, at and above a register tile.
  private var shapes: [RandomModule.Shape] {
    [
      shape { ($0.heads, $0.kvHeads, $0.headDim, $0.hasBiases) = (6, 3, 16, true) },
      shape { ($0.heads, $0.kvHeads, $0.headDim, $0.isTied) = (5, 1, 80, true) },
      shape { ($0.heads, $0.kvHeads, $0.headDim, $0.hidden, $0.ffn) = (7, 7, 32, 130, 33) },
    ]
  }

  private func hash(_ logits: UnsafeBufferPointer<Float>) -> BitHash {
    var hash = BitHash()
    hash.add(UnsafeRawBufferPointer(logits))
    return hash
  }

  /// Feeds tokens in pieces of the given sizes, cycling; `neighbours` are other sequences that share every step.
  private func feed(
    _ engine: Engine, _ function: String, _ tokens: [Int32], pieces: [Int], neighbours: [[Int32]] = []
  ) throws -> Trace {
    let cache = try KVCache(engine.model, positions: tokens.count)
    let others = try neighbours.map { try KVCache(engine.model, positions: $0.count + 1) }
    var trace = Trace(logits: Array(repeating: nil, count: tokens.count), cache: [])
    var (start, turn) = (0, 0)
    while start < tokens.count {
      let count = min(pieces[turn % pieces.count], tokens.count - start)
      turn += 1
      var rows: [StepRows] = []
      for (other, words) in zip(others, neighbours) {
        let left = words.count - other.length
        if left > 0 { rows.append(StepRows(other, words[other.length..<other.length + min(left, 1 + turn % 3)])) }
      }
      let mine = rows.count / 2
      rows.insert(StepRows(cache, tokens[start..<start + count]), at: mine)
      let result = try engine.step(function, rows)
      if function == "verify" {
        for row in 0..<count { trace.logits[start + row] = hash(try result.logits(sequence: mine, row: row)) }
      } else {
        trace.logits[start + count - 1] = hash(try result.lastLogits(sequence: mine))
      }
      for share in rows { try share.cache.commit(share.tokens.count) }
      start += count
    }
    trace.cache = try cache.bits(ofPositions: 0..<tokens.count)
    return trace
  }

  private func check(_ shape: RandomModule.Shape, _ pipeline: String, _ target: CPUTarget, length: Int, seed: UInt64)
    throws
  {
    let random = try RandomModule(shape, seed: seed)
    let compiled = try CompiledModule(random, pipeline: pipeline, target: target)
    var words = SeededGenerator(seed: seed)
    func tokens(_ count: Int) -> [Int32] {
      (0..<count).map { _ in Int32.random(in: 0..<Int32(shape.vocab), using: &words) }
    }
    let prompt = tokens(length)
    let neighbours = [tokens(70), tokens(3), tokens(131)]
    let one = try Engine(model: compiled.model, team: ThreadTeam(threads: 1))
    let two = try Engine(model: compiled.model, team: ThreadTeam(threads: 2))
    let three = try Engine(model: compiled.model, team: ThreadTeam(threads: 3))

    let reference = try feed(one, "verify", prompt, pieces: [1])
    let label = "\(shape), \(pipeline), \(target)"
    XCTAssertFalse(reference.logits.contains(nil))
    let rows = Array(1...17)
    XCTAssertEqual(try feed(one, "verify", prompt, pieces: rows), reference, "1 … 17 rows, \(label)")
    XCTAssertEqual(try feed(two, "verify", prompt, pieces: rows.reversed()), reference, "two threads, \(label)")
    XCTAssertEqual(try feed(three, "verify", prompt, pieces: [5, 96, 192, 1]), reference, "large steps, \(label)")
    XCTAssertEqual(
      try feed(two, "verify", prompt, pieces: [1, 6, 2], neighbours: neighbours), reference, "neighbours, \(label)")
    for (engine, pieces) in [(one, [192]), (two, [64, 7, 191]), (three, [100])] {
      let prefilled = try feed(engine, "prefill", prompt, pieces: pieces)
      XCTAssertEqual(prefilled.cache, reference.cache, "prefill in \(pieces), cache, \(label)")
      for (position, bits) in prefilled.logits.enumerated() where bits != nil {
        XCTAssertEqual(bits, reference.logits[position], "prefill in \(pieces), position \(position), \(label)")
      }
    }
  }

  func testEveryWayToComputeARowGivesTheSameBits() throws {
    for (index, shape) in shapes.enumerated() {
      for target in try runnableTargets(round: index) {
        for pipeline in ["target-fast", "target-f32"] {
          try check(shape, pipeline, target, length: 330, seed: UInt64(index + 1))
        }
      }
    }
  }

  /// Positions on both sides of the border of 1,024 keys, where partial results begin to be merged.
  func testTheBorderOfAChunkOfKeysChangesNothing() throws {
    let small = shape { ($0.heads, $0.kvHeads, $0.layers) = (3, 1, 1) }
    for target in try runnableTargets() {
      for pipeline in ["target-fast", "target-f32"] { try check(small, pipeline, target, length: 1100, seed: 9) }
    }
  }

  /// Beyond 2,048 positions three chunks are merged. Rows alone are slow there, so the steps of one row come last.
  func testThreeChunksOfKeysAreMergedTheSameWay() throws {
    let small = shape { ($0.heads, $0.kvHeads, $0.layers, $0.hidden, $0.ffn, $0.vocab) = (3, 1, 1, 32, 40, 48) }
    let (length, tail) = (2200, 40)
    for pipeline in ["target-fast", "target-f32"] {
      let random = try RandomModule(small, seed: 21)
      let compiled = try CompiledModule(random, pipeline: pipeline, target: CPUTarget.host())
      let prompt = random.tokens(length, seed: 22)
      let one = try Engine(model: compiled.model, team: ThreadTeam(threads: 1))
      let two = try Engine(model: compiled.model, team: ThreadTeam(threads: 2))
      let reference = try feed(one, "verify", prompt, pieces: [192])
      XCTAssertFalse(reference.logits.contains(nil))
      let head = Array(repeating: 192, count: (length - tail) / 192) + [(length - tail) % 192]
      let ways = [
        ("the last \(tail) rows alone", head + Array(repeating: 1, count: tail)),
        ("mixed steps", [64, 7, 191, 1, 17, 128]),
      ]
      for (name, pieces) in ways {
        XCTAssertEqual(try feed(two, "verify", prompt, pieces: pieces), reference, "\(name), \(pipeline)")
      }
      let prefilled = try feed(two, "prefill", prompt, pieces: [100])
      XCTAssertEqual(prefilled.cache, reference.cache, "prefill, \(pipeline)")
      XCTAssertEqual(prefilled.logits.last, reference.logits.last, "prefill, \(pipeline)")
    }
  }

  /// What the tests above compare does depend on the tokens: on one far behind, too.
  func testAnotherPromptGivesOtherBits() throws {
    let small = shape { ($0.heads, $0.kvHeads, $0.layers) = (3, 1, 1) }
    for target in try runnableTargets() {
      for pipeline in ["target-fast", "target-f32"] {
        let random = try RandomModule(small, seed: 31)
        let compiled = try CompiledModule(random, pipeline: pipeline, target: target)
        let engine = try Engine(model: compiled.model, team: ThreadTeam(threads: 2))
        let prompt = random.tokens(150, seed: 32)
        var other = prompt
        other[10] = (other[10] + 1) % Int32(small.vocab)
        let (a, b) = (
          try feed(engine, "verify", prompt, pieces: [64]), try feed(engine, "verify", other, pieces: [64])
        )
        let label = "\(pipeline), \(target)"
        XCTAssertEqual(a.logits[..<10], b.logits[..<10], "rows before the other token, \(label)")
        for position in 10..<prompt.count where a.logits[position] == b.logits[position] {
          XCTFail("position \(position) does not see the token at 10, \(label)")
        }
        XCTAssertEqual(Set(a.logits).count, prompt.count, "every position has logits of its own, \(label)")
        let bytes = a.cache.count / prompt.count
        XCTAssertEqual(a.cache[..<(10 * bytes)], b.cache[..<(10 * bytes)], label)
        XCTAssertNotEqual(a.cache[(10 * bytes)..<(11 * bytes)], b.cache[(10 * bytes)..<(11 * bytes)], label)
      }
    }
  }
}
