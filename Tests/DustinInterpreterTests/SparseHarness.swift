import DustinIR
import DustinInterpreter
import DustinSupport
import XCTest

/// Runs the ops of sparse attention on given operands, from text.
enum SparseHarness {
  /// Caches of [position][head][dim] rows, the first `committed` of them committed.
  static func cache(
    heads: Int, dim: Int, _ rows: [Float], element: ElementType = .f32, committed: Int
  ) throws -> KVCacheTensor {
    let total = rows.count / (heads * dim)
    let cache = try KVCacheTensor(heads: heads, dim: dim, element: element, capacity: total)
    let other = try KVCacheTensor(heads: heads, dim: dim, element: element, capacity: total)
    let tensor = try Tensor([total, heads, dim], rows)
    _ = try OpHarness.run(
      .append, [("", [.tensor(tensor), .tensor(tensor)]), ("cache", [.cache(cache), .cache(other)])])
    try cache.commit(committed)
    return cache
  }

  static func score(
    _ q: Tensor, _ cache: Cache, _ attributes: String = "scale = 1", onto: Tensor? = nil, isPerHead: Bool = false
  ) throws -> Tensor {
    let (storage, element) = (cache.storage, q.element.rawValue)
    let type = isPerHead ? "f32[\(storage.heads), L]" : "f32[L]"
    let text = """
      func @f(%q: \(element)[T, \(q.shape[1]), \(q.shape[2])], %kc: \(element)[L, \(storage.heads), \(storage.dim)] \
      {role = cache}\(onto == nil ? "" : ", %o: \(type) {role = round}")) -> (\(type) {role = round}) {
        %s = score %q, cache(%kc)\(onto == nil ? "" : ", onto(%o)") {\(attributes)} : \(type)
        return %s
      }
      """
    return try run(text, [.tensor(q), .cache(cache)] + (onto.map { [.tensor($0)] } ?? []))
  }

  /// - Parameter dim: What the dim S is.
  static func select(
    _ signals: [Tensor], _ attributes: String, dim: String? = nil, cache: Cache? = nil
  ) throws -> Tensor {
    let planes = signals.first.map { $0.shape.count == 2 ? "\($0.shape[0]), " : "" } ?? ""
    var arguments = signals.indices.map { "%s\($0): f32[\(planes)L] {role = round}" }
    if let cache {
      arguments.append("%kc: f32[L, \(cache.storage.heads), \(cache.storage.dim)] {role = cache}")
    }
    let operands = signals.indices.map { "%s\($0)" } + (cache == nil ? [] : ["cache(%kc)"])
    let text = """
      func @f(\(arguments.joined(separator: ", "))) -> (i32[\(planes)S] {role = round}) {
        %i = select \(operands.joined(separator: ", ")) {\(attributes)} : i32[\(planes)S]
        return %i
      }
      """
    return try run(
      text, signals.map { .tensor($0) } + (cache.map { [.cache($0)] } ?? []), dim: dim ?? "S <= 1048576")
  }

  /// The positions that one set or each plane of it holds.
  static func planes(_ set: Tensor) -> [[Int]] {
    let width = set.shape.last ?? 0
    guard width > 0 else { return [[]] }
    return stride(from: 0, to: set.count, by: width).map { start in
      set.ints[start..<start + width].filter { $0 >= 0 }.map { Int($0) }
    }
  }

  static func select(_ signals: [[Float]], _ attributes: String, dim: String? = nil) throws -> [Int] {
    let tensors = try signals.map { try Tensor([$0.count], $0) }
    return planes(try select(tensors, attributes, dim: dim))[0]
  }

  /// Attention through a set; nil is dense.
  static func attend(
    _ q: Tensor, _ kc: KVCacheTensor, _ vc: KVCacheTensor, through set: Tensor?, _ attributes: String = "scale = 1"
  ) throws -> Tensor {
    let element = kc.element.rawValue
    let cache = "\(element)[L, \(kc.heads), \(kc.dim)]"
    let view = "\(element)[S, \(kc.heads), \(kc.dim)]"
    let type = set.map { $0.shape.count == 2 ? "i32[\(kc.heads), S]" : "i32[S]" }
    let rows = "[T, \(q.shape[1]), \(q.shape[2])]"
    let text = """
      func @f(%q: \(q.element.rawValue)\(rows), %kc: \(cache) {role = cache}, %vc: \(cache) {role = cache}\
      \(type.map { ", %i: \($0) {role = round}" } ?? "")) -> (f32\(rows)) {
      \(set == nil ? "" : "  %ks, %vs = gather %i, cache(%kc, %vc) : \(view), \(view)")
        %y = attend %q, cache(\(set == nil ? "%kc, %vc" : "%ks, %vs"))\
      \(set == nil ? "" : ", tail(%kc, %vc), after(%i)") {\(attributes)} : f32\(rows)
        return %y
      }
      """
    return try run(text, [.tensor(q), .cache(kc.current), .cache(vc.current)] + (set.map { [.tensor($0)] } ?? []))
  }

  /// Calls `@f`, which returns one tensor.
  static func run(_ function: String, _ arguments: [Interpreter.Argument], dim: String = "S <= 1048576") throws
    -> Tensor
  {
    let text = "dustin 1\nstage kernel\ndim T <= 512\ndim L <= 1048576\ndim \(dim)\n\(function)\n"
    let module = try ModuleParser.parseVerified(SourceBuffer(name: "case.dust", text: text))
    let results = try Interpreter(module: module, weights: DictionaryWeights()).call("f", arguments)
    guard case .tensor(let tensor) = try XCTUnwrap(results.first) else { throw DiagnosticError("no-tensor", "a cache") }
    return tensor
  }
}
