import DustinCodegen
import DustinIR
import DustinInterpreter
import DustinPasses
import DustinSupport
import XCTest

/// Modules that the verifier lets pass and no kernel serves are diagnostics at the op, not code that computes something
/// else; and whatever verifies can be planned or refused without a trap.
final class UnsupportedShapeTests: XCTestCase {
  private static func text(_ signature: String, _ body: String) -> String {
    """
    dustin 1
    stage planned
    dim T <= 8
    dim S <= 8
    dim L <= 64
    weight @table : f32[100, 64]
    weight @gain : f32[64]
    constant @freqs : f32[8] = [1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125]
    func @f\(signature) {fidelity = exact, numerics = f32} {
    \(body)
    }
    """
  }

  /// What must be said, signature and body; the `!` stands where the caret must be.
  private static let refused: [(part: String, signature: String, body: String)] = [
    ("'%y' is one number a row", "(%ids: i32[T], %a: f32[T]) -> ()", "!%y = add %a, %a {at = [4096]} : f32[T]\nreturn"),
    ("'%y' is one number a row", "(%ids: i32[T], %a: f32[T]) -> ()", "!%y = silu %a {at = [4096]} : f32[T]\nreturn"),
    (
      "rows of f32[T] and f32[T, 1] do not lie alike", "(%ids: i32[T], %a: f32[T]) -> ()",
      "!%y = reshape %a {at = [4096]} : f32[T, 1]\nreturn"
    ),
    (
      "rows of i32[T] and i32[T, 1, 1] do not lie alike", "(%ids: i32[T]) -> ()",
      "!%y = reshape %ids {at = [4096]} : i32[T, 1, 1]\nreturn"
    ),
    (
      "'%y' is one number a row", "(%ids: i32[T], %a: f32[T, 1]) -> ()",
      "!%y = reshape %a {at = [4096]} : f32[T]\nreturn"
    ),
    (
      "there is one row a sequence already", "(%ids: i32[T]) -> (f32[1, 64])",
      """
      %a = embed %ids, weight(@table) {at = [64]} : f32[T, 64]
      %b = last_row %a {at = [4096]} : f32[1, 64]
      !%y = last_row %b {at = [8192]} : f32[1, 64]
      return %y
      """
    ),
    (
      "the argument '%ids' must have one row per token (T)", "(%ids: i32[1]) -> (f32[1, 64])",
      "%y = embed %ids, weight(@table) {at = [64]} : f32[1, 64]\nreturn %y"
    ),
    (
      "the argument '%a' must have one row per token (T)", "(%ids: i32[T], %a: f32[S, 64]) -> ()",
      "%y = silu %a {at = [4096]} : f32[S, 64]\nreturn"
    ),
    (
      "the argument '%a' must have one row per token (T)", "(%ids: i32[T], %a: f32[5, 64]) -> ()",
      "%y = silu %a {at = [4096]} : f32[5, 64]\nreturn"
    ),
    (
      "'%w' has no place in the arena", "(%ids: i32[T]) -> ()",
      "%w = cast @table : bf16[100, 64]\n%y = cast %w : f32[100, 64]\nreturn"
    ),
    (
      "the caches of keys and values must have one type",
      "(%ids: i32[T], %k: f32[T, 2, 16], %v: f32[T, 2, 32], %kc: f32[L, 2, 16] {role = cache}, "
        + "%vc: f32[L, 2, 32] {role = cache}) -> ()",
      "!%k1, %v1 = append %k, %v, cache(%kc, %vc) : f32[L, 2, 16], f32[L, 2, 32]\nreturn"
    ),
    (
      "keys and values must have one element type",
      "(%ids: i32[T], %k: bf16[T, 2, 16], %v: f32[T, 2, 16], %kc: bf16[L, 2, 16] {role = cache}, "
        + "%vc: bf16[L, 2, 16] {role = cache}) -> ()",
      "!%k1, %v1 = append %k, %v, cache(%kc, %vc) : bf16[L, 2, 16], bf16[L, 2, 16]\nreturn"
    ),
    (
      "a cache takes and serves one row per token (T)",
      "(%ids: i32[T], %q: f32[T, 128], %kc: f32[L, 2, 16] {role = cache}, %vc: f32[L, 2, 16] {role = cache}) -> ()",
      """
      %l = last_row %q {at = [8192]} : f32[1, 128]
      %r = reshape %l {at = [8192]} : f32[1, 8, 16]
      !%y = attend %r, cache(%kc, %vc) {scale = 0.25, at = [16384]} : f32[1, 8, 16]
      return
      """
    ),
    (
      "'%a' is i32, kernels take f32 and bf16", "(%ids: i32[T], %a: i32[T, 64]) -> ()",
      "!%y = last_row %a {at = [4096]} : i32[1, 64]\nreturn"
    ),
  ]

  func testLegalButUnsupportedShapesAreRefused() throws {
    for (part, signature, body) in Self.refused {
      let marked = Self.text(signature, body)
      let text = marked.replacingOccurrences(of: "!", with: "")
      let module = try ModuleParser.parseVerified(SourceBuffer(name: "refused.dust", text: text))
      XCTAssertThrowsError(try KernelPlan(lowering: module, for: .v3), text) { error in
        XCTAssertTrue("\(error)".contains(part), "\(error)\ndoes not say '\(part)'")
        guard let place = marked.firstIndex(of: "!") else { return }
        let line = marked[..<place].filter { $0 == "\n" }.count + 1
        let range = (error as? DiagnosticError)?.diagnostics.first?.range
        XCTAssertEqual(range.map { $0.buffer.position(of: $0.start).line }, line, "\(error)")
      }
    }
  }

  func testPlacesBeyondAnyMachineAreRefused() throws {
    let signature = "(%ids: i32[T]) -> ()"
    for place in [1 << 56, Int.max - 63] {
      let body = "  %y = embed %ids, weight(@table) {at = [\(place)]} : f32[T, 64]\n  return"
      let buffer = SourceBuffer(name: "far.dust", text: Self.text(signature, body))
      XCTAssertThrowsError(try ModuleParser.parseVerified(buffer)) { error in
        let range = (error as? DiagnosticError)?.diagnostics.first?.range
        let position = range.map { $0.buffer.position(of: $0.start) }
        XCTAssertEqual(position?.line, 10, "\(error)")
        XCTAssertEqual(position?.column, 8, "\(error)")
        XCTAssertTrue("\(error)".contains("\(place)"), "\(error)")
      }
      // Nor does code generation rely on the verifier.
      let module = try ModuleParser.parse(buffer)
      XCTAssertThrowsError(try KernelPlan(lowering: module, for: .v3)) {
        XCTAssertTrue("\($0)".contains("\(place) is not a place in the arena"), "\($0)")
      }
    }
    // The largest place that a module may name: it verifies, and the program is refused as a whole.
    let far = "  %y = embed %ids, weight(@table) {at = [\((1 << 56) - 64)]} : f32[T, 64]\n  return"
    let module = try ModuleParser.parseVerified(SourceBuffer(name: "far.dust", text: Self.text(signature, far)))
    XCTAssertThrowsError(try KernelPlan(lowering: module, for: .v3)) {
      XCTAssertTrue("\($0)".contains("more memory than any machine has"), "\($0)")
    }
  }

  /// Planned modules with numbers, words, lines and values exchanged: what still verifies is planned or refused.
  func testMutatedPlannedModulesAreLoweredWithoutATrap() throws {
    var seeds: [[String]] = []
    for seed in UInt64(1)...6 {
      let module = try RandomModule(seed: seed).module
      let pipeline = ["target-fast", "target-f32", "draft-fast", "draft-f32"][Int(seed) % 4]
      _ = try PassManager().run(PassPipeline.parse(pipeline, registry: .standard), on: module)
      seeds.append(Self.tokens(module.text()))
    }
    var random = SeededGenerator(seed: 7)
    for one in OpCase.all(&random) {
      let module = try ModuleParser.parse(SourceBuffer(name: one.op, text: one.text))
      _ = try PassManager().run(PassPipeline.parse("plan-memory", registry: .standard), on: module)
      seeds.append(Self.tokens(module.text()))
    }
    var (lowered, refused) = (0, 0)
    for round in 0..<12_000 {
      var tokens = seeds[Int.random(in: 0..<seeds.count, using: &random)]
      for _ in 0..<Int.random(in: 1...2, using: &random) { Self.mutate(&tokens, &random) }
      let text = tokens.joined()
      guard let module = try? ModuleParser.parseVerified(SourceBuffer(name: "fuzz", text: text)) else { continue }
      do {
        let plan = try KernelPlan(lowering: module, for: CPUTarget.all[round % CPUTarget.all.count])
        XCTAssertFalse(plan.program.functions.isEmpty)
        lowered += 1
      } catch {
        XCTAssertFalse((error as? DiagnosticError)?.diagnostics.isEmpty ?? true, "round \(round): \(error)")
        refused += 1
      }
    }
    print("mutated planned modules: \(lowered) lowered, \(refused) refused")
    XCTAssertGreaterThan(lowered, 500)
    XCTAssertGreaterThan(refused, 50)
  }

  /// Runs of letters, digits and name characters, and single other characters.
  private static func tokens(_ text: String) -> [String] {
    var tokens: [String] = []
    var word = ""
    for character in text {
      if character.isLetter || character.isNumber || "._%@".contains(character) {
        word.append(character)
      } else {
        if !word.isEmpty { tokens.append(word) }
        word = ""
        tokens.append(String(character))
      }
    }
    return word.isEmpty ? tokens : tokens + [word]
  }

  private static let numbers = [
    "0", "1", "2", "3", "16", "17", "64", "128", "4096", "65536", "2147483647", "2147483648", "281474976710656",
    "72057594037927872", "72057594037927936", "9223372036854775744", "1e-30", "1e30", "T", "L",
  ]

  /// One number, name or word in the place of another of its kind, everywhere or once; sometimes a line goes.
  private static func mutate(_ tokens: inout [String], _ random: inout SeededGenerator) {
    func place(_ fits: (String) -> Bool) -> Int? {
      let places = tokens.indices.filter { fits(tokens[$0]) }
      return places.isEmpty ? nil : places[Int.random(in: 0..<places.count, using: &random)]
    }
    func isNumber(_ token: String) -> Bool { token.first?.isNumber ?? false }
    switch Int.random(in: 0..<7, using: &random) {
    case 0:
      if let index = place(isNumber) { tokens[index] = numbers[Int.random(in: 0..<numbers.count, using: &random)] }
    case 1:
      // The same extent everywhere, so that the types still fit.
      if let index = place(isNumber) {
        let old = tokens[index]
        let new = numbers[Int.random(in: 0..<numbers.count, using: &random)]
        for other in tokens.indices where tokens[other] == old { tokens[other] = new }
      }
    case 2:
      let elements = ["f32", "bf16", "f16", "i32"]
      if let index = place(elements.contains) {
        tokens[index] = elements[Int.random(in: 0..<4, using: &random)]
      }
    case 3:
      for sign in ["%", "@"] where Bool.random(using: &random) {
        if let a = place({ $0.hasPrefix(sign) }), let b = place({ $0.hasPrefix(sign) }) { tokens[a] = tokens[b] }
      }
    case 4:
      let ops = ["add", "mul", "silu", "cast", "rmsnorm", "slice", "last_row", "reshape", "rope", "embed", "linear"]
      if let index = place(ops.contains) { tokens[index] = ops[Int.random(in: 0..<ops.count, using: &random)] }
    case 5:
      // T, the rows of a step, becomes something else everywhere behind its declaration.
      let new = ["1", "L", "2", "64"][Int.random(in: 0..<4, using: &random)]
      for index in tokens.indices where tokens[index] == "T" && index > 40 { tokens[index] = new }
    default:
      // Two numbers change places.
      if let a = place(isNumber), let b = place(isNumber) { tokens.swapAt(a, b) }
    }
  }
}
