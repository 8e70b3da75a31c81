import DustinSupport
import DustinText
import XCTest

/// No file traps: what comes out is a tokenizer that works or a diagnostic.
final class TokenizerFuzzTests: XCTestCase {
  private let text =
    Array("It's 12 whales: é\u{301}\n\n  Dustin <mask> été....<|im_start|>\u{FFFD}".utf8) + [0xE2, 0x82]

  private func load(_ bytes: [UInt8]) -> Bool {
    do {
      let tokenizer = try Tokenizer(SourceBuffer(name: "tokenizer.json", utf8: bytes))
      let ids = tokenizer.encode(text)
      XCTAssertTrue(ids.allSatisfy { tokenizer.bytes(of: $0) != nil })
      _ = tokenizer.decode(ids, skipSpecial: true)
      return true
    } catch let error as DiagnosticError {
      XCTAssertFalse(error.description.isEmpty)
    } catch {
      XCTFail("not a diagnostic: \(error)")
    }
    return false
  }

  /// Bytes changed, taken out, doubled and put in.
  func testMutatedBytes() throws {
    var random = SeededGenerator(seed: 3)
    let sources = try ["llama3", "gpt2"].map { try small($0) }
    let pieces = ["{", "}", "[", "]", ",", ":", "\"", "\\", "null", "true", "-", "1e999", "\\ud800", "\u{0}", "é"]
    var loaded = 0
    for _ in 0..<2500 {
      var bytes = sources[Int.random(in: 0..<2, using: &random)]
      for _ in 0...Int.random(in: 0...2, using: &random) {
        let place = Int.random(in: 0..<bytes.count, using: &random)
        let end = min(bytes.count, place + Int.random(in: 1...20, using: &random))
        switch Int.random(in: 0..<5, using: &random) {
        case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
        case 1: bytes.removeSubrange(place..<end)
        case 2: bytes.insert(contentsOf: Array(bytes[place..<end]), at: place)
        case 3: bytes.insert(contentsOf: Array((pieces.randomElement(using: &random) ?? "").utf8), at: place)
        default: bytes[place] = bytes[place] ^ 1
        }
      }
      if load(bytes) { loaded += 1 }
    }
    // Some mutations are harmless, else nothing behind the JSON reader was tried.
    XCTAssertGreaterThan(loaded, 10)
  }

  /// Whole values replaced by others: valid JSON that means something else.
  func testReplacedValues() throws {
    var random = SeededGenerator(seed: 4)
    let replacements = [
      "null", "true", "0", "-1", "1", "300", "70000", "4194304", "9223372036854775807", "1e30", "\"\"",
      "\"Ġ\"",
      "\" \"", "\"a b\"", "[]",
      "{}", "[[]]", "{\"type\":\"BPE\"}", "{\"type\":\"Sequence\"}", "{\"type\":\"ByteLevel\"}", "[\"a\",\"b\"]",
      "{\"a\":0}",
    ]
    // Most values are tokens and merges; the others get their share by being drawn twice.
    var cases: [(bytes: [UInt8], ranges: [SourceRange])] = []
    for name in ["llama3", "gpt2"] {
      let buffer = SourceBuffer(name: name, utf8: try small(name))
      let root = try JSONValue.parse(buffer)
      var all: [SourceRange] = []
      var rare: [SourceRange] = []
      collect(root, into: &all, rare: &rare)
      cases.append((buffer.utf8, all))
      cases.append((buffer.utf8, rare))
    }
    var loaded = 0
    for round in 0..<2500 {
      let (bytes, ranges) = cases[round % cases.count]
      let range = ranges[Int.random(in: 0..<ranges.count, using: &random)]
      var changed = bytes
      let replacement = replacements[Int.random(in: 0..<replacements.count, using: &random)]
      changed.replaceSubrange(range.start..<range.end, with: Array(replacement.utf8))
      if load(changed) { loaded += 1 }
    }
    XCTAssertGreaterThan(loaded, 10)
  }

  /// A golden file with the bytes and twenty merges only: the fewer tokens, the more mutations hit something else.
  private func small(_ name: String) throws -> [UInt8] {
    let root = try JSONValue.parse(SourceBuffer(name: name, utf8: try Golden.source(name)))
    let model = try XCTUnwrap(root["model"])
    let vocabulary = try XCTUnwrap(model["vocab"])
    let merges = try XCTUnwrap(model["merges"])
    func source(_ value: JSONValue) -> String {
      String(decoding: value.range.buffer.utf8[value.range.start..<value.range.end], as: UTF8.self)
    }
    let entries = (vocabulary.objectEntries ?? []).filter { ($0.value.intValue ?? 0) < 276 }
    let tokens = "{" + entries.map { JSON.quoted($0.key) + ":" + source($0.value) }.joined(separator: ",") + "}"
    let pairs = "[" + (merges.arrayValue ?? []).prefix(20).map(source).joined(separator: ",") + "]"
    var bytes = vocabulary.range.buffer.utf8
    // The later one first: the earlier one keeps its place.
    bytes.replaceSubrange(merges.range.start..<merges.range.end, with: Array(pairs.utf8))
    bytes.replaceSubrange(vocabulary.range.start..<vocabulary.range.end, with: Array(tokens.utf8))
    XCTAssertTrue(load(bytes))
    return bytes
  }

  private func collect(_ value: JSONValue, into all: inout [SourceRange], rare: inout [SourceRange]) {
    all.append(value.range)
    let children = value.arrayValue ?? value.objectEntries?.map { $0.value } ?? []
    if children.count < 50 { rare.append(value.range) }
    var ignored: [SourceRange] = []
    for child in children {
      if children.count < 50 {
        collect(child, into: &all, rare: &rare)
      } else {
        collect(child, into: &all, rare: &ignored)
      }
    }
  }
}
