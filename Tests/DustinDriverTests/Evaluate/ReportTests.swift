import DustinSupport
import Foundation
import XCTest

@testable import DustinDriver

/// The page of `dustin eval --report`, and the drawings on it.
final class ReportTests: XCTestCase {
  private func read(_ page: String) throws -> MarkupReader { try MarkupReader(page) }

  func testAPlotShowsItsPoints() throws {
    var plot = LinePlot(
      title: "A <b> & \"c\"", xLabel: "budget", yLabel: "right, %",
      series: [
        LinePlot.Series(
          name: "dustin", color: 0,
          points: [
            LinePlot.Point(x: 128, y: 91.5, error: 2, hint: "at 128: 91.5"),
            LinePlot.Point(x: 512, y: 97.25, hint: "at 512: 97.25"),
            LinePlot.Point(x: 512, y: .nan, hint: "none"),
          ])
      ])
    plot.xKind = .powersOfTwo
    plot.levels = [LinePlot.Level(name: "dense", y: 98)]
    let reader = try read(XCTUnwrap(plot.markup))
    XCTAssertEqual(reader.elements["circle"], 3, "two points and the legend's")
    XCTAssertEqual(reader.elements["polyline"], 1)
    for text in ["A <b> & \"c\"", "at 128: 91.5", "at 512: 97.25", "128", "512", "budget", "right, %", "dense"] {
      XCTAssertTrue(reader.text.contains(text), text)
    }
    plot.series = []
    XCTAssertNil(plot.markup)
  }

  func testScales() {
    let scale = PlotScale(.linear, values: [91.5, 97.25], limits: 0...100)
    XCTAssertLessThanOrEqual(scale.low, 91.5)
    XCTAssertGreaterThanOrEqual(scale.high, 97.25)
    XCTAssertEqual(scale.place(scale.low), 0)
    XCTAssertEqual(scale.place(scale.high), 1, accuracy: 1e-12)
    XCTAssertTrue((2...12).contains(scale.ticks.count), "\(scale.ticks)")
    let powers = PlotScale(.powersOfTwo, values: [100, 600])
    XCTAssertEqual(powers.ticks, [64, 128, 256, 512, 1024])
    XCTAssertEqual(powers.place(256), 0.5, accuracy: 1e-9)
    for values in [[], [5], [0, 0], [-3, -3], [.nan, .infinity], [1e-9, 2e-9], [1e12, 3e12]] as [[Double]] {
      for kind in [PlotScale.Kind.linear, .powersOfTwo] {
        let scale = PlotScale(kind, values: values)
        XCTAssertTrue((2...64).contains(scale.ticks.count), "\(values) \(scale.ticks)")
        XCTAssertLessThan(scale.low, scale.high)
        for tick in scale.ticks { XCTAssertFalse(scale.label(tick).isEmpty) }
      }
    }
    XCTAssertEqual(scale.label(95), "95")
    XCTAssertEqual(scale.label(0.25), "0.25")
    XCTAssertEqual(scale.label(32768), "32,768")
  }

  func testBars() throws {
    let plot = BarPlot(
      title: "Time", xLabel: "ms", parts: ["draft", "verify"],
      bars: [BarPlot.Bar(name: "dense", values: [1, 3]), BarPlot.Bar(name: "dustin{budget=128}", values: [2, 0])])
    let reader = try read(XCTUnwrap(plot.markup))
    XCTAssertEqual(reader.elements["rect"], 5, "three parts above zero and two of the legend")
    XCTAssertTrue(reader.text.contains("verify: 3.000"))
    XCTAssertNil(BarPlot(title: "", xLabel: "", parts: [], bars: []).markup)
  }

  func testMarkupIsEscaped() throws {
    let page = Markup.element("p", [("title", "a\"<&>\u{1}")], Markup.escaped("<script>\u{0}&amp;"))
    let reader = try read(page)
    XCTAssertEqual(reader.text, "<script>\u{FFFD}&amp;")
    XCTAssertEqual(reader.attributes, ["a\"<&>\u{FFFD}"])
  }

  func testShellWords() {
    XCTAssertEqual(shellWord("dustin{budget=128}"), "'dustin{budget=128}'")
    XCTAssertEqual(shellWord("examples/models"), "examples/models")
    XCTAssertEqual(shellWord("it's"), "'it'\\''s'")
    XCTAssertEqual(shellWord(""), "''")
  }

  /// The whole command on a small model: all figures of the tables stand on the page.
  func testTheReportOfARun() throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/report.html"
    let arguments = [
      "eval", "-m", target, "-md", draft, "-t", "1", "--lengths", "512", "--count", "8", "--windows", "2", "--tokens",
      "24",
      "--drift-tokens", "24", "--task", "retrieval", "--task", "perplexity", "--task", "drift", "--books",
      try books(folder),
    ]
    let run = dustin(arguments + ["--report", path])
    XCTAssertEqual(run.status, 0, run.errors)
    let page = String(decoding: try readFile(path), as: UTF8.self)
    let reader = try read(page.replacingOccurrences(of: "<!DOCTYPE html>\n", with: ""))
    XCTAssertFalse(page.contains("http://") || page.contains("https://"))
    XCTAssertNil(reader.elements["script"])
    XCTAssertGreaterThan(reader.elements["figure"] ?? 0, 2)
    // Every figure of the table on standard output, but for times, which no second run would repeat.
    let lines = run.output.split(separator: "\n")
    XCTAssertTrue(lines.contains { $0.hasPrefix("512 tokens") }, run.output)
    for line in lines where line.hasPrefix("dense") {
      for word in line.split(separator: " ") { XCTAssertTrue(reader.text.contains(word), "\(word)") }
    }
  }

  func testAnEvaluationWithoutFiguresLeavesTheReportThatIsThere() throws {
    let folder = try TemporaryFolder()
    let path = try folder.write("report.html", "earlier figures")
    let run = dustin([
      "eval", "-m", target, "-md", draft, "-t", "1", "--lengths", "512", "--task", "retrieval", "--books",
      "\(folder.path)/none", "--report", path,
    ])
    XCTAssertEqual(run.status, 1)
    XCTAssertTrue(run.errors.contains("/none'"), run.errors)
    XCTAssertEqual(String(decoding: try readFile(path), as: UTF8.self), "earlier figures")
  }

  private func books(_ folder: TemporaryFolder) throws -> String {
    let text = String(decoding: try readFile("\(root)/examples/books/treasure-island.txt"), as: UTF8.self)
    _ = try folder.write("island.txt", String(decoding: Array(text.utf8).prefix(9000), as: UTF8.self))
    return folder.path
  }

  func testTheLinesOfARun() throws {
    let folder = try TemporaryFolder()
    let run = dustin([
      "eval", "-m", target, "-md", draft, "-t", "1", "--lengths", "384,512", "--count", "2", "--windows", "1",
      "--tokens", "12", "--books", try books(folder), "--json",
    ])
    XCTAssertEqual(run.status, 0, run.errors)
    let lines = try run.output.split(separator: "\n").map { try json(String($0)) }
    XCTAssertEqual(lines.map { $0["length"]?.intValue }, [384, 512])
    for line in lines {
      XCTAssertEqual(line["preset"]?.stringValue, "dense")
      XCTAssertEqual(line["retrieval"]?["prompts"]?.intValue, 2)
      XCTAssertEqual(line["retrieval"]?["lost"]?.intValue, 0)
      XCTAssertEqual(line["perplexity"]?["tokens"]?.intValue, 12)
      XCTAssertEqual(line["perplexity"]?["change"]?.doubleValue, 0)
      XCTAssertGreaterThan(line["perplexity"]?["perplexity"]?.doubleValue ?? 0, 1)
      XCTAssertGreaterThan(line["answers"]?["kv"]?["target"]?["bytes_read_per_token"]?.doubleValue ?? 0, 0)
    }
  }

  func testWrongArguments() {
    for (arguments, message) in [
      (["--lengths", "4x"], "--lengths takes"), (["--lengths", ","], "--lengths is empty"),
      (["--budget", "0"], "--budget takes"), (["--count", "0"], "--count must be"),
      (["--task", "speed"], "speed"),
    ] {
      let run = dustin(["eval", "-m", target] + arguments)
      XCTAssertEqual(run.status, 64, "\(arguments)")
      XCTAssertTrue(run.errors.contains(message), run.errors)
    }
    let long = dustin(["eval", "-m", target, "-t", "1", "--lengths", "1m", "--count", "1"])
    XCTAssertEqual(long.status, 64)
  }
}
