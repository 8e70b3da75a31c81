import DustinSupport
import DustinText
import XCTest

@testable import DustinDriver

/// Retrieval prompts made from books.
final class GeneratorTests: XCTestCase {
  private func generator(seed: UInt64 = 7) throws -> RetrievalGenerator {
    let tokenizer = try Tokenizer(file: "\(target)/tokenizer.json")
    let text = String(decoding: try readFile("\(root)/examples/books/treasure-island.txt"), as: UTF8.self)
    // A part is enough, and reads faster.
    let part = String(decoding: Array(text.utf8).prefix(80_000), as: UTF8.self)
    return RetrievalGenerator(
      books: [Book(title: "Treasure Island", text: part, tokenizer: tokenizer)], tokenizer: tokenizer, seed: seed)
  }

  func testPromptsHaveTheirLengthAndTheirAnswer() throws {
    let generator = try generator()
    for length in [1024, 2048] {
      let prompts = try generator.prompts(length: length, count: 16)
      XCTAssertEqual(prompts.filter { !$0.isCopy }.count, 16)
      XCTAssertEqual(prompts.filter(\.isCopy).count, 2)
      XCTAssertEqual(Set(prompts.map(\.task)), ["needle", "multi", "multiquery", "password", "ledger", "copy"])
      for prompt in prompts {
        XCTAssertEqual(generator.tokenizer.encode(prompt.text), prompt.tokens, prompt.id)
        XCTAssertEqual(
          generator.tokenizer.encode(Array(prompt.answer.utf8), addSpecialTokens: false), prompt.answerTokens)
        XCTAssertEqual(prompt.maxNewTokens, prompt.answerTokens.count + 2)
        XCTAssertLessThanOrEqual(prompt.tokens.count + prompt.maxNewTokens, length, prompt.id)
        // What is missing is less than a sentence, and for a copy what the answer's room leaves.
        XCTAssertGreaterThan(
          prompt.tokens.count + prompt.maxNewTokens, length - (prompt.isCopy ? 240 : 140), prompt.id)
        XCTAssertTrue(prompt.isCopy || prompt.answer.hasSuffix("."))
      }
      for prompt in prompts where prompt.task == "needle" || prompt.task == "ledger" || prompt.task == "password" {
        let value = prompt.answer.dropFirst().dropLast()
        XCTAssertEqual(occurrences(of: String(value), in: prompt.text), 1, prompt.id)
      }
    }
  }

  /// The wording is what the models learnt, and the question asks for what stands in the text.
  func testWordings() throws {
    let generator = try generator()
    let prompts = try generator.prompts(length: 1024, count: 8)
    func prompt(_ task: String) throws -> EvaluationPrompt { try XCTUnwrap(prompts.first { $0.task == task }) }
    let needle = try prompt("needle")
    let question = try XCTUnwrap(needle.text.components(separatedBy: "\n\n").last)
    let name = try XCTUnwrap(question.split(separator: "of ").last?.dropLast())
    XCTAssertEqual(question, "What is the secret number of \(name)?")
    XCTAssertTrue(needle.text.contains("The secret number of \(name) is\(needle.answer)\n\n"), question)
    let copy = try prompt("copy")
    let begins = try XCTUnwrap(
      copy.text.components(separatedBy: "Repeat the paragraph that begins with these words.\n\n").last)
    XCTAssertTrue(copy.answer.hasPrefix(" ") && copy.answer.hasSuffix("\n\n"))
    XCTAssertEqual(occurrences(of: begins + copy.answer, in: copy.text), 1)
    let ledger = try prompt("ledger")
    let key = try XCTUnwrap(ledger.text.components(separatedBy: "Ledger entry ").last?.dropLast(" ->".count))
    XCTAssertTrue(ledger.text.contains("\(key) ->\(ledger.answer.dropLast())"))
    let three = try prompt("multiquery")
    XCTAssertTrue(three.text.contains("What are the secret numbers of "))
    XCTAssertEqual(three.answer.split(separator: " ").count, 4)
    let password = try prompt("password")
    XCTAssertEqual(occurrences(of: "The password of the ", in: password.text), 6)
    XCTAssertEqual(occurrences(of: "The secret number of ", in: password.text), 4)
  }

  func testQuestionsAboutOneText() throws {
    let generator = try generator()
    let prompts = try generator.prompts(length: 2048, count: 16, perText: 8)
    let single = try generator.prompts(length: 2048, count: 16)
    XCTAssertEqual(prompts.map(\.id), single.map(\.id))
    for group in [prompts.prefix(9), prompts.suffix(9)] {
      let first = group.first?.text ?? ""
      for prompt in group {
        XCTAssertGreaterThan(zip(first.utf8, prompt.text.utf8).prefix { $0 == $1 }.count, 5000, prompt.id)
        XCTAssertEqual(generator.tokenizer.encode(prompt.text), prompt.tokens, prompt.id)
        XCTAssertLessThanOrEqual(prompt.tokens.count + prompt.maxNewTokens, 2048, prompt.id)
      }
      XCTAssertEqual(Set(group.map(\.text)).count, 9)
      // Nobody has two numbers.
      let people = first.components(separatedBy: "The secret number of ").dropFirst().map { $0.prefix { $0 != " " } }
      XCTAssertGreaterThanOrEqual(people.count, 24)
      XCTAssertEqual(Set(people).count, people.count)
    }
    XCTAssertNotEqual(prompts[0].text.prefix(500), prompts[9].text.prefix(500))
    let some = try generator.prompts(length: 2048, count: 16, perText: 8, kinds: [.ledger, .multi])
    XCTAssertEqual(some.map(\.task), ["multi", "ledger", "multi", "ledger"])
    XCTAssertEqual(some.map(\.id), single.filter { ["multi", "ledger"].contains($0.task) }.map(\.id))
    for prompt in prompts where ["needle", "multi", "ledger", "password"].contains(prompt.task) {
      XCTAssertEqual(occurrences(of: String(prompt.answer.dropFirst().dropLast()), in: prompt.text), 1, prompt.id)
    }
  }

  func testTheSameSeedGivesTheSamePrompts() throws {
    let first = try generator().prompts(length: 1024, count: 9)
    let again = try generator().prompts(length: 1024, count: 9)
    XCTAssertEqual(first.map(\.text), again.map(\.text))
    XCTAssertEqual(first.map(\.answer), again.map(\.answer))
    let shorter = try generator().prompts(length: 1024, count: 4)
    XCTAssertEqual(shorter.map(\.text), Array(first.map(\.text).prefix(4)))
    XCTAssertNotEqual(try generator(seed: 8).prompts(length: 1024, count: 1)[0].text, first[0].text)
    XCTAssertEqual(Set(first.map(\.id)).count, first.count)
  }

  func testDepthsGoRound() throws {
    let generator = try generator()
    let needles = try (0..<11).map { try generator.prompt(.needle, number: $0, length: 1024) }
    XCTAssertEqual(needles.compactMap(\.depth), RetrievalGenerator.depths)
    XCTAssertTrue(needles[0].text.hasPrefix("The secret number of "))
    let places = try needles.map { needle -> Double in
      let statement = try XCTUnwrap(needle.text.range(of: "The secret number of "))
      return Double(needle.text.utf8.distance(from: needle.text.startIndex, to: statement.lowerBound))
        / Double(needle.text.utf8.count)
    }
    // To the nearest paragraph.
    for (place, depth) in zip(places, RetrievalGenerator.depths) {
      XCTAssertEqual(100 * place, depth, accuracy: 15)
    }
    XCTAssertEqual(Set(needles.compactMap(\.names)), ["seen", "unseen"])
  }

  func testNoBookIsLongEnough() throws {
    XCTAssertThrowsError(try generator().prompts(length: 1 << 20, count: 1)) { error in
      XCTAssertTrue("\(error)".contains("1,048,576 tokens"), "\(error)")
    }
  }

  func testPromptsAreReadFromAFile() throws {
    let folder = try TemporaryFolder()
    let tokenizer = try Tokenizer(file: "\(target)/tokenizer.json")
    let lines = (0..<6).map {
      #"{"id": "p\#($0)", "task": "\#($0 < 4 ? "needle" : "copy")", "length": 64, "depth": \#($0 * 10), "prompt": "Once \#($0)", "answer": " upon.", "max_new_tokens": 5}"#
    }
    let more = [
      "", #"{"task": "continue", "prompt": "x", "answer": "y"}"#,
      #"{"prompt": "Alone", "answer": " no.", "length": 128, "depth": null}"#,
    ]
    let path = try folder.write("prompts.jsonl", (lines + more).joined(separator: "\n"))
    let all = try readEvaluationPrompts(path, tokenizer: tokenizer)
    XCTAssertEqual(all.map(\.length), [64, 64, 64, 64, 64, 64, 128])
    XCTAssertEqual(all[1].depthBin, 10)
    XCTAssertEqual(all[6].maxNewTokens, all[6].answerTokens.count + 2)
    XCTAssertNil(all[6].depth)
    let some = try readEvaluationPrompts(path, tokenizer: tokenizer, lengths: [64], count: 2)
    XCTAssertEqual(some.filter { !$0.isCopy }.count, 2)
    for (text, message) in [
      (#"{"prompt": "x"}"#, "no 'answer'"), (#"{"prompt": 3, "answer": "x"}"#, "'prompt' must be a string"),
      (#"{"prompt": "", "answer": "x"}"#, "must not be empty"), ("[1]", "must be an object"),
      (#"{"prompt": "x", "answer": "y", "length": "k"}"#, "'length' must be a number"), ("", "no prompts"),
    ] {
      let path = try folder.write("wrong.jsonl", text)
      XCTAssertThrowsError(try readEvaluationPrompts(path, tokenizer: tokenizer)) {
        XCTAssertTrue("\($0)".contains(message), "\($0)")
      }
    }
  }

  func testModes() throws {
    let modes = try EvaluationMode.list(
      presets: ["dustin", "quest{block=16}", "oracle{budget=64 pool=3}", "dense"], budgets: [128, 512])
    XCTAssertEqual(
      modes.map(\.text),
      [
        "dense", "dustin{budget=128}", "dustin{budget=512}", "quest{block=16 budget=128}", "quest{block=16 budget=512}",
        "oracle{budget=64 pool=3}",
      ])
    XCTAssertEqual(modes.map(\.budget), [nil, 128, 512, 128, 512, 64])
    XCTAssertEqual(try EvaluationMode.list(presets: ["dustin"], budgets: []).map(\.text), ["dense", "dustin"])
    for broken in ["", "{x=1}", "a{b", "a}b", "a{b}c", "a{{b}}"] {
      XCTAssertThrowsError(try EvaluationMode.list(presets: [broken], budgets: [1]), broken)
    }
  }
}
