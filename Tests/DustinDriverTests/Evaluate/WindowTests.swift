import DustinSupport
import DustinText
import XCTest

@testable import DustinDriver

/// Windows of books, and which books are read.
final class WindowTests: XCTestCase {
  private func tokenizer() throws -> Tokenizer { try Tokenizer(file: "\(target)/tokenizer.json") }

  func testWindowsAreSpreadAndBeginWithParagraphs() throws {
    let tokenizer = try tokenizer()
    let text = (0..<200).map { "Paragraph \($0) of a book that is long enough for some windows." }
      .joined(separator: "\n\n")
    let books = [
      Book(title: "A", text: text, tokenizer: tokenizer), Book(title: "B", text: text, tokenizer: tokenizer),
      Book(title: "short", text: "No.", tokenizer: tokenizer),
    ]
    let windows = try BookWindow.spread(over: books, count: 6, length: 300, continuation: 40) {
      tokenizer.decode($0, skipSpecial: true)
    }
    XCTAssertEqual(windows.count, 6)
    XCTAssertEqual(Set(windows.map(\.book)), ["A", "B"])
    XCTAssertEqual(Set(windows.map(\.context)).count, 6)
    for window in windows {
      XCTAssertEqual(window.context.count, 300)
      XCTAssertEqual(window.continuation.count, 40)
      let begins = String(decoding: tokenizer.decode(window.context, skipSpecial: true), as: UTF8.self)
      XCTAssertTrue(begins.hasPrefix("Paragraph "), begins)
      let text = String(decoding: tokenizer.decode(window.continuation, skipSpecial: true), as: UTF8.self)
      XCTAssertEqual(window.words, text.split { $0.isWhitespace }.count)
    }
    XCTAssertThrowsError(
      try BookWindow.spread(over: books, count: 1, length: 1 << 20, continuation: 1) { _ in [] })
  }

  func testBooksAreReadByTheirUse() throws {
    let folder = try TemporaryFolder()
    for name in ["a", "b", "c"] { _ = try folder.write("\(name).txt", "Text \(name).") }
    XCTAssertEqual(try readBooks(folder.path, use: .judge, tokenizer: tokenizer()).map(\.title), ["a", "b", "c"])
    _ = try folder.write(
      "books.json",
      #"[{"file": "a.txt", "title": "A"}, {"file": "b.txt", "title": "B", "use": "calibrate"}, {"file": "c.txt", "use": "judge"}]"#
    )
    XCTAssertEqual(try readBooks(folder.path, use: .judge, tokenizer: tokenizer()).map(\.title), ["A", "c.txt"])
    XCTAssertEqual(try readBooks(folder.path, use: .calibrate, tokenizer: tokenizer()).map(\.title), ["B"])
    for (text, message) in [
      ("{}", "must be an array"), (#"[{"title": "A"}]"#, "no 'file'"), (#"[{"file": "x.txt"}]"#, "x.txt"),
      (#"[{"file": "a.txt", "use": "both"}]"#, "'use' must be"), ("[]", "no books"),
    ] {
      _ = try folder.write("books.json", text)
      XCTAssertThrowsError(try readBooks(folder.path, use: .judge, tokenizer: tokenizer())) {
        XCTAssertTrue("\($0)".contains(message), "\($0)")
      }
    }
  }

  /// What is calibrated on does not judge.
  func testTheBundledBooksAreDivided() throws {
    let value = try json(String(decoding: try readFile("\(root)/examples/books/books.json"), as: UTF8.self))
    let uses = (value.arrayValue ?? []).map { "\($0["use"]?.stringValue ?? ""): \($0["title"]?.stringValue ?? "")" }
    XCTAssertEqual(
      uses.sorted(),
      [
        "calibrate: Emma", "calibrate: Great Expectations", "calibrate: The Moonstone", "judge: The Scarlet Letter",
        "judge: The Sea Wolf", "judge: Treasure Island",
      ])
  }
}
