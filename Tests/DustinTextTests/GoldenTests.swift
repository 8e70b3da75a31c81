import DustinText
import XCTest

/// Token ids against Hugging Face's `tokenizers`, line by line.
final class GoldenTests: XCTestCase {
  private func check(
    _ golden: String, _ tokenizerName: String, lines expectedLines: Int, parseSpecial: Bool = true,
    file: StaticString = #filePath, line: UInt = #line
  ) throws {
    let tokenizer = try Golden.tokenizer(tokenizerName)
    let lines = try Golden.lines()
    let expected = try Golden.ids(golden)
    XCTAssertEqual(expected.count, expectedLines, file: file, line: line)
    var wrong: [String] = []
    for (number, (text, ids)) in zip(lines, expected).enumerated() {
      let found = tokenizer.encode(text, parseSpecial: parseSpecial)
      if found != ids {
        wrong.append("line \(number) \(String(decoding: text, as: UTF8.self).debugDescription): \(found), not \(ids)")
      }
    }
    XCTAssertEqual(wrong.count, 0, wrong.prefix(5).joined(separator: "\n"), file: file, line: line)
  }

  func testBundledTokenizer() throws { try check("bundled", "bundled", lines: 10_000) }

  func testLlama3Shape() throws { try check("llama3", "llama3", lines: 10_000) }

  func testLlama3ShapeWithSpecialTokensAsText() throws {
    try check("llama3-plain", "llama3", lines: 1500, parseSpecial: false)
  }

  func testGPT2ShapeWithEveryKindOfAddedToken() throws { try check("gpt2", "gpt2", lines: 4000) }

  func testGPT2ShapeWithSpecialTokensAsText() throws {
    try check("gpt2-plain", "gpt2", lines: 1500, parseSpecial: false)
  }

  func testDigitsOneByOne() throws { try check("digits", "digits", lines: 1500) }

  /// Written as bytes and read again, a tokenizer is the same.
  func testTokenizersAsBytes() throws {
    for name in ["bundled", "llama3", "gpt2", "digits"] {
      let tokenizer = try Golden.tokenizer(name)
      let bytes = tokenizer.serialized()
      let copy = try Tokenizer(serialized: bytes, "the copy")
      XCTAssertTrue(copy.serialized() == bytes, name)
      XCTAssertEqual(copy.fingerprint, tokenizer.fingerprint)
      XCTAssertEqual(copy.vocabularySize, tokenizer.vocabularySize)
      for id in -1...Int32(tokenizer.vocabularySize) {
        XCTAssertEqual(copy.bytes(of: id), tokenizer.bytes(of: id))
        XCTAssertEqual(copy.isSpecial(id), tokenizer.isSpecial(id))
      }
      for (text, ids) in zip(try Golden.lines(), try Golden.ids(name)).prefix(400) {
        XCTAssertEqual(copy.encode(text), ids, name)
        XCTAssertEqual(copy.encode(text, parseSpecial: false), tokenizer.encode(text, parseSpecial: false), name)
      }
      for token in ["Ġthe", "<|begin_of_text|>", "<|endoftext|>", "a", "é", " the", "", "Ã©"] {
        XCTAssertEqual(copy.id(of: token), tokenizer.id(of: token), "\(name): \(token)")
      }
      // Cut or changed, it is refused or another tokenizer, and never the end of the process.
      for count in stride(from: 0, to: bytes.count, by: 4999) {
        XCTAssertThrowsError(try Tokenizer(serialized: Array(bytes[..<count]), "the copy"))
      }
      for place in stride(from: 0, to: bytes.count, by: 997) {
        var changed = bytes
        changed[place] ^= 0xFF
        _ = try? Tokenizer(serialized: changed, "the copy").encode("The old man, 12 of them.")
      }
    }
  }

  /// The template's tokens are all that `addSpecialTokens` adds.
  func testWithoutTheTemplate() throws {
    let tokenizer = try Golden.tokenizer("llama3")
    let begin = try XCTUnwrap(tokenizer.id(of: "<|begin_of_text|>"))
    for (text, ids) in zip(try Golden.lines(), try Golden.ids("llama3")).prefix(500) {
      XCTAssertEqual(ids.first, begin)
      XCTAssertEqual(tokenizer.encode(text, addSpecialTokens: false), Array(ids.dropFirst()))
    }
  }
}
