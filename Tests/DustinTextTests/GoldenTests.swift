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
