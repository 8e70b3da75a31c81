import DustinModels
import DustinPasses
import DustinSupport
import Foundation
import XCTest

@testable import DustinDriver

/// `sparsity.json`: what it says, where it belongs, and how it may be damaged.
final class SparsityFileTests: XCTestCase {
  private static let models = "\(root)/Tests/Fixtures"

  private func read(_ text: String) throws -> SparsityFile {
    let folder = try TemporaryFolder()
    return try SparsityFile(path: try folder.write("sparsity.json", text))
  }

  func testWhatIsWrittenReadsBack() throws {
    let file = SparsityFile(
      target: "0123456789abcdef", draft: "fedcba9876543210",
      options: [(name: "look", value: "1:1"), (name: "m", value: "300"), (name: "history", value: "6:1.4+7:all")],
      why: ["head 1 of layer 1 finds what is asked for"])
    let again = try read(file.json.text)
    XCTAssertEqual(again.target, file.target)
    XCTAssertEqual(again.draft, file.draft)
    XCTAssertEqual(again.options.map(\.name), file.options.map(\.name))
    XCTAssertEqual(again.options.map(\.value), file.options.map(\.value))
    XCTAssertEqual(again.why, file.why)
  }

  func testDamagedFilesAreRefusedWithTheirPlace() throws {
    func with(_ options: String) -> String {
      "{\"version\": 1, \"target\": \"t\", \"draft\": \"d\", \"options\": \(options)}"
    }
    /// The text at which the error points.
    let cases: [(text: String, place: String, message: String)] = [
      ("", "", "JSON"),
      ("{\"version\": 1", "", "JSON"),
      ("[1]", "[1]", "this is no sparsity file: it has no \"version\""),
      ("{\"target\": \"t\"}", "{\"target\": \"t\"}", "this is no sparsity file: it has no \"version\""),
      ("{\"version\": \"1\"}", "\"1\"", "this is no sparsity file: it has no \"version\""),
      ("{\"version\": 2}", "2", "version 2 is not known to this dustin, only 1"),
      ("{\"version\": 1, \"target\": 5, \"draft\": \"d\"}", "5", "\"target\" must be the fingerprint of a model"),
      ("{\"version\": 1, \"target\": \"t\", \"draft\": []}", "[]", "\"draft\" must be the fingerprint of a model"),
      (
        "{\"version\": 1, \"draft\": \"d\"}", "{\"version\": 1, \"draft\": \"d\"}", "\"target\" must be the fingerprint"
      ),
      (with("[]"), "[]", "\"options\" must be an object"),
      (with("{\"m\": 300}"), "300", "the option \"m\" must be a text"),
      (with("{\"m\": \"many\"}"), "\"many\"", "the option \"m\" must be a whole number, not \"many\""),
      (
        with("{\"look\": \"1\"}"), "\"1\"",
        "the option \"look\" must be layers with heads, as in 6:1.4+7:all, not \"1\""
      ),
      (with("{\"loook\": \"1:1\"}"), "\"1:1\"", "no preset takes an option \"loook\" from a calibration"),
      (with("{\"budget\": \"128\"}"), "\"128\"", "no preset takes an option \"budget\" from a calibration"),
      (with("{\"pool\": \"4\"}"), "{\"pool\": \"4\"}", "needs an odd pool=1 … 255, not 4"),
      (with("{\"m\": \"100\"}"), "{\"m\": \"100\"}", "dustin: m=100 leaves 392 positions to the history"),
      (with("{\"m\": \"1\", \"m\": \"2\"}"), "", "m"),
    ]
    for (text, place, message) in cases {
      do {
        _ = try read(text)
        XCTFail("taken: \(text)")
      } catch let error as DiagnosticError {
        XCTAssertEqual(error.diagnostics.count, 1, text)
        let found = error.diagnostics[0]
        XCTAssertTrue(found.message.contains(message) || message == "JSON", "\(text): \(found.message)")
        XCTAssertEqual(found.id, ["JSON", "m"].contains(message) ? "json" : "sparsity-file", text)
        let range = try XCTUnwrap(found.range, text)
        XCTAssertTrue(range.buffer.name.hasSuffix("sparsity.json"))
        if !place.isEmpty {
          XCTAssertEqual(String(decoding: range.buffer.utf8[range.start..<range.end], as: UTF8.self), place, text)
        }
      }
    }
  }

  // MARK: Beside a model

  /// A folder that holds a model and a sparsity file for it and a draft.
  private func beside(_ model: String, target: String, draft: String) throws -> TemporaryFolder {
    let folder = try TemporaryFolder()
    for name in ["config.json", "generation_config.json", "model.safetensors"] {
      try FileManager.default.copyItem(atPath: "\(Self.models)/\(model)/\(name)", toPath: "\(folder.path)/\(name)")
    }
    let file = SparsityFile(
      target: try ModelDirectory(path: "\(Self.models)/\(target)").fingerprint(),
      draft: try ModelDirectory(path: "\(Self.models)/\(draft)").fingerprint(),
      options: [(name: "look", value: "1:0"), (name: "history", value: "0:1")], why: [])
    _ = try folder.write(SparsityFile.name, file.json.text)
    return folder
  }

  func testTheFileBesideTheTargetIsFound() throws {
    let folder = try beside("mistral", target: "mistral", draft: "llama")
    for path in [folder.path, folder.path + "/"] {
      let found = try SparsityFile.find(target: path, draft: "\(Self.models)/llama")
      XCTAssertEqual(found.file?.options.map(\.value), ["1:0", "0:1"])
      XCTAssertNil(found.note)
    }
    // What it says of the target is right without a draft too.
    let alone = try SparsityFile.find(target: folder.path, draft: nil)
    XCTAssertEqual(alone.file?.options.count, 2)
    let choice = try PresetChoice("dustin", sparsity: nil, target: folder.path, draft: nil)
    XCTAssertEqual(choice.text, "dustin{m=0 look=1:0 history=0:1}")
    let none = try SparsityFile.find(target: "\(Self.models)/llama", draft: nil)
    XCTAssertNil(none.file)
    XCTAssertNil(none.note)
  }

  func testAnotherDraftsFileIsNotUsedAndANoteSaysSo() throws {
    let folder = try beside("mistral", target: "mistral", draft: "llama")
    let other = "\(Self.models)/llama-biases"
    let found = try SparsityFile.find(target: folder.path, draft: other)
    XCTAssertNil(found.file)
    XCTAssertEqual(
      found.note, "'\(folder.path)/sparsity.json' was made with another draft and is not used")
    let choice = try PresetChoice("dustin", sparsity: nil, target: folder.path, draft: other)
    XCTAssertEqual(choice.text, "dustin")
    XCTAssertEqual(choice.notes.count, 2)
    // A file that somebody names is not passed over.
    XCTAssertThrowsError(
      try PresetChoice("dustin", sparsity: "\(folder.path)/sparsity.json", target: folder.path, draft: other)
    ) { error in
      XCTAssertTrue("\(error)".contains("was made for another draft than '\(other)'"), "\(error)")
    }
  }

  func testAnotherTargetsFileIsAnError() throws {
    let folder = try beside("mistral", target: "llama", draft: "llama")
    for draft in [nil, "\(Self.models)/llama"] {
      XCTAssertThrowsError(try SparsityFile.find(target: folder.path, draft: draft)) { error in
        let found = (error as? DiagnosticError)?.diagnostics.first
        XCTAssertEqual(found?.id, "sparsity-file")
        XCTAssertTrue(found?.message.contains("was made for another target") ?? false, "\(error)")
        XCTAssertTrue(found?.message.contains(folder.path) ?? false, "\(error)")
        XCTAssertEqual(found?.notes.count, 1)
      }
    }
  }

  func testAFileThatIsNotThere() {
    XCTAssertThrowsError(
      try PresetChoice("oracle", sparsity: "/nowhere/sparsity.json", target: "\(Self.models)/llama", draft: nil)
    ) { error in
      XCTAssertTrue("\(error)".contains("/nowhere/sparsity.json"), "\(error)")
    }
  }
}
