import DustinIR
import DustinPasses
import DustinSupport
import XCTest

/// Presets on a small decoder: what they make of a module at every stage, and which budgets they take.
final class SparsityPresetTests: XCTestCase {
  /// With the options without which some presets are not complete.
  private static let texts = PassRegistry.presets.map { make in
    make().name == "dustin-target" ? "dustin-target{history=1:0}" : make().name
  }
  /// The smallest budget, and what budgets must be multiples of.
  private static let smallest: [String: (budget: Int, block: Int)] = [
    "dustin": (20, 1), "dustin-target": (20, 1), "dustin-draft": (20, 1), "oracle": (20, 1), "streaming-llm": (5, 1),
    "snapkv": (33, 1), "quest": (32, 16), "spec-attn": (20, 1), "vegas-rows": (8, 1), "spec-pv": (32, 16),
    "magicdec": (5, 1), "triforce": (48, 16),
  ]
  private static let budgets = [
    Int.min, -1, 0, 1, 4, 5, 7, 8, 16, 19, 20, 31, 32, 33, 48, 64, 100, 128, 250, 256, 512, 1000, 1024, 1 << 20,
    1 << 20 + 1, Int.max,
  ]

  private var models: [String: Module] = [:]

  private func decided(_ role: PresetRole, numerics: String = "fast") throws -> Module {
    let pipeline = "\(role.rawValue),numerics{mode=\(numerics)}"
    if let known = models[pipeline] { return known.copy() }
    let module = try TestModel(layers: 3).module()
    try runPasses(pipeline, on: module)
    models[pipeline] = module.copy()
    return module
  }

  /// Runs the passes one by one; after each the module verifies and reads back as it prints.
  private func runAndReadBack(_ text: String, on module: Module, _ name: String) throws {
    for pass in try PassPipeline.parse(text, registry: .standard).passes {
      var manager = PassManager()
      manager.verifyEach = true
      try manager.run(PassPipeline([pass]), on: module)
      let text = module.text()
      XCTAssertEqual(try readModule(text).text(), text, "\(name) after \(pass.name)")
    }
  }

  func testEveryPresetLowersAndReadsBackAtEveryStage() throws {
    for preset in Self.texts + ["dustin{history=0:all look=1:1+0:0}"] {
      let modules = try PresetRole.allCases.map { role in
        let module = try decided(role, numerics: preset == "spec-attn" ? "f32" : "fast")
        try runAndReadBack("\(preset),choose-kv-layout,kernels", on: module, "\(preset) of the \(role)")
        XCTAssertEqual(module.stage, .planned)
        guard case .string(let text)? = module.attributes["preset"] else {
          XCTFail("\(preset) does not say its name")
          return module
        }
        XCTAssertTrue(text.hasPrefix(preset.prefix { $0 != "{" }), text)
        return module
      }
      checkThatEverythingIsPassedOn(by: modules, preset)
    }
  }

  /// The bundled pair, as the tool compiles it.
  func testEveryPresetLowersOnTheBundledPair() throws {
    for role in PresetRole.allCases {
      let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../IR/models/\(role.rawValue).dust").path
      let imported = try ModuleParser.parseVerified(SourceBuffer(name: path, utf8: try readFile(path)))
      try runPasses("\(role.rawValue),numerics{mode=fast}", on: imported)
      for preset in Self.texts {
        let module = imported.copy()
        try runPasses("\(preset),choose-kv-layout,kernels", on: module)
        let text = module.text()
        XCTAssertEqual(try readModule(text).text(), text, preset)
      }
    }
  }

  func testBudgetsAreTakenOrRefusedWithTheirName() throws {
    XCTAssertEqual(Set(Self.smallest.keys), Set(PassRegistry.presets.map { $0().name }))
    let models = try PresetRole.allCases.map { try decided($0) }
    for preset in Self.texts {
      let name = String(preset.prefix { $0 != "{" })
      let (least, block) = try XCTUnwrap(Self.smallest[name])
      for budget in Self.budgets {
        let options = preset.contains("{") ? preset.dropLast() + " " : name + "{"
        let text = "\(options)budget=\(budget)}"
        let fits = (least...(1 << 20)).contains(budget) && budget % block == 0
        do {
          let pipeline = try PassPipeline.parse(text, registry: .standard)
          XCTAssertTrue(fits, "\(text) is taken")
          for model in models {
            var manager = PassManager()
            manager.verifyEach = true
            let module = model.copy()
            try manager.run(pipeline, on: module)
            // A draft's own set has a budget of its own.
            let most = max(budget, name == "triforce" ? 512 : 256)
            for select in module.functions.flatMap(\.body) where select.name == "select" {
              XCTAssertLessThanOrEqual(try XCTUnwrap(select.attributes.int("budget")), most, text)
            }
          }
        } catch let error as DiagnosticError {
          XCTAssertFalse(fits, "\(text): \(error)")
          XCTAssertEqual(error.diagnostics.count, 1, text)
          let message = error.diagnostics[0].message
          XCTAssertTrue(
            message.hasPrefix(name) && message.contains("budget=") && message.contains("\(budget)"), message)
          XCTAssertNotNil(error.diagnostics[0].range, text)
        }
      }
    }
  }

  /// Nothing that is written after `=` may end the process.
  func testExtremesOfEveryOptionAreRefusedOrTaken() throws {
    let models = try PresetRole.allCases.map { try decided($0) }
    let passes = PassRegistry.standard.passes.filter { $0 is any Preset || Self.sparsityPasses.contains($0.name) }
    XCTAssertGreaterThan(passes.count, 15)
    var refused = 0
    for pass in passes {
      for option in pass.options
      where ["a whole number", "a list in brackets, each a whole number"].contains(option.kind) {
        for number in [Int.min, -1, 0, 1, 1 << 20, Int.max] {
          let value = option.kind == "a whole number" ? "\(number)" : "[\(number),\(number)]"
          for others in [
            "", " history=1:0", " sink=0 recent=1", " granularity=16", " sets=layer signals=[look,history]",
          ] {
            let text = "\(pass.name){\(option.name)=\(value)\(others)}"
            do {
              let pipeline = try PassPipeline.parse(text, registry: .standard)
              for model in models { try PassManager().run(pipeline, on: model.copy()) }
            } catch is DiagnosticError {
              refused += 1
            }
          }
        }
      }
    }
    XCTAssertGreaterThan(refused, 500)
  }
  private static let sparsityPasses = [
    "look-ahead", "fuse-lookahead", "sparsify-draft", "sparsify-verify", "share-selection", "policy",
    "choose-kv-layout", "add-budgets",
  ]

  // MARK: Functions

  func testFunctionsSayHowFaithfulTheyAre() throws {
    for preset in Self.texts {
      let target = try decided(.target)
      try runPasses(preset, on: target)
      let isSparse = preset != "magicdec"
      for function in target.functions {
        let expected: Fidelity = function.name == "verify" && isSparse ? .approximate("sparsify-verify") : .exact
        XCTAssertEqual(function.fidelity, expected, "\(preset): @\(function.name)")
      }
      XCTAssertEqual(target.function("dense") != nil, isSparse, preset)
      let draft = try decided(.draft)
      try runPasses(preset, on: draft)
      let readsSet = ["dustin", "magicdec", "triforce"].contains(preset)
      for function in draft.functions {
        let expected: Fidelity = function.name == "draft" && readsSet ? .approximate("sparsify-draft") : .exact
        XCTAssertEqual(function.fidelity, expected, "\(preset): @\(function.name)")
      }
      XCTAssertEqual(
        draft.function("look") != nil, readsSet || ["dustin-draft", "spec-attn"].contains(preset), preset)
    }
  }

  /// `@dense` is the verification of before; it also leaves the rows that score in the next round.
  func testDenseIsTheVerificationOfBefore() throws {
    let before = try decided(.target)
    let verify = try XCTUnwrap(before.function("verify"))
    for preset in Self.texts where preset != "magicdec" {
      let module = try decided(.target)
      try runPasses(preset, on: module)
      let dense = try XCTUnwrap(module.function("dense"))
      XCTAssertEqual(dense.arguments.map(\.name), verify.arguments.map(\.name), preset)
      XCTAssertEqual(dense.returns.first?.name, verify.returns[0].name, preset)
      // Without the rows for scoring the texts agree but for the names.
      let kept = zip(dense.returns, dense.returnRoles).filter { $0.1 != .row && $0.1 != .rows }
      for value in dense.returns where !kept.contains(where: { $0.0 === value }) {
        XCTAssertTrue(value.name.hasPrefix("history."), value.name)
        let index = try XCTUnwrap(dense.body.firstIndex { $0.results.contains(value) })
        value.name = verify.body[index].result.name
      }
      dense.returns = kept.map(\.0)
      dense.returnRoles = kept.map(\.1)
      XCTAssertEqual(dense.text(), verify.clone(as: "dense").text(), preset)
    }
  }

  /// What functions take is made by some function of the pair, by that name and type, also behind fusion.
  private func checkThatEverythingIsPassedOn(by modules: [Module], _ preset: String) {
    for module in modules {
      for function in module.functions {
        for (argument, role) in zip(function.arguments, function.argumentRoles) where ![.plain, .cache].contains(role) {
          // Rows stay with their model, signals go to the other one.
          let isRows = role == .row || role == .rows
          let stays = isRows || role == .running
          let makers = (stays ? [module] : modules).flatMap(\.functions).filter { maker in
            zip(maker.returns, maker.returnRoles).contains {
              ($0.runningArgument ?? $0).name == argument.name && $0.type == argument.type && $1 == role
            }
          }
          XCTAssertFalse(makers.isEmpty, "\(preset): nobody makes %\(argument.name) for @\(function.name)")
          if isRows { XCTAssertGreaterThan(makers.count, 1, "\(preset): %\(argument.name)") }
        }
      }
    }
  }

  // MARK: Equal presets

  func testExtremesOfTheShareAreTheOneSignalPresets() throws {
    func text(_ preset: String, _ role: PresetRole) throws -> String {
      let module = try decided(role)
      try runPasses(preset, on: module)
      module.attributes["preset"] = .string("")
      return module.text()
    }
    for share in ["m=492", "m=9999", ""] {
      let history = share.isEmpty ? "" : "history=1:0 "
      let options = "{\(history)\(share) draft=0 look=2:0.1}"
      for role in PresetRole.allCases {
        XCTAssertEqual(try text("dustin" + options, role), try text("dustin-draft{look=2:0.1}", role), share)
      }
    }
    XCTAssertEqual(
      try text("dustin{m=0 history=1:0}", .target), try text("dustin-target{history=1:0}", .target))
    XCTAssertEqual(try text("dustin{m=0 history=1:0}", .draft), try text("oracle", .draft))
    // What the first and the last positions leave is nothing: all presets read the same.
    XCTAssertFalse(try text("dustin{m=0 history=1:0 budget=20}", .target).contains("%look"))
  }

  func testHalfOfTheSetIsLookAhead() throws {
    let module = try decided(.target)
    try runPasses("dustin{history=1:0.3}", on: module)
    let select = try XCTUnwrap(module.function("select")?.body.first { $0.name == "select" })
    XCTAssertEqual(select.attributes["quotas"], .array([.int(246)]))
    XCTAssertEqual(select.operands.map(\.name), ["look", "signal"])
    let blocks = try decided(.target)
    try runPasses("dustin{history=1:0.3 granularity=16}", on: blocks)
    let choice = try XCTUnwrap(blocks.function("select")?.body.first { $0.name == "select" })
    // 16 + 16 positions in whole blocks and one that the last ones touch: 48 of 512.
    XCTAssertEqual(choice.attributes["quotas"], .array([.int(232)]))
  }

  // MARK: Shared sets

  func testPresetsWithASetPerLayerCanShareThem() throws {
    for preset in ["snapkv", "vegas-rows", "quest{dense-layers=[0]}", "spec-pv"] {
      for group in [0, 1, 2, Int.max] {
        let module = try decided(.target)
        let rest = group == 2 ? "kernels" : "dce"
        try runAndReadBack(
          "\(preset),share-selection{group=\(group)},choose-kv-layout,\(rest)", on: module, "\(preset) by \(group)")
        let readers = try XCTUnwrap(module.function("verify")).body.filter { !$0[group: "after"].isEmpty }
        let sets = Set(readers.map { ObjectIdentifier($0[group: "after"][0]) })
        let size = group == 0 ? readers.count : min(group, readers.count)
        XCTAssertEqual(sets.count, (readers.count + size - 1) / size, "\(preset) by \(group)")
        let selects = module.functions.flatMap(\.body).filter { $0.name == "select" }
        XCTAssertEqual(selects.count, sets.count, "\(preset) by \(group)")
        let scores = module.functions.flatMap(\.body).filter { $0.name == "score" }
        XCTAssertEqual(scores.count, sets.count, "\(preset) by \(group)")
        let dims = Set(module.functions.flatMap { $0.arguments + $0.body.flatMap(\.results) }.flatMap(\.type.shape))
        XCTAssertTrue(module.dims.allSatisfy { dims.contains(.named($0.name)) }, "\(preset): a dim is of no use")
      }
    }
  }

  func testBudgetsAreAddedInSeveralSizes() throws {
    let module = try decided(.target)
    try runPasses("dustin{history=2:all m=100},add-budgets{budgets=[64,16,1024]}", on: module)
    XCTAssertEqual(
      module.functions.map(\.name).filter { $0.hasPrefix("select") },
      ["select", "select.64", "select.512", "select.1024"], "16 does not hold what is always read")
    let selects = module.functions.flatMap(\.body).filter { $0.name == "select" }
    XCTAssertEqual(selects.map { $0.attributes.int("budget") }, [512, 64, 512, 1024])
    // 64 positions hold 20 that are always read; a quota keeps its share.
    XCTAssertEqual(selects.map { $0.attributes.ints("quotas") }, [[100], [12], [100], [200]])
    XCTAssertEqual(module.dims.filter { $0.rule == .bounded(1024) }.count, 1)
    let text = module.text()
    try runPasses("choose-kv-layout", on: module)
    XCTAssertEqual(
      try ModuleParser.parseVerified(SourceBuffer(name: "again", utf8: Array(text.utf8))).text(), text)
  }

  // MARK: Twice

  func testEveryPassDoesNothingTheSecondTimeOrRefuses() throws {
    let passes = [
      "look-ahead", "fuse-lookahead", "sparsify-draft{static=true}", "sparsify-verify{signals=[look]}",
      "share-selection", "policy{refresh=2 dense-every=20}", "choose-kv-layout", "add-budgets",
    ]
    XCTAssertEqual(passes.map { String($0.prefix { $0 != "{" }) }.sorted(), Self.sparsityPasses.sorted())
    for pass in passes + Self.texts {
      for role in PresetRole.allCases {
        let module = try decided(role)
        if ["share", "policy", "add"].contains(where: pass.hasPrefix) {
          guard role == .target else { continue }
          try runPasses("sparsify-verify{signals=[history] sets=layer}", on: module)
        }
        if pass.hasPrefix("fuse") {
          guard role == .draft else { continue }
          try runPasses("look-ahead", on: module)
        }
        guard
          let pipeline = try? PassPipeline.parse(pass, registry: .standard),
          (try? PassManager().run(pipeline, on: module)) != nil
        else { continue }  // of the other model
        let once = module.text()
        do {
          let isChanged = try PassManager().run(pipeline, on: module)
          XCTAssertFalse(isChanged, "\(pass) changes something the second time")
          XCTAssertEqual(module.text(), once, pass)
        } catch let error as DiagnosticError {
          XCTAssertEqual(error.diagnostics.count, 1, pass)
          let message = error.diagnostics[0].message
          XCTAssertTrue(message.contains("already"), message)
          XCTAssertEqual(module.text(), once, "\(pass) changes what it refuses")
        }
      }
    }
  }

  func testPresetsStandWhereTheyBelong() throws {
    let module = try TestModel().module()
    func message(_ pipeline: String) -> String {
      diagnostics { try PassManager().run(try PassPipeline.parse(pipeline, registry: .standard), on: module.copy()) }
        .map(\.message).joined(separator: "|")
    }
    XCTAssertEqual(
      message("oracle"), "oracle: the module has neither @verify nor @draft; run target or draft first")
    XCTAssertEqual(
      message("target,oracle"),
      "sparsify-verify: the numerics of @verify are not decided; run numerics first")
    XCTAssertEqual(
      message("target-f32,magicdec"), "magicdec needs stage tensor, and the module is in stage planned")
    XCTAssertEqual(
      message("target,numerics{mode=f32},oracle{budget=64},dustin"),
      "dustin: the module already is as the preset 'oracle{budget=64}' makes it")
    XCTAssertEqual(
      message("target,numerics{mode=f32},quest"),
      "sparsify-verify: dense-layers leave none of the 2 layers to read through a set")
  }

  /// One list of passes each: `--preset` and a pipeline mean the same.
  func testThePassesOfAPresetMakeTheSame() throws {
    for make in PassRegistry.presets {
      let preset = make()
      guard preset.validate() == nil else { continue }
      for role in PresetRole.allCases {
        let (whole, parts) = (try decided(role), try decided(role))
        try runPasses(preset.name, on: whole)
        let text = preset.pipeline(for: role)
        if !text.isEmpty { try runPasses(text, on: parts) }
        parts.attributes["preset"] = .string(preset.name)
        let attributes = whole.attributes.entries.map(\.key).sorted()
        XCTAssertEqual(parts.attributes.entries.map(\.key).sorted(), attributes)
        XCTAssertEqual(whole.functions.map { $0.text() }, parts.functions.map { $0.text() }, preset.name)
        XCTAssertEqual(whole.dims.map(\.description), parts.dims.map(\.description), preset.name)
      }
    }
  }
}
