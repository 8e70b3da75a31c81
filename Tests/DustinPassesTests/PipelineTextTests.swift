import DustinIR
import DustinPasses
import DustinSupport
import XCTest

/// Options of every kind.
private struct EveryKind: Pass {
  enum Pool: String, CaseIterable, PassOptionValue { case max, mean }

  let name = "every-kind"
  let summary = "Has options of every kind."
  @PassOption("budget", "positions") var budget = 512
  @PassOption("share", "part of it") var share = 0.5
  @PassOption("exact", "whether to") var exact = false
  @PassOption("pool", "how to pool") var pool = Pool.max
  @PassOption("label", "a text") var label = "none"
  @PassOption("layers", "numbers of layers") var layers: [Int] = []
  @PassOption("limit", "no limit when not given") var limit: Int? = nil

  func run(on module: Module, context: PassContext) throws {}
}

final class PipelineTextTests: XCTestCase {
  private let registry: PassRegistry = {
    var registry = PassRegistry.standard
    registry.register(EveryKind())
    registry.register(NamedPipeline("twice", "cse and dce twice.", "cse,dce,cse,dce"))
    registry.register(NamedPipeline("loop", "Contains itself.", "cse,loop"))
    return registry
  }()

  private func print(_ text: String) throws -> String { try PassPipeline.parse(text, registry: registry).description }

  func testPrintsWhatItParses() throws {
    let texts = [
      "", "cse", "canonicalize,cse,dce", "derive{from=forward as=verify rows=all role=verify}",
      "derive{as=x},numerics{mode=f32}",
      #"every-kind{budget=-3 share=0.25 exact=true pool=mean label="two words, {here}" layers=[1,4,9] limit=7}"#,
    ]
    for text in texts { XCTAssertEqual(try print(text), text) }
  }

  func testPrintsOneFormForManySpellings() throws {
    XCTAssertEqual(try print("  cse ,\n dce "), "cse,dce")
    XCTAssertEqual(try print("derive { as = verify\n  from=f }"), "derive{from=f as=verify}")
    XCTAssertEqual(try print("cse{}"), "cse")
    XCTAssertEqual(try print("every-kind{layers=[ 1, 4 ] label=\"plain\"}"), "every-kind{label=plain layers=[1,4]}")
  }

  func testOptionsReachThePass() throws {
    let pass = try XCTUnwrap(
      try PassPipeline.parse("every-kind{budget=8 share=2 exact=true pool=mean layers=[3] limit=1}", registry: registry)
        .passes.first as? EveryKind)
    XCTAssertEqual(pass.budget, 8)
    XCTAssertEqual(pass.share, 2)
    XCTAssertTrue(pass.exact)
    XCTAssertEqual(pass.pool, .mean)
    XCTAssertEqual(pass.layers, [3])
    XCTAssertEqual(pass.limit, 1)
    XCTAssertEqual(pass.label, "none")
    // Every use of a name is a pass of its own.
    let two = try PassPipeline.parse("every-kind{budget=1},every-kind", registry: registry).passes
    XCTAssertEqual(two.map { ($0 as? EveryKind)?.budget }, [1, 512])
  }

  func testOptionsDescribeThemselves() {
    let options = EveryKind().options
    XCTAssertEqual(options.map(\.name), ["budget", "share", "exact", "pool", "label", "layers", "limit"])
    XCTAssertEqual(options.map(\.defaultText), ["512", "0.5", "false", "max", "none", "[]", nil])
    XCTAssertEqual(options[3].kind, "max or mean")
  }

  func testNamedPipelinesParseAndPrint() throws {
    XCTAssertEqual(try print("twice,canonicalize"), "cse,dce,cse,dce,canonicalize")
    for pipeline in NamedPipeline.standard {
      let text = try print(pipeline.text)
      XCTAssertFalse(text.isEmpty)
      XCTAssertEqual(try print(text), text)
      XCTAssertEqual(try print(pipeline.name), text)
    }
    let wanted = ["target-fast", "target-f32", "draft-fast", "draft-f32"]
    XCTAssertEqual(wanted.filter { registry.pipeline($0) == nil }, [])
    XCTAssertEqual(
      try print("draft-f32"),
      "canonicalize,cse,derive{from=forward as=prefill rows=last role=prefill},"
        + "derive{from=forward as=draft rows=last role=draft},drop{function=forward},canonicalize,dce,"
        + "numerics{mode=f32},canonicalize,cse,lower-to-kernel,"
        + "fuse-qkv,fuse-swiglu,fuse-residual,fuse-norm,fuse-rope-append,fold-casts,canonicalize,dce,plan-memory")
  }

  func testNamesAreTakenOnce() {
    var registry = PassRegistry.standard
    XCTAssertFalse(registry.register(CommonSubexpressions()))
    XCTAssertFalse(registry.register(NamedPipeline("cse", "Not this name.", "dce")))
    XCTAssertEqual(registry.names, PassRegistry.standard.names)
  }

  func testPassesDescribeThemselves() {
    for pass in registry.passes {
      XCTAssertTrue(pass.name.allSatisfy { $0.isLowercase || $0.isNumber || $0 == "-" }, pass.name)
      XCTAssertTrue(pass.summary.hasSuffix("."), pass.name)
      for option in pass.options { XCTAssertFalse(option.summary.isEmpty, "\(pass.name) \(option.name)") }
    }
  }

  // MARK: Errors

  /// The message, and the text that the caret underlines.
  private func error(_ text: String) -> [String] {
    diagnostics { _ = try PassPipeline.parse(text, registry: registry) }.map { diagnostic in
      guard let range = diagnostic.range else { return diagnostic.message }
      let bytes = range.buffer.utf8[min(range.start, range.buffer.utf8.count)..<min(range.end, range.buffer.utf8.count)]
      return "\(diagnostic.message) @ \(String(decoding: bytes, as: UTF8.self))"
    }
  }

  func testMisspeltNames() {
    XCTAssertEqual(
      error("cse,canonicalise"),
      ["there is no pass or pipeline 'canonicalise'; did you mean 'canonicalize'? @ canonicalise"])
    XCTAssertEqual(
      error("target-fats"), ["there is no pass or pipeline 'target-fats'; did you mean 'target-fast'? @ target-fats"])
    XCTAssertEqual(error("xyzzy{a=1}"), ["there is no pass or pipeline 'xyzzy' @ xyzzy"])
    XCTAssertEqual(error("derive{form=f as=g}"), ["'derive' has no option 'form'; did you mean 'from'? @ form"])
    XCTAssertEqual(
      error("derive{as=g zzz=1}"), ["'derive' has no option 'zzz'; it has 'from', 'as', 'rows', 'role' @ zzz"])
    XCTAssertEqual(error("cse{a=1}"), ["'cse' has no option 'a'; it takes none @ a"])
    XCTAssertEqual(
      error("cze,derive{as=x rows=lst}"),
      [
        "there is no pass or pipeline 'cze'; did you mean 'cse'? @ cze",
        "'rows' must be all or last, not 'lst'; did you mean 'last'? @ lst",
      ])
  }

  func testWrongValues() {
    XCTAssertEqual(error("every-kind{budget=many}"), ["'budget' must be a whole number, not 'many' @ many"])
    XCTAssertEqual(error("every-kind{budget=99999999999999999999}").count, 1)
    XCTAssertEqual(error("every-kind{share=nan}"), ["'share' must be a number, not 'nan' @ nan"])
    XCTAssertEqual(
      error("every-kind{exact=tru}"), ["'exact' must be true or false, not 'tru'; did you mean 'true'? @ tru"])
    XCTAssertEqual(
      error("every-kind{layers=[1,x]}"),
      ["'layers' must be a list in brackets, each a whole number, not '[1,x]' @ [1,x]"])
    XCTAssertEqual(error("every-kind{budget=1 budget=2}"), ["the option 'budget' is given twice @ budget"])
    XCTAssertEqual(error("cse,derive"), ["derive needs as=NAME, the name of the copy @ derive"])
  }

  func testBrokenForm() {
    XCTAssertEqual(error("cse,"), ["expected a pass name @ "])
    XCTAssertEqual(error("cse,,dce"), ["expected a pass name, found ',' @ ,"])
    XCTAssertEqual(error("cse dce"), ["expected ',' or the end of the pipeline, found 'd' @ d"])
    XCTAssertEqual(error("cse}"), ["expected ',' or the end of the pipeline, found '}' @ }"])
    XCTAssertEqual(error("derive{as=x"), ["this '{' has no matching '}' @ {"])
    XCTAssertEqual(error("derive{as}"), ["expected '=' and a value after the option 'as' @ as"])
    XCTAssertEqual(error("derive{as=}"), ["expected a value for the option 'as' @ }"])
    XCTAssertEqual(error("derive{as=\"x}"), ["this quote is not closed @ \""])
    XCTAssertEqual(error("every-kind{layers=[1"), ["this '[' has no matching ']' @ ["])
    XCTAssertEqual(error("cse ä"), ["expected ',' or the end of the pipeline, found 'ä' @ ä"])
    XCTAssertEqual(error("loop"), ["the named pipeline 'loop' contains itself @ loop"])
    XCTAssertEqual(error("twice{a=1}"), ["the named pipeline 'twice' takes no options @ {a=1}"])
  }

  func testCaretStandsBelowTheName() {
    let error = diagnostics { _ = try PassPipeline.parse("cse,dec", registry: .standard) }
    XCTAssertEqual(
      error.first?.rendered(),
      """
      --passes:1:5: error: there is no pass or pipeline 'dec'; did you mean 'dce'?
        cse,dec
            ^~~
      """)
  }
}
