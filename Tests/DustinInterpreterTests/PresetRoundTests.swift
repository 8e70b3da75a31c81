import DustinIR
import DustinInterpreter
import DustinPasses
import DustinSupport
import XCTest

/// Every preset on random models, in rounds as the runtime runs them: functions by name, values by name.
final class PresetRoundTests: XCTestCase {
  private static let gamma = 4
  /// Of three layers; what else a preset needs when no file says it.
  private static let options = ["dustin": "history=1:0", "dustin-target": "history=1:0"]

  private static func text(_ name: String, budget: Int? = nil) -> String {
    var parts = [options[name], budget.map { "budget=\($0)" }].compactMap { $0 }
    // It stops at a share of the attention, whatever the budget.
    if name == "spec-attn", budget == nil { parts.append("cover=1") }
    return parts.isEmpty ? name : "\(name){\(parts.joined(separator: " "))}"
  }

  /// With a budget beyond the context every preset gives what dense verification gives, bit for bit.
  func testABudgetOfEverythingIsDense() throws {
    for make in PassRegistry.presets {
      let dense = try Pair(seed: 81, preset: nil)
      let pair = try Pair(seed: 81, preset: Self.text(make().name))
      for round in 0..<3 {
        let rows = try pair.propose(start: Int32(round))
        try pair.choose(rows)
        let logits = try pair.target.step(function: "verify", tokens: rows).flatMap { $0 }
        let expected = try dense.target.step(function: "verify", tokens: rows).flatMap { $0 }
        let difference = largestDifference(logits, expected)
        XCTAssertTrue(logits == expected, "\(make().name), round \(round): off by \(difference)")
        try pair.commit(round + 1)
        try dense.target.commit(round + 1)
      }
    }
  }

  /// Small budgets: the sets are what they are said to be, and count.
  func testSmallBudgets() throws {
    for make in PassRegistry.presets {
      let name = make().name
      // Blocks need more: those that are always taken.
      let budget = name == "spec-pv" ? 208 : 96
      let pair = try Pair(seed: 82, preset: Self.text(name, budget: budget), prompt: 260)
      var sets: [String] = []
      for function in pair.target.interpreter.module.functions {
        sets += function.arguments.filter { $0.isSequenceValue && $0.type.element == .i32 }.map(\.name)
      }
      for round in 0..<2 {
        let rows = try pair.propose(start: Int32(round))
        try pair.choose(rows)
        for set in Set(sets) {
          let value = try XCTUnwrap(pair.target.values[set], "\(name) makes no '\(set)'")
          for plane in SparseHarness.planes(value) {
            XCTAssertEqual(plane, Set(plane).sorted(), "\(name), \(set)")
            XCTAssertLessThanOrEqual(plane.count, budget, "\(name), \(set)")
            XCTAssertTrue(plane.allSatisfy { 0..<pair.target.length ~= $0 }, "\(name), \(set)")
          }
        }
        let dense = try pair.target.fork()
        let logits = try pair.target.step(function: "verify", tokens: rows).flatMap { $0 }
        XCTAssertTrue(logits.allSatisfy(\.isFinite), name)
        if pair.target.interpreter.module.function("dense") != nil {
          let exact = try dense.step(function: "dense", tokens: rows).flatMap { $0 }
          XCTAssertGreaterThan(largestDifference(logits, exact), 0, "\(name) reads everything")
        }
        try pair.commit(2)
      }
    }
  }

  /// A target and a draft behind a prompt.
  private final class Pair {
    let target: InterpreterSession
    let draft: InterpreterSession
    private let vocab: Int32

    init(seed: UInt64, preset: String?, prompt count: Int = 70) throws {
      func session(_ role: String, seed: UInt64) throws -> (InterpreterSession, RandomModule) {
        var shape = RandomModule.Shape(seed: seed)
        (shape.vocab, shape.layers, shape.maxLength) = (89, 3, 512)
        let random = try RandomModule(shape, seed: seed)
        let parts = [role, "numerics{mode=fast}", preset, "kernels"].compactMap { $0 }.joined(separator: ",")
        try PassManager().run(PassPipeline.parse(parts, registry: .standard), on: random.module)
        return (try InterpreterSession(try random.interpreter()), random)
      }
      let random: RandomModule
      (target, random) = try session("target", seed: seed)
      (draft, _) = try session("draft", seed: seed + 1000)
      vocab = Int32(random.shape.vocab)
      let tokens = random.tokens(count, seed: 1)
      _ = try target.prefill(function: "prefill", tokens: tokens)
      _ = try draft.prefill(function: "prefill", tokens: tokens)
      try look()
      // Chosen once, by the last tokens of the prompt.
      if let observe = target.interpreter.module.function("observe"), observe.returnRoles.contains(.static) {
        let window = min(count, target.interpreter.module.attributes.int("observe") ?? 1)
        try target.truncate(to: count - window)
        try target.call(function: "observe", tokens: tokens.suffix(window))
        try target.commit(window)
      }
    }

    private func look() throws {
      guard draft.interpreter.module.function("look") != nil else { return }
      try draft.call(function: "look", length: target.length)
      for function in target.interpreter.module.functions {
        for argument in function.arguments where argument.isSequenceValue && argument.type.element == .f32 {
          target.setValue(argument.name, try XCTUnwrap(draft.values[argument.name], "no signal '\(argument.name)'"))
        }
      }
    }

    /// The first token, then γ of the draft's.
    func propose(start: Int32) throws -> [Int32] {
      var rows = [start]
      draft.beginRound()
      for step in 0...PresetRoundTests.gamma {
        let logits = try XCTUnwrap(try draft.step(function: "draft", tokens: [rows[step]]).last)
        try draft.commit(1, joining: step > 0)
        let best = logits.indices.max { (logits[$0], $1) < (logits[$1], $0) } ?? 0
        if step < PresetRoundTests.gamma { rows.append(Int32(best) % vocab) }
      }
      return rows
    }

    func choose(_ rows: [Int32]) throws {
      try look()
      let module = target.interpreter.module
      if let observe = module.function("observe"), !observe.returnRoles.contains(.static) {
        try target.call(function: "observe", tokens: rows)
      }
      if module.function("select") != nil { try target.call(function: "select") }
    }

    func commit(_ count: Int) throws {
      try target.commit(count)
      try draft.truncate(to: target.length)
    }
  }
}
