import DustinSupport
import DustinText
import Foundation
import XCTest

final class TokenizerTests: XCTestCase {
  /// Decoding gives back the text: broken parts replaced, and composed where the file says so.
  func testDecodingGivesTheTextBack() throws {
    let bundled = try Golden.tokenizer("bundled")
    let llama3 = try Golden.tokenizer("llama3")
    for bytes in try Golden.lines() {
      let text = String(decoding: bytes, as: UTF8.self)
      let plain = llama3.decode(llama3.encode(bytes, addSpecialTokens: false), skipSpecial: false)
      XCTAssertEqual(plain, Array(text.utf8))
      // The composed text itself is the reference's (GoldenTests); here: it means the same, and stays as it is.
      let ids = bundled.encode(bytes, parseSpecial: false)
      let composed = bundled.decode(ids, skipSpecial: false)
      // The standard library's comparison does not reorder what these three vowels decompose into; the reference does.
      if !text.unicodeScalars.contains(where: { ["\u{F73}", "\u{F75}", "\u{F81}"].contains($0) }) {
        XCTAssertEqual(String(decoding: composed, as: UTF8.self), text)
      }
      XCTAssertEqual(bundled.encode(composed, parseSpecial: false), ids)
    }
  }

  func testTokensByNameAndId() throws {
    let tokenizer = try Golden.tokenizer("bundled")
    XCTAssertEqual(tokenizer.vocabularySize, 4096)
    let end = try XCTUnwrap(tokenizer.id(of: "<|im_end|>"))
    XCTAssertEqual(end, 4090)
    XCTAssertEqual(tokenizer.bytes(of: end), Array("<|im_end|>".utf8))
    XCTAssertTrue(tokenizer.isSpecial(end))
    let word = try XCTUnwrap(tokenizer.id(of: "Ġthe"))
    XCTAssertEqual(tokenizer.bytes(of: word), Array(" the".utf8))
    XCTAssertFalse(tokenizer.isSpecial(word))
    XCTAssertNil(tokenizer.id(of: " the"))
    XCTAssertNil(tokenizer.id(of: ""))
    XCTAssertNil(tokenizer.bytes(of: -1))
    XCTAssertNil(tokenizer.bytes(of: 4096))
    XCTAssertNil(tokenizer.bytes(of: .max))
    XCTAssertEqual(tokenizer.decode([word, end, word, 9999], skipSpecial: true), Array(" the the".utf8))
    XCTAssertEqual(tokenizer.decode([word, end], skipSpecial: false), Array(" the<|im_end|>".utf8))
  }

  func testTheFingerprintTellsVocabulariesApart() throws {
    let bundled = try Golden.tokenizer("bundled")
    XCTAssertEqual(bundled.fingerprint, try Golden.tokenizer("bundled").fingerprint)
    XCTAssertNotEqual(bundled.fingerprint, try Golden.tokenizer("llama3").fingerprint)
    let source = String(decoding: try Golden.source("gpt2"), as: UTF8.self)
    let plain = try Tokenizer(SourceBuffer(name: "a", text: source))
    let swapped = source.replacingOccurrences(of: "\"!\":0,\"\\\"\":1", with: "\"!\":1,\"\\\"\":0")
    XCTAssertNotEqual(source, swapped)
    XCTAssertNotEqual(plain.fingerprint, try Tokenizer(SourceBuffer(name: "b", text: swapped)).fingerprint)
    let spaced = source.replacingOccurrences(of: ",\"model\":", with: ",\n\"model\": ")
    XCTAssertNotEqual(source, spaced)
    XCTAssertEqual(plain.fingerprint, try Tokenizer(SourceBuffer(name: "c", text: spaced)).fingerprint)
  }

  /// Runs without a word's end, for which a quadratic algorithm would need hours.
  func testAMillionCharactersWithoutASpace() throws {
    let tokenizer = try Golden.tokenizer("llama3")
    var random = SeededGenerator(seed: 1)
    let letters = (0..<1_000_000).map { _ in UInt8.random(in: 97...122, using: &random) }
    let others = [0x61, 0x20, 0x3C, 0x0A].map { [UInt8](repeating: $0, count: 200_000) }
    for run in [letters] + others {
      let ids = tokenizer.encode(run, addSpecialTokens: false)
      XCTAssertTrue(tokenizer.decode(ids, skipSpecial: false) == run)
    }
    // Merges apply everywhere, not only at the beginning.
    let pattern = Array("ing".utf8)
    let repeated = tokenizer.encode((0..<99_999).map { pattern[$0 % 3] }, addSpecialTokens: false)
    XCTAssertLessThan(repeated.count, 70_000)
  }

  func testAHundredThousandMarksInTheWrongOrder() throws {
    let tokenizer = try Golden.tokenizer("bundled")
    let text = "a" + String(repeating: "\u{301}\u{323}", count: 50_000)
    let ids = tokenizer.encode(text)
    let decoded = String(decoding: tokenizer.decode(ids, skipSpecial: false), as: UTF8.self)
    XCTAssertTrue(decoded.unicodeScalars.starts(with: ["\u{1EA1}", "\u{323}"]))
    XCTAssertEqual(decoded.unicodeScalars.count, 100_000)
    XCTAssertEqual(decoded.unicodeScalars.last, "\u{301}")
  }

  func testFilesThatCannotBeRead() {
    XCTAssertEqual(
      diagnostic { _ = try Tokenizer(file: "/nonexistent/tokenizer.json") }?.message,
      "cannot open '/nonexistent/tokenizer.json': No such file or directory")
    XCTAssertEqual(diagnostic { _ = try Tokenizer(file: "/") }?.message, "cannot read '/': Is a directory")
  }
}
