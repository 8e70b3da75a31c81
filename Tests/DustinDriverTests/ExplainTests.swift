import DustinRuntime
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

  /// Bytes stand at the calls that read them, and none twice.
  func testBytesOfCalls() throws {
    let options = LoadOptions(target: try .host())
    let pair = try ModelPair.load(target: target, options: options)
    let times = try CallTimes(pair, team: try ThreadTeam(threads: 1), length: 64, gamma: 2, runs: 1)
    let verify = try XCTUnwrap(times.target.first { $0.name == "verify" })
    XCTAssertEqual(verify.rows, 3)
    func bytes(_ family: String) -> Double { verify.calls.reduce(0) { $1.family == family ? $0 + $1.bytes : $0 } }
    // Per layer: q, k, v, the output, gate, up and down; then the output matrix. bf16.
    let layer = 512 * (512 + 2 * 256) + 512 * 512 + 3 * 512 * 1024
    XCTAssertEqual(bytes("matmul"), Double(2 * (10 * layer + 4096 * 512)))
    // Keys and values of 4 heads of 64 bf16 numbers in 10 layers, behind whatever the rounds left.
    let position = Double(10 * 2 * 4 * 64 * 2)
    XCTAssertEqual(bytes("attend").truncatingRemainder(dividingBy: position), 0)
    XCTAssertGreaterThanOrEqual(bytes("attend"), 65 * position)
    XCTAssertEqual(verify.bytes, bytes("matmul") + bytes("attend"))
    // A call may take less than a step takes without it varies.
    XCTAssertTrue(verify.calls.allSatisfy { $0.seconds.isFinite && $0.seconds >= 0 })
    XCTAssertGreaterThan(verify.seconds, 0)
  }

  func testWrongUse() {
    for arguments in [["--length", "1"], ["--runs", "0"], ["--draft-max", "0"]] {
      XCTAssertEqual(dustin(["explain", "-m", target, "-o", "-"] + arguments).status, 64, "\(arguments)")
    }
    XCTAssertEqual(dustin(["explain", "-m", target]).status, 64)
    XCTAssertEqual(dustin(["explain", "-m", "/nowhere", "-o", "-"]).status, 1)
  }
}
