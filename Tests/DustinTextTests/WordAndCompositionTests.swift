import XCTest

@testable import DustinText

final class WordAndCompositionTests: XCTestCase {
  // MARK: Words

  private func check(_ golden: String, _ preTokenizer: PreTokenizer) throws {
    let expected = try Golden.words(golden)
    XCTAssertEqual(expected.count, 2500)
    for (line, lengths) in zip(try Golden.lines(), expected) {
      let text = UTF8Scalar.replacingBroken(line)
      var found: [Int32] = []
      preTokenizer.forEachWord(text, 0..<text.count) { found.append(Int32($0.count)) }
      XCTAssertEqual(found, lengths, String(decoding: text, as: UTF8.self).debugDescription)
    }
  }

  func testWordsOfQwen2() throws { try check("qwen2", .modern(digits: 1)) }

  func testWordsOfLlama3() throws { try check("llama3", .modern(digits: 3)) }

  func testWordsOfGPT2() throws { try check("gpt2", .gpt2) }

  func testWordsOfDigits() {
    func words(_ text: String, _ preTokenizer: PreTokenizer) -> [String] {
      let bytes = Array(text.utf8)
      var found: [String] = []
      preTokenizer.forEachWord(bytes, 0..<bytes.count) { found.append(String(decoding: bytes[$0], as: UTF8.self)) }
      return found
    }
    XCTAssertEqual(words("12 ab3Ⅷ½ ", .digits(individual: true)), ["1", "2", " ab", "3", "Ⅷ", "½", " "])
    XCTAssertEqual(words("12 ab3Ⅷ½ ", .digits(individual: false)), ["12", " ab", "3Ⅷ½", " "])
    XCTAssertEqual(words("", .digits(individual: false)), [])
  }

  // MARK: Composition

  private func composed(_ text: String) -> [UInt32] {
    let bytes = Array(text.utf8)
    let result = CanonicalComposition.normalize(bytes, 0..<bytes.count) ?? bytes
    return String(decoding: result, as: UTF8.self).unicodeScalars.map { $0.value }
  }

  /// Cases of UAX #15 and of the Hangul arithmetic (The Unicode Standard, section 3.12).
  func testComposition() {
    XCTAssertEqual(composed("e\u{301}"), [0xE9])
    XCTAssertEqual(composed("\u{212B}"), [0xC5])
    XCTAssertEqual(composed("\u{1E9B}\u{323}"), [0x1E9B, 0x323])
    // Marks in canonical order; the second dot below is blocked by nothing but has no composite.
    XCTAssertEqual(composed("q\u{307}\u{323}"), [0x71, 0x323, 0x307])
    XCTAssertEqual(composed("s\u{307}\u{323}"), [0x1E69])
    // A mark of the same class between blocks.
    XCTAssertEqual(composed("a\u{5AE}\u{301}\u{302}"), [0xE1, 0x5AE, 0x302])
    // Composition exclusions stay apart.
    XCTAssertEqual(composed("\u{958}"), [0x915, 0x93C])
    XCTAssertEqual(composed("\u{915}\u{93C}"), [0x915, 0x93C])
    XCTAssertEqual(composed("\u{344}"), [0x308, 0x301])
    // A starter as the second part.
    XCTAssertEqual(composed("\u{9C7}\u{9BE}"), [0x9CB])
    XCTAssertEqual(composed("\u{2F800}"), [0x4E3D])
  }

  func testHangul() {
    XCTAssertEqual(composed("\u{1100}\u{1161}"), [0xAC00])
    XCTAssertEqual(composed("\u{1112}\u{1161}\u{11AB}"), [0xD55C])
    XCTAssertEqual(composed("\u{AC00}\u{11A8}"), [0xAC01])
    XCTAssertEqual(composed("\u{D788}\u{11C2}"), [0xD7A3])
    // U+11A7 is one before the first tail, U+1176 one behind the last vowel, U+1113 behind the last lead.
    XCTAssertEqual(composed("\u{AC00}\u{11A7}"), [0xAC00, 0x11A7])
    XCTAssertEqual(composed("\u{AC00}\u{11C3}"), [0xAC00, 0x11C3])
    XCTAssertEqual(composed("\u{1100}\u{1176}"), [0x1100, 0x1176])
    XCTAssertEqual(composed("\u{1113}\u{1161}"), [0x1113, 0x1161])
    // A syllable with a tail takes no second one.
    XCTAssertEqual(composed("\u{AC01}\u{11A8}"), [0xAC01, 0x11A8])
  }

  func testWhatIsComposedIsLeftAlone() {
    for text in ["", "plain", "é漢字 한글"] {
      let bytes = Array(text.utf8)
      XCTAssertNil(CanonicalComposition.normalize(bytes, 0..<bytes.count))
    }
    // Only the range is looked at.
    let bytes = Array("e\u{301}e\u{301}".utf8)
    XCTAssertEqual(CanonicalComposition.normalize(bytes, 0..<3), [0xC3, 0xA9])
    XCTAssertNil(CanonicalComposition.normalize(bytes, 3..<4))
  }

  /// Every row of the table: what composes, composes again from its parts; what does not, stays decomposed.
  func testTheTable() throws {
    let table = CanonicalDecompositions.table
    XCTAssertEqual(table.count % 3, 0)
    for row in 0..<table.count / 3 {
      let whole = String(try XCTUnwrap(Unicode.Scalar(table[3 * row])))
      let parts = table[(3 * row + 1)...(3 * row + 2)].filter { $0 != 0 }.compactMap { Unicode.Scalar($0) }
      let apart = parts.map { String($0) }.joined()
      XCTAssertEqual(composed(whole), composed(apart))
      XCTAssertEqual(composed(whole) == [table[3 * row]], row < CanonicalDecompositions.composingRows)
    }
  }

  // MARK: Broken UTF-8

  func testMaximalSubparts() {
    func replaced(_ bytes: [UInt8]) -> String { String(decoding: UTF8Scalar.replacingBroken(bytes), as: UTF8.self) }
    XCTAssertEqual(
      replaced([0x61, 0xF1, 0x80, 0x80, 0xE1, 0x80, 0xC2, 0x62, 0x80, 0x63, 0x80, 0xBF, 0x64]), "a���b�c��d")
    XCTAssertEqual(replaced([0xED, 0xA0, 0x80]), "���")
    XCTAssertEqual(replaced([0xF4, 0x90, 0x80, 0x80]), "����")
    XCTAssertEqual(replaced([0xC0, 0xAF, 0xE0, 0x80, 0xBF]), "�����")
    XCTAssertEqual(replaced([0xF0, 0x9F, 0x98]), "�")
    XCTAssertEqual(replaced(Array("aé漢😀".utf8)), "aé漢😀")
  }
}
