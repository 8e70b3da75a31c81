import DustinCodegen
import DustinIR
import DustinPasses
import DustinRunner
import DustinRuntime
import DustinSupport

/// Attention layers of a shape over generated numbers: `@fill` writes caches, `@layers` reads them densely and through a
/// set, `@select` chooses it. Times mean something, what comes out does not.
final class GeneratedAttention {
  struct Scoring {
    /// Heads that score, in each of the first layers.
    let heads: [Int]
    let layers: Int
    /// Rows that count: the last one, or all.
    let takesLast: Bool
    /// Taken in as well, from elsewhere.
    let takesLook: Bool
  }

  let layers: Int
  let compiled: CompiledModel
  private let plan: KernelPlan

  /// - Parameters:
  ///   - budget: of the set that `@layers` reads through; nil for a module that only scores.
  init(
    heads: Int, kvHeads: Int, dim: Int, layers: Int, positions: Int, rows: Int, budget: Int?, scoring: Scoring,
    machine: LoadOptions
  ) throws {
    self.layers = layers
    let module = try ModuleParser.parseVerified(
      SourceBuffer(
        name: "<generated>",
        text: Self.text(
          heads: heads, kvHeads: kvHeads, dim: dim, layers: layers, positions: positions, budget: budget,
          scoring: scoring)))
    var manager = PassManager()
    manager.verifyEach = machine.verifyEach
    try manager.run(
      try PassPipeline.parse(
        budget == nil ? "lower-to-kernel,plan-memory" : "choose-kv-layout,lower-to-kernel,plan-memory",
        registry: .standard, source: "<pipeline>"), on: module)
    let output = try Compiler.compile(module, for: machine.target)
    plan = output.plan
    let weights = try Memory(count: output.program.weightBytes, for: "generated numbers")
    var tables: [String: GeneratedTable] = [:]
    for global in module.globals {
      let count = global.type.shape.reduce(1) { $0 * ($1.fixedValue ?? 1) }
      tables[global.name] = GeneratedTable(count, seed: UInt64(tables.count + 1))
    }
    try output.plan.packWeights(into: weights.base) { [tables] name in
      guard let table = tables[name] else { throw DiagnosticError("weight", "no generated table '\(name)'") }
      return (.bf16, UnsafeRawBufferPointer(table.bytes))
    }
    var program = output.program
    for name in ["layers", "select"] {
      guard let function = program.function(name), let calls = output.plan.calls(of: name) else { continue }
      // One function per attention of @layers, kernels that belong together; one for all of @select but its rows.
      var groups: [String: [Int64]] = [:]
      var order: [String] = []
      for call in calls {
        let result = call.operation.results.first?.name ?? ""
        let group: String? =
          switch call.operation.name {
          case "attend": result
          case "score", "select": "choose"
          default: nil
          }
        guard let group else { continue }
        if groups[group] == nil { order.append(group) }
        groups[group, default: []] += call.words
      }
      for group in order {
        var part = function
        part.name = group
        part.table = groups[group] ?? []
        part.results = function.results.filter {
          if case .sequence = $0.place { return true }
          return false
        }
        program.functions.append(part)
      }
    }
    compiled = try CompiledModel(
      program: program, code: output.code, weights: UnsafeRawPointer(weights.base),
      owners: [weights])
  }

  private static let vocabulary = 512

  private static func text(
    heads: Int, kvHeads: Int, dim: Int, layers: Int, positions: Int, budget: Int?, scoring: Scoring
  ) -> String {
    let (q, kv) = (heads * dim, kvHeads * dim)
    let scale = 1 / Double(dim).squareRoot()
    let cache = "bf16[L, \(kvHeads), \(dim)]"
    let caches = (0..<layers).map { "%k\($0): \(cache) {role = cache}, %v\($0): \(cache) {role = cache}" }
      .joined(separator: ", ")
    let cacheTypes = (0..<layers).map { _ in "\(cache) {role = cache}, \(cache) {role = cache}" }.joined(
      separator: ", ")
    let facts = "{fidelity = exact, numerics = fast}"
    let queries = """
        %x = embed %ids, weight(@queries) : f32[T, \(q)]
        %h = reshape %x : f32[T, \(heads), \(dim)]
        %q = cast %h : bf16[T, \(heads), \(dim)]

      """
    var text = "dustin 1\nstage tensor\n\ndim T <= 512\ndim L <= \(positions)\n"
    if let budget { text += "dim S = min(\(budget), L)\n" }
    text += "\nweight @queries : bf16[\(vocabulary), \(q)]\nweight @positions : bf16[\(vocabulary), \(2 * kv)]\n\n"

    text += "func @fill(%ids: i32[T], \(caches)) -> (\(cacheTypes)) \(facts) {\n"
    text += "  %x = embed %ids, weight(@positions) : f32[T, \(2 * kv)]\n"
    text += "  %ks = slice %x {begin = 0, count = \(kv)} : f32[T, \(kv)]\n"
    text += "  %vs = slice %x {begin = \(kv), count = \(kv)} : f32[T, \(kv)]\n"
    text += "  %k = reshape %ks : f32[T, \(kvHeads), \(dim)]\n  %v = reshape %vs : f32[T, \(kvHeads), \(dim)]\n"
    for layer in 0..<layers {
      text += "  %kc\(layer), %vc\(layer) = append %k, %v, cache(%k\(layer), %v\(layer)) : \(cache), \(cache)\n"
    }
    text += "  return \((0..<layers).map { "%kc\($0), %vc\($0)" }.joined(separator: ", "))\n}\n\n"

    let set = budget == nil ? "" : ", %set: i32[S] {role = round}"
    let output = "bf16[T, \(heads), \(dim)]"
    if budget != nil {
      text += "func @layers(%ids: i32[T], \(caches)\(set)) -> (\(output)) "
      text += "{fidelity = approximate(\"generated\"), numerics = fast} {\n\(queries)"
      for layer in 0..<layers {
        let (k, v) = ("%k\(layer)", "%v\(layer)")
        let facts = "role = verify, scale = \(scale), probs = bf16"
        text += "  %dense\(layer) = attend %q, cache(\(k), \(v)) {\(facts)} : \(output)\n"
        text += "  %ks\(layer), %vs\(layer) = gather %set, cache(\(k), \(v)) : bf16[S, \(kvHeads), \(dim)], "
        text += "bf16[S, \(kvHeads), \(dim)]\n"
        text +=
          "  %sparse\(layer) = attend %q, cache(%ks\(layer), %vs\(layer)), tail(\(k), \(v)), after(%set) {\(facts)} : "
        text += "\(output)\n"
      }
      text += "  return %sparse\(layers - 1)\n}\n\n"
    }

    let look = scoring.takesLook ? ", %look: f32[L] {role = round}" : ""
    let result = budget == nil ? "%look : f32[L]" : "%set : i32[S]"
    text +=
      "func @select(%ids: i32[T], \(caches)\(look)) -> (\(result.split(separator: ":")[1].dropFirst()) {role = round}) "
    text += "\(facts) {\n\(queries)"
    var last = ""
    for layer in 0..<scoring.layers {
      let onto = last.isEmpty ? "" : ", onto(\(last))"
      let isLast = layer == scoring.layers - 1
      let name = isLast && budget == nil ? "%look" : "%signal\(layer)"
      text +=
        "  \(name) = score %q, cache(%k\(layer))\(onto) {heads = [\(scoring.heads.map(String.init).joined(separator: ", "))], "
      text += "scale = \(scale)\(scoring.takesLast ? ", take = last" : "")\(isLast ? ", pool = 5" : "")} : f32[L]\n"
      last = name
    }
    if let budget {
      let signals = (scoring.takesLook ? "%look, " : "") + last
      text += "  %set = select \(signals) {budget = \(budget), sink = 4, recent = 16} : i32[S]\n  return %set\n}\n"
    } else {
      text += "  return %look\n}\n"
    }
    return text
  }

  /// A sequence whose caches hold `count` generated positions.
  func sequence(_ engine: Engine, positions count: Int, room: Int, seed: Int) throws -> KVCache {
    let cache = try KVCache(compiled, positions: count + room)
    let tokens = (0..<count).map { Int32(truncatingIfNeeded: ($0 &* 7919 &+ seed &* 104_729) % Self.vocabulary) }
    let done = try engine.prefill(
      [StepRows(cache, tokens)], function: "fill", wantLogits: false, cancel: interruption)
    if !done.isComplete { throw Interrupted() }
    return cache
  }
}

/// Deterministic bf16 numbers between -1 and 1.
private final class GeneratedTable: @unchecked Sendable {
  // Sendable: nothing writes after init.
  let bytes: UnsafeMutableRawBufferPointer

  init(_ count: Int, seed: UInt64) {
    bytes = .allocate(byteCount: count * 2, alignment: 64)
    var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    for index in 0..<count {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let unit = Float(state >> 40) / Float(1 << 24)
      let bits = UInt16(truncatingIfNeeded: (2 * unit - 1).bitPattern >> 16)
      bytes.storeBytes(of: bits, toByteOffset: 2 * index, as: UInt16.self)
    }
  }

  deinit { bytes.deallocate() }
}
