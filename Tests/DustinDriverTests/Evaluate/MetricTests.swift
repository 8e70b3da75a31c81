import DustinSupport
import XCTest

@testable import DustinDriver

/// Scores of LongBench, against values worked out by hand; those of ROUGE-L and edit similarity are also what the
/// packages `rouge` 1.0.1 and `fuzzywuzzy` 0.18 give.
final class MetricTests: XCTestCase {
  private func score(_ metric: TextMetric, _ output: String, _ answer: String, _ classes: [String] = []) -> Double {
    metric.score(output, answer: answer, classes: classes)
  }

  func testAnswersAreNormalized() {
    let metric = TextMetric.questionF1
    XCTAssertEqual(metric.normalizedWords("The cat's  a-b, An\tapple!"), ["cats", "ab", "apple"])
    XCTAssertEqual(metric.normalizedWords("Theory of a 'then'"), ["theory", "of", "then"])
    XCTAssertEqual(metric.normalizedWords("the\u{2019}s \u{00C9}tude"), ["\u{2019}s", "\u{00E9}tude"])
  }

  func testF1() {
    // 2 of 3 words of the output, 2 of 4 of the answer: 2·(2/3)(1/2) / (2/3 + 1/2) = 4/7.
    XCTAssertEqual(score(.questionF1, "red old house", "an old house by river"), 4.0 / 7, accuracy: 1e-12)
    // A word counts as often as both have it: 1 of 3, 1 of 1.
    XCTAssertEqual(score(.questionF1, "yes yes yes", "Yes."), 0.5, accuracy: 1e-12)
    XCTAssertEqual(score(.questionF1, "", "x"), 0)
    XCTAssertEqual(score(.questionF1, "the", "a"), 0)
    XCTAssertEqual(score(.questionF1Chinese, "他在北京。", "北京"), 2 * 0.5 / 1.5, accuracy: 1e-12)
  }

  func testRougeL() {
    let cases: [(String, String, Double)] = [
      ("the cat sat on the mat", "the cat lay on the mat", 0.8),
      ("police killed the gunman", "the gunman kill police", 0.5),
      ("a b c d. e f g", "a c e g. b d f", 1),
      ("a.. b", "a b.", 1),
      ("a b a b", "a b", 1),
      ("x y z", "a b c", 0),
      (". .", "a", 0),
      ("", "a b", 0),
      ("a b", "", 0),
      // United over sentences, which end words: {The, was, Nobody, spoke} of 7 and 12 different words, and the reverse.
      (
        "The harbour was dark. Nobody spoke. The harbour was cold.",
        "Nobody spoke in the dark harbour. It was cold. The ship left.", 0.6315789427
      ),
      (
        "Nobody spoke in the dark harbour. It was cold. The ship left.",
        "The harbour was dark. Nobody spoke. The harbour was cold.", 0.7368421006
      ),
    ]
    for (output, answer, expected) in cases {
      XCTAssertEqual(score(.rougeL, output, answer), expected, accuracy: 1e-7, "\(output) | \(answer)")
    }
    XCTAssertEqual(score(.rougeLChinese, "北京人", "北京"), 0.8, accuracy: 1e-7)
  }

  func testClassification() {
    let classes = ["Number", "Date", "City", "Other city", "Animal"]
    XCTAssertEqual(score(.classification, "It is a Date", "Date", classes), 1)
    XCTAssertEqual(score(.classification, "Date or Number", "Date", classes), 0.5)
    XCTAssertEqual(score(.classification, "Number", "Date", classes), 0)
    XCTAssertEqual(score(.classification, "", "Date", classes), 0)
    // "City" is a part of the right answer.
    XCTAssertEqual(score(.classification, "Other City", "Other City", ["City", "Other City"]), 1)
  }

  func testRetrievalAndCount() {
    XCTAssertEqual(score(.retrieval, "Paragraph 12", "Paragraph 12"), 1)
    XCTAssertEqual(score(.retrieval, "Paragraph 12, not 3", "Paragraph 12"), 0.5)
    XCTAssertEqual(score(.retrieval, "none", "Paragraph 12"), 0)
    XCTAssertEqual(score(.retrieval, "12", "no number"), 0)
    XCTAssertEqual(score(.retrievalChinese, "段落7", "段落7"), 1)
    XCTAssertEqual(score(.count, "There are 5 or 6 or 5.", "5"), 2.0 / 3, accuracy: 1e-12)
    XCTAssertEqual(score(.count, "many", "5"), 0)
  }

  func testCodeSimilarity() {
    XCTAssertEqual(score(.codeSimilarity, "\n# comment\nreturn a + b\nx", "return a - b"), 0.92, accuracy: 1e-12)
    XCTAssertEqual(score(.codeSimilarity, "kitten", "sitting"), 0.62, accuracy: 1e-12)
    XCTAssertEqual(score(.codeSimilarity, "x = foo(bar)", "x = foo(baz, bar)"), 0.83, accuracy: 1e-12)
    XCTAssertEqual(score(.codeSimilarity, "abc", "abc"), 1)
    XCTAssertEqual(score(.codeSimilarity, "// only a comment", "x"), 0)
  }

  func testTheRetrievalRule() {
    XCTAssertTrue(answers(Array(" 48213.\n\nThe".utf8), " 48213."))
    XCTAssertTrue(answers(Array(" 48213.".utf8), " 48213."))
    XCTAssertFalse(answers(Array(" 48213".utf8), " 48213."))
    XCTAssertFalse(answers(Array(" 482135.".utf8), " 48213."))
    XCTAssertFalse(answers(Array("48213.".utf8), " 48213."))
    XCTAssertEqual(tokensRight([1, 9, 2, 3], [1, 2, 3, 4]), 0.75)
    XCTAssertEqual(tokensRight([], [1]), 0)
  }

  func testStandardErrors() {
    var mean = GroupedMean()
    mean.add(sum: 3, count: 1)
    XCTAssertNil(mean.standardError)
    for value in [5.0, 7] { mean.add(sum: value, count: 1) }
    // Groups of one: the usual s / √n with s² = (4 + 0 + 4) / 2.
    XCTAssertEqual(mean.mean, 5)
    XCTAssertEqual(mean.standardError ?? 0, (4.0 / 3).squareRoot(), accuracy: 1e-12)
    var groups = GroupedMean()
    groups.add(sum: 2, count: 4)
    groups.add(sum: 6, count: 4)
    groups.add(sum: 0, count: 0)
    // m = 1; residuals −2 and 2: √(2/1 · 8) / 8.
    XCTAssertEqual(groups.standardError ?? 0, 0.5, accuracy: 1e-12)
    var pairs = PairedCount()
    for (a, b) in [(true, true), (false, true), (true, false), (false, true)] { pairs.add(a, base: b) }
    XCTAssertEqual([pairs.lost, pairs.won, pairs.right, pairs.baseRight], [2, 1, 2, 3])
    XCTAssertEqual(pairs.lossRate, 0.25)
    // Differences 0, 1, −1, 1: mean 1/4, s² = (3 − 1/4) / 3.
    XCTAssertEqual(pairs.standardError ?? 0, (2.75 / 3 / 4).squareRoot(), accuracy: 1e-12)
  }

  func testPerplexityIsPaired() {
    var tally = PerplexityTally()
    let tokens = [(1.0, 0.5), (2.0, 2.0), (0.5, 1.0)].map {
      PerplexityTally.Token(loss: $0.0, denseLoss: $0.1, divergence: 0.25, agrees: $0.0 == $0.1)
    }
    tally.add(window: tokens, words: 2)
    XCTAssertEqual(tally.change, 0, accuracy: 1e-12)
    XCTAssertNil(tally.changeError)
    tally.add(window: [PerplexityTally.Token(loss: 2, denseLoss: 1, divergence: 0, agrees: false)], words: 1)
    XCTAssertEqual(tally.perplexity, exponential(5.5 / 4), accuracy: 1e-12)
    XCTAssertEqual(tally.wordPerplexity ?? 0, exponential(5.5 / 3), accuracy: 1e-12)
    XCTAssertEqual(tally.change, exponential(0.25) - 1, accuracy: 1e-12)
    // Residuals −0.75 and 0.75 with 4 tokens in all.
    XCTAssertEqual(tally.changeError ?? 0, exponential(0.25) * 2.25.squareRoot() / 4, accuracy: 1e-12)
    XCTAssertEqual(tally.divergence.mean, 0.1875, accuracy: 1e-12)
    XCTAssertEqual(tally.agreement.mean, 0.25, accuracy: 1e-12)
  }

  func testDivergence() throws {
    let p: [Float] = [0, 0]
    let q: [Float] = [log2Natural * 1, 0]
    try p.withUnsafeBufferPointer { p in
      try q.withUnsafeBufferPointer { q in
        // ½ ln(½ / ⅔) + ½ ln(½ / ⅓)
        let expected = 0.5 * logarithm(0.75) + 0.5 * logarithm(1.5)
        XCTAssertEqual(divergence(p, q), expected, accuracy: 1e-6)
        XCTAssertEqual(divergence(p, p), 0)
        XCTAssertEqual(try negativeLogProbability(0, q), logarithm(1.5), accuracy: 1e-6)
        XCTAssertThrowsError(try negativeLogProbability(2, q))
      }
    }
  }
  private let log2Natural = Float(0.693_147_18)
}
