import DustinSupport
import DustinText
import XCTest

@testable import DustinDriver

/// Small files in the formats of LongBench and PG-19.
final class DataSetTests: XCTestCase {
  private static let line =
    #"{"input": "Who?", "context": "A {input} here.", "answers": ["the red fox", "a dog"], "length": 4, "dataset": "hotpotqa", "language": "en", "all_classes": null, "_id": "7f"}"#

  func testLongBenchIsRead() throws {
    let folder = try TemporaryFolder()
    _ = try folder.write("hotpotqa.jsonl", Self.line + "\n\n" + Self.line + "\n")
    _ = try folder.write(
      "trec.jsonl",
      #"{"input": "Q", "context": "C", "answers": ["Date"], "length": 1, "dataset": "trec", "language": "en", "all_classes": ["Date", "City"], "_id": "1"}"#
    )
    _ = try folder.write("notes.txt", "not read")
    let items = try LongBench.read(folder.path, limit: nil)
    XCTAssertEqual(items.map(\.dataset), ["hotpotqa", "hotpotqa", "trec"])
    XCTAssertEqual(items[0].answers, ["the red fox", "a dog"])
    XCTAssertEqual(items[2].classes, ["Date", "City"])
    XCTAssertEqual(try LongBench.read(folder.path, limit: 1).map(\.dataset), ["hotpotqa", "trec"])
    // The best of the answers: "fox" is one of one word and one of two.
    XCTAssertEqual(LongBench.score("Fox", items[0]), 2.0 / 3, accuracy: 1e-12)
    XCTAssertEqual(LongBench.score("dog", items[0]), 1)
    // Few-shot outputs go on with the next example.
    XCTAssertEqual(LongBench.score("\nDate\nQuestion: City", items[2]), 1)
  }

  func testTheBenchmarksOwnList() {
    XCTAssertEqual(LongBench.dataSets.count, 21)
    for (name, metric) in [
      ("qasper", TextMetric.questionF1), ("gov_report", .rougeL), ("trec", .classification), ("lcc", .codeSimilarity),
      ("passage_count", .count), ("passage_retrieval_en", .retrieval), ("dureader", .rougeLChinese),
      ("multifieldqa_zh", .questionF1Chinese), ("qasper_e", .questionF1),
    ] {
      XCTAssertEqual(LongBench.dataSet(name)?.metric, metric, name)
    }
    XCTAssertNil(LongBench.dataSet("qaspar"))
  }

  func testTemplates() throws {
    let folder = try TemporaryFolder()
    _ = try folder.write("hotpotqa.jsonl", Self.line)
    let item = try LongBench.read(folder.path, limit: nil)[0]
    XCTAssertEqual(PromptTemplate().prompt(item), "A {input} here.\n\nWho?")
    let text = try PromptTemplate(file: folder.write("t.txt", "{input} {x} {context}!"))
    XCTAssertEqual(text.prompt(item), "Who? {x} A {input} here.!")
    let table = try PromptTemplate(file: folder.write("t.json", #"{"hotpotqa": "Q {context}", "lcc": "{context}"}"#))
    XCTAssertEqual(table.prompt(item), "Q A {input} here.")
    XCTAssertThrowsError(try PromptTemplate(file: folder.write("n.txt", "{input}")))
    XCTAssertEqual(cutMiddle([1, 2, 3, 4, 5, 6, 7], to: 4), [1, 2, 6, 7])
    XCTAssertEqual(cutMiddle([1, 2], to: 4), [1, 2])
    XCTAssertEqual(cutMiddle([1, 2], to: -3), [])
  }

  func testDamagedLongBench() throws {
    for (text, message) in [
      (#"{"context": "x", "answers": [], "dataset": "trec"}"#, "'answers' is missing"),
      (#"{"answers": ["x"], "dataset": "trec"}"#, "no 'context'"),
      (#"{"context": "x", "answers": ["x"], "dataset": "trac"}"#, "did you mean 'trec'"),
      (#"{"context": "x", "answers": "x", "dataset": "trec"}"#, "'answers' must be an array"),
      (#"{"context": "x", "answers": ["x"], "dataset": 3}"#, "'dataset' must be a string"), ("{", "trec.jsonl:1:"),
    ] {
      let folder = try TemporaryFolder()
      _ = try folder.write("trec.jsonl", text)
      XCTAssertThrowsError(try LongBench.read(folder.path, limit: nil), text) {
        XCTAssertTrue("\($0)".contains(message), "\($0)")
      }
    }
    XCTAssertThrowsError(try LongBench.read(TemporaryFolder().path + "/none", limit: nil))
    let empty = try TemporaryFolder()
    XCTAssertThrowsError(try LongBench.read(empty.path, limit: nil))
  }

  func testPG19IsRead() throws {
    let folder = try TemporaryFolder()
    let tokenizer = try Tokenizer(file: "\(target)/tokenizer.json")
    _ = try folder.write("10146.txt", "One book.\r\n\r\nTwo lines\nof it.\n\n\n")
    _ = try folder.write("222.txt", "Another.")
    _ = try folder.write("metadata.csv", "10146,\"A Tale, \"\"Old\"\"\",1901,http://example.org/1\n5,X,1\n")
    let books = try PG19.read(folder.path, tokenizer: tokenizer)
    XCTAssertEqual(books.map(\.title), ["A Tale, \"Old\" (1901)", "222"])
    XCTAssertEqual(books[0].paragraphs, ["One book.", "Two lines\nof it."])
    XCTAssertEqual(books[0].tokenCount, tokenizer.encode("One book.\n\nTwo lines\nof it.\n\n").count)
    XCTAssertThrowsError(try PG19.read(TemporaryFolder().path + "/x", tokenizer: tokenizer))
  }

  func testCommaSeparatedValues() throws {
    func rows(_ text: String) throws -> [[String]] { try PG19.commaSeparated(SourceBuffer(name: "m.csv", text: text)) }
    XCTAssertEqual(try rows("a,b\r\n\"c\nd\",\"\"\n\n,x"), [["a", "b"], ["c\nd", ""], ["", "x"]])
    XCTAssertEqual(try rows(""), [])
    XCTAssertThrowsError(try rows("a,\"b")) { XCTAssertTrue("\($0)".contains("m.csv:1:3"), "\($0)") }
  }

  /// Both formats through the command, on the bundled pair.
  func testTheCommandReadsThem() throws {
    let bench = try TemporaryFolder()
    let context = String(repeating: "The boat lay in the harbour. ", count: 6)
    _ = try bench.write(
      "lcc.jsonl",
      #"{"input": "", "context": "\#(context)", "answers": ["The boat lay"], "length": 4, "dataset": "lcc", "language": "en", "all_classes": null, "_id": "1"}"#
    )
    let run = dustin(["eval", "-m", target, "-md", draft, "-t", "1", "--longbench", bench.path, "--json"])
    XCTAssertEqual(run.status, 0, run.errors)
    let result = try json(run.output)["longbench"]
    XCTAssertEqual(result?["dataset"]?.stringValue, "lcc")
    XCTAssertEqual(result?["items"]?.intValue, 1)
    XCTAssertEqual(result?["score"]?.doubleValue, result?["dense_score"]?.doubleValue)
    XCTAssertTrue((0...100).contains(result?["score"]?.doubleValue ?? -1))

    let books = try TemporaryFolder()
    _ = try books.write("7.txt", String(repeating: context + "\n\n", count: 8))
    let other = dustin([
      "eval", "-m", target, "-t", "1", "--pg19", books.path, "--lengths", "64", "--windows", "2", "--tokens", "16",
    ])
    XCTAssertEqual(other.status, 0, other.errors)
    XCTAssertTrue(other.output.contains("word ppl"), other.output)
  }
}
