import DustinSupport
import Foundation
import XCTest

@testable import DustinDriver

/// The page of `dustin explain`.
final class ExplainTests: XCTestCase {
  private func page(_ arguments: [String]) throws -> (text: String, reader: MarkupReader) {
    let outcome = dustin(["explain", "-m", target, "-o", "-"] + arguments)
    XCTAssertEqual(outcome.status, 0, outcome.errors)
    XCTAssertTrue(outcome.output.hasPrefix("<!DOCTYPE html>\n"))
    for word in ["http:", "https:", "<script", "src=", "@import", "url("] {
      XCTAssertFalse(outcome.output.contains(word), "the page needs something from outside: \(word)")
    }
    return (outcome.output, try MarkupReader(outcome.output))
  }

  func testASparsePair() throws {
    let (_, reader) = try page([
      "-md", draft, "--preset", "dustin{look=1:1 history=6:1.4}", "--length", "512", "--runs", "1",
    ])
    for text in [
      "@prefill", "@verify", "@select", "@dense", "@draft", "plan-memory", "Here sparsity enters",
      "approximate: sparsify-verify", "attend through a set", "The draft: kernels",
    ] {
      XCTAssertTrue(reader.text.contains(text), text)
    }
    // Verification of 5 rows and the choice of positions were timed.
    XCTAssertTrue(reader.text.contains("@verify, 5 rows: "))
    XCTAssertTrue(reader.text.contains("@select, the sequence: "))
    XCTAssertTrue(reader.text.contains("@draft, 1 row: "))
    // A box shows its operation's line.
    XCTAssertTrue(reader.attributes.contains { $0.contains("after(%set)") && $0.hasPrefix("%l0.a = attend") })
  }

  func testADenseModelWithoutTimes() throws {
    let (_, reader) = try page(["--no-times"])
    XCTAssertFalse(reader.text.contains("Here sparsity enters"))
    XCTAssertFalse(reader.text.contains("The target: kernels"))
    XCTAssertTrue(reader.text.contains("K and V, all positions"))
    // All layers look alike: one row stands for ten.
    XCTAssertTrue(reader.text.contains("layer 0 … 9"))
  }

  func testWrongUse() {
    for arguments in [["--length", "1"], ["--runs", "0"], ["--draft-max", "0"]] {
      XCTAssertEqual(dustin(["explain", "-m", target, "-o", "-"] + arguments).status, 64, "\(arguments)")
    }
    XCTAssertEqual(dustin(["explain", "-m", target]).status, 64)
    XCTAssertEqual(dustin(["explain", "-m", "/nowhere", "-o", "-"]).status, 1)
  }
}
