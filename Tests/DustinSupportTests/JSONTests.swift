import DustinSupport
import XCTest

final class JSONTests: XCTestCase {
  private func parse(_ text: String, depthLimit: Int = 64) throws -> JSONValue {
    try JSONValue.parse(SourceBuffer(name: "a.json", text: text), depthLimit: depthLimit)
  }

  /// The message and place of the error in a text.
  private func failure(_ bytes: [UInt8], depthLimit: Int = 64) -> String {
    do {
      _ = try JSONValue.parse(SourceBuffer(name: "a.json", utf8: bytes), depthLimit: depthLimit)
      return "no error"
    } catch let error as DiagnosticError {
      guard let first = error.diagnostics.first, let range = first.range, first.id == "json" else { return "no place" }
      let (line, column) = range.buffer.position(of: range.start)
      return "\(line):\(column) \(first.message)"
    } catch {
      return "another error"
    }
  }

  private func failure(_ text: String, depthLimit: Int = 64) -> String {
    failure(Array(text.utf8), depthLimit: depthLimit)
  }

  // MARK: Reading

  func testKinds() throws {
    let value = try parse(#" {"a": [1, -2.5, true, null], "b": {"c": "d"}, "": 1e3} "#)
    XCTAssertEqual(value.objectEntries?.map { $0.key }, ["a", "b", ""])
    let array = try XCTUnwrap(value["a"]?.arrayValue)
    XCTAssertEqual(array[0].intValue, 1)
    XCTAssertEqual(array[0].doubleValue, 1)
    XCTAssertEqual(array[1].doubleValue, -2.5)
    XCTAssertNil(array[1].intValue)
    XCTAssertEqual(array[2].boolValue, true)
    XCTAssertTrue(array[3].isNull)
    XCTAssertEqual(value["b"]?["c"]?.stringValue, "d")
    XCTAssertEqual(value[""]?.doubleValue, 1000)
    XCTAssertNil(value["x"])
    XCTAssertNil(array[0]["x"])
    XCTAssertEqual(try parse("[]").arrayValue?.count, 0)
    XCTAssertEqual(try parse("{}").objectEntries?.count, 0)
  }

  func testRanges() throws {
    let text = "{\n  \"a\": [10, \"é\"]\n}"
    let value = try parse(text)
    func at(_ value: JSONValue?) -> String? {
      value.map { String(decoding: $0.range.buffer.utf8[$0.range.start..<$0.range.end], as: UTF8.self) }
    }
    XCTAssertEqual(at(value), text)
    XCTAssertEqual(at(value["a"]), "[10, \"é\"]")
    XCTAssertEqual(at(value["a"]?.arrayValue?[0]), "10")
    XCTAssertEqual(at(value["a"]?.arrayValue?[1]), "\"é\"")
  }

  func testNumbers() throws {
    XCTAssertEqual(try parse("9223372036854775807").intValue, .max)
    XCTAssertEqual(try parse("-9223372036854775808").intValue, .min)
    XCTAssertEqual(try parse("-0").intValue, 0)
    XCTAssertNil(try parse("9223372036854775808").intValue)
    XCTAssertEqual(try parse("9223372036854775808").doubleValue, 9_223_372_036_854_775_808)
    XCTAssertEqual(try parse("1000000000000000019884624838656").doubleValue, 1e30)
    XCTAssertEqual(try parse("1e-05").doubleValue, 1e-5)
    XCTAssertEqual(try parse("0.1").doubleValue, 0.1)
    XCTAssertEqual(try parse("5E-324").doubleValue, .leastNonzeroMagnitude)
    XCTAssertEqual(try parse("1e-999").doubleValue, 0)
    XCTAssertEqual(try parse("1.7976931348623157e+308").doubleValue, .greatestFiniteMagnitude)
  }

  func testStrings() throws {
    XCTAssertEqual(try parse(#""\"\\\/\b\f\n\r\t""#).stringValue, "\"\\/\u{8}\u{C}\n\r\t")
    XCTAssertEqual(try parse(#""\u0041\u00e9\uD83D\uDE00\u0000x""#).stringValue, "Aé😀\u{0}x")
    XCTAssertEqual(try parse(#""é😀\u00E9ü""#).stringValue, "é😀éü")
    // Not composed, not compared by canonical equivalence.
    let value = try parse("{\"\u{e9}\": 1, \"e\u{301}\": 2}")
    XCTAssertEqual(value.objectEntries?.map { $0.key.unicodeScalars.count }, [1, 2])
  }

  func testWrongValues() {
    XCTAssertEqual(failure(""), "1:1 the JSON text ends where a value is expected")
    XCTAssertEqual(failure(" \n "), "2:2 the JSON text ends where a value is expected")
    XCTAssertEqual(failure("nul"), "1:1 a JSON value is expected here")
    XCTAssertEqual(failure("[NaN]"), "1:2 a JSON value is expected here")
    XCTAssertEqual(failure("[1, Infinity]"), "1:5 a JSON value is expected here")
    XCTAssertEqual(failure("'a'"), "1:1 a JSON value is expected here")
    XCTAssertEqual(failure("1 2"), "1:3 unexpected text behind the JSON value")
    XCTAssertEqual(failure("{}\n]"), "2:1 unexpected text behind the JSON value")
    XCTAssertEqual(failure("\u{FEFF}1"), "1:1 a JSON text must not begin with a byte order mark")
  }

  func testWrongNumbers() {
    XCTAssertEqual(failure("[01]"), "1:2 a number must not begin with 0")
    XCTAssertEqual(failure("-"), "1:1 a digit is expected behind '-'")
    XCTAssertEqual(failure("+1"), "1:1 a JSON value is expected here")
    XCTAssertEqual(failure("1."), "1:1 a digit is expected behind the decimal point")
    XCTAssertEqual(failure(".5"), "1:1 a JSON value is expected here")
    XCTAssertEqual(failure("1e"), "1:1 a digit is expected in the exponent")
    XCTAssertEqual(failure("1e+-5"), "1:1 a digit is expected in the exponent")
    XCTAssertEqual(failure("12x"), "1:1 this is not a number")
    XCTAssertEqual(failure("1.2.3"), "1:1 this is not a number")
    XCTAssertEqual(failure("[1, 1e999]"), "1:5 the number is too large")
    XCTAssertEqual(failure("-" + String(repeating: "9", count: 400)), "1:1 the number is too large")
  }

  func testWrongStrings() {
    XCTAssertEqual(failure(#"["a"#), "1:2 the string is not closed")
    XCTAssertEqual(failure(#""a\"#), "1:3 the string is not closed")
    XCTAssertEqual(failure(#""a\x""#), "1:3 unknown escape in a string")
    XCTAssertEqual(failure(#""\u12g4""#), "1:2 four hexadecimal digits are expected behind '\\u'")
    XCTAssertEqual(failure(#""\u12"#), "1:2 four hexadecimal digits are expected behind '\\u'")
    XCTAssertEqual(failure(#""\ud800""#), "1:2 half of a surrogate pair")
    XCTAssertEqual(failure(#""\ud800\u0041""#), "1:2 half of a surrogate pair")
    XCTAssertEqual(failure(#""a\udc00""#), "1:3 half of a surrogate pair")
    XCTAssertEqual(failure("\"a\nb\""), "1:3 a control character in a string must be escaped")
    XCTAssertEqual(failure(Array("[\"é".utf8) + [0xC0, 0xAF, 0x22, 0x5D]), "1:4 invalid UTF-8 in a string")
    XCTAssertEqual(failure([0x22, 0x5C, 0x6E, 0xE2, 0x82, 0x22]), "1:4 invalid UTF-8 in a string")
    XCTAssertEqual(failure([0x22, 0xE2, 0x82, 0x5C, 0x6E, 0x22]), "1:2 invalid UTF-8 in a string")
  }

  func testWrongArraysAndObjects() {
    XCTAssertEqual(failure("[1,]"), "1:3 trailing comma in an array")
    XCTAssertEqual(failure("[1 2]"), "1:4 ',' or ']' is expected here")
    XCTAssertEqual(failure("[1,,2]"), "1:4 a JSON value is expected here")
    XCTAssertEqual(failure("[1"), "1:3 the JSON text ends where ',' or ']' is expected")
    XCTAssertEqual(failure("{\"a\": 1,\n}"), "1:8 trailing comma in an object")
    XCTAssertEqual(failure("{a: 1}"), "1:2 a key in quotes is expected here")
    XCTAssertEqual(failure("{\"a\" 1}"), "1:6 ':' is expected here")
    XCTAssertEqual(failure("{\"a\": 1 \"b\": 2}"), "1:9 ',' or '}' is expected here")
    XCTAssertEqual(failure("{\"a\":\n"), "2:1 the JSON text ends where a value is expected")
    XCTAssertEqual(failure(#"{"a": 1, "b": 2, "a": 3}"#), "1:18 duplicate key 'a'")
    XCTAssertEqual(failure(#"{"a": 1, "\u0061": 3}"#), "1:10 duplicate key 'a'")
    let many = (0..<100).map { "\"k\($0)\": 0" }.joined(separator: ",\n")
    XCTAssertEqual(failure("{\(many),\n\"k3\": 1}"), "101:1 duplicate key 'k3'")
  }

  func testDepth() throws {
    XCTAssertNoThrow(try parse("[[[]]]", depthLimit: 3))
    XCTAssertEqual(failure("[[{}]]", depthLimit: 2), "1:3 nested deeper than 2 levels")
    XCTAssertEqual(failure(String(repeating: "[", count: 1_000_000)), "1:65 nested deeper than 64 levels")
    XCTAssertNoThrow(try parse("[[],[],[[]]]", depthLimit: 3))
  }

  func testTheWholeMessage() {
    do {
      _ = try parse("{\n  \"a\": [1,\n")
      XCTFail("no error")
    } catch {
      XCTAssertEqual(
        String(describing: error), "a.json:3:1: error: the JSON text ends where a value is expected\n  \n  ^")
    }
    do {
      _ = try parse("{\n  \"a\": [1 x]\n}")
      XCTFail("no error")
    } catch {
      XCTAssertEqual(
        String(describing: error),
        """
        a.json:2:11: error: ',' or ']' is expected here
            "a": [1 x]
                    ^
        a.json:2:8: note: the array begins here
            "a": [1 x]
                 ^
        """)
    }
  }

  /// A minified file is one line: what is shown of it must fit onto a screen.
  func testErrorsInLongLinesShowOnlyTheirSurroundings() {
    let filler = String(repeating: "\"é\",", count: 50_000)
    do {
      _ = try parse("[\(filler)oops,\(filler)1]")
      XCTFail("no error")
    } catch {
      let lines = String(describing: error).split(separator: "\n")
      XCTAssertEqual(lines.count, 3)
      XCTAssertEqual(lines.first, "a.json:1:200002: error: a JSON value is expected here")
      XCTAssertTrue(lines.allSatisfy { $0.count < 200 })
      guard lines.count == 3, let caret = lines[2].firstIndex(of: "^") else { return }
      let column = lines[2].distance(from: lines[2].startIndex, to: caret)
      XCTAssertTrue(lines[1].dropFirst(column).hasPrefix("oops"))
      XCTAssertTrue(lines[2].hasSuffix("^~~~"))
    }
  }

  func testRandomBytesNeverTrap() throws {
    let alphabet = Array("{}[]\":,\\u0aeE+-.19tfn \n".utf8) + [0x00, 0xC3, 0xA9, 0xED, 0xFF]
    var state: UInt64 = 1
    func next(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    let seed = Array(#"{"a": [1, -2.5e3, "x\u00e9\n", {"b": null}], "c": true}"#.utf8)
    var parsed = 0
    for _ in 0..<5000 {
      var bytes = seed
      for _ in 0...next(4) {
        let place = next(bytes.count)
        switch next(3) {
        case 0: bytes[place] = alphabet[next(alphabet.count)]
        case 1: bytes.insert(alphabet[next(alphabet.count)], at: place)
        default: if bytes.count > 1 { bytes.remove(at: place) }
        }
      }
      let message = failure(bytes)
      if message == "no error" { parsed += 1 }
      XCTAssertNotEqual(message, "no place")
      XCTAssertNotEqual(message, "another error")
    }
    XCTAssertGreaterThan(parsed, 100)
    XCTAssertLessThan(parsed, 4000)
  }

  // MARK: Writing

  func testWriting() {
    let value = JSON.object([
      ("text", "a\"b\\c\n\t\r\u{1}\u{7F}é😀"), ("numbers", [1, -2.5, 1e-7]), ("none", nil), ("yes", true),
      ("empty", [:]),
      ("list", []),
    ])
    XCTAssertEqual(
      value.text,
      #"{"text":"a\"b\\c\n\t\r\u0001\u007fé😀","numbers":[1,-2.5,1e-07],"none":null,"yes":true,"empty":{},"list":[]}"#)
    XCTAssertEqual(JSON.quoted("a\"b"), #""a\"b""#)
    XCTAssertEqual(JSON.array([.double(.nan), .double(.infinity)]).text, "[null,null]")
  }

  func testWhatIsWrittenReadsBack() throws {
    let doubles: [Double] = [
      0.1, -0.0, 1e300, .leastNonzeroMagnitude, .pi, 1 / 3, 1e16, 123_456_789.125, .greatestFiniteMagnitude,
      .leastNormalMagnitude,
      2e-5,
    ]
    let strings = ["", "\u{0}\u{1F}", "e\u{301}", "\u{2028}", "</script>", String(repeating: "ü\\", count: 100)]
    let ints = [0, Int.max, Int.min, -1]
    let value = JSON.array([
      .array(doubles.map { .double($0) }), .array(strings.map { .string($0) }), .array(ints.map { .int($0) }),
    ])
    let lists = try XCTUnwrap(parse(value.text).arrayValue?.map { $0.arrayValue ?? [] })
    XCTAssertEqual(lists[0].map { $0.doubleValue?.bitPattern }, doubles.map { $0.bitPattern })
    XCTAssertEqual(lists[1].map { Array(($0.stringValue ?? "-").utf8) }, strings.map { Array($0.utf8) })
    XCTAssertEqual(lists[2].map { $0.intValue }, ints)
  }
}
