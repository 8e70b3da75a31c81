import DustinIR
import DustinPasses
import DustinSupport
import XCTest

/// A decoder as the front end writes it, in stage tensor: `@forward` over layers of attention and SwiGLU.
struct TestModel {
  var layers = 2
  var heads = 4
  var kvHeads = 2
  var headDim = 16
  var hidden = 96
  var vocab = 200
  var hasBias = true
  var weights = "bf16"
  var maxRows = 16

  var width: Int { heads * headDim }

  var text: String {
    let keys = kvHeads * headDim
    let size = heads * headDim
    var globals = ["weight @embed : \(weights)[\(vocab), \(size)]"]
    let freqs = (0..<(headDim / 2)).map { String(1.0 / Double(1 << $0)) }.joined(separator: ", ")
    globals.append("constant @freqs : f32[\(headDim / 2)] = [\(freqs)]")
    var body = ["%x = embed %ids, weight(@embed) : f32[T, \(size)]"]
    var caches: [String] = []
    var results: [String] = []
    var x = "%x"
    for layer in 0..<layers {
      let p = "l\(layer)"
      globals += ["weight @\(p).norm1 : \(weights)[\(size)]", "weight @\(p).norm2 : \(weights)[\(size)]"]
      body.append("%\(p).n = rmsnorm \(x), weight(@\(p).norm1) {eps = 1e-06} : f32[T, \(size)]")
      for (name, columns) in [("q", size), ("k", keys), ("v", keys)] {
        globals.append("weight @\(p).\(name) : \(weights)[\(columns), \(size)]")
        if hasBias { globals.append("weight @\(p).\(name)b : \(weights)[\(columns)]") }
        let bias = hasBias ? ", bias(@\(p).\(name)b)" : ""
        body.append("%\(p).\(name) = linear %\(p).n, weight(@\(p).\(name))\(bias) : f32[T, \(columns)]")
        body.append("%\(p).\(name)h = reshape %\(p).\(name) : f32[T, \(columns / headDim), \(headDim)]")
      }
      for (name, count) in [("q", heads), ("k", kvHeads)] {
        body.append(
          "%\(p).\(name)r = rope %\(p).\(name)h, positions(%pos), freqs(@freqs) : f32[T, \(count), \(headDim)]")
      }
      let cache = "f32[L, \(kvHeads), \(headDim)]"
      caches += ["%k\(layer): \(cache) {role = cache}", "%v\(layer): \(cache) {role = cache}"]
      results += ["%\(p).kc", "%\(p).vc"]
      globals += [
        "weight @\(p).o : \(weights)[\(size), \(size)]", "weight @\(p).gate : \(weights)[\(hidden), \(size)]",
        "weight @\(p).up : \(weights)[\(hidden), \(size)]", "weight @\(p).down : \(weights)[\(size), \(hidden)]",
      ]
      body += [
        "%\(p).kc, %\(p).vc = append %\(p).kr, %\(p).vh, cache(%k\(layer), %v\(layer)) : \(cache), \(cache)",
        "%\(p).a = attend %\(p).qr, cache(%\(p).kc, %\(p).vc) {scale = 0.25} : f32[T, \(heads), \(headDim)]",
        "%\(p).af = reshape %\(p).a : f32[T, \(size)]",
        "%\(p).o = linear %\(p).af, weight(@\(p).o) : f32[T, \(size)]",
        "%\(p).x1 = add \(x), %\(p).o : f32[T, \(size)]",
        "%\(p).n2 = rmsnorm %\(p).x1, weight(@\(p).norm2) {eps = 1e-06} : f32[T, \(size)]",
        "%\(p).g = linear %\(p).n2, weight(@\(p).gate) : f32[T, \(hidden)]",
        "%\(p).u = linear %\(p).n2, weight(@\(p).up) : f32[T, \(hidden)]",
        "%\(p).s = silu %\(p).g : f32[T, \(hidden)]",
        "%\(p).m = mul %\(p).s, %\(p).u : f32[T, \(hidden)]",
        "%\(p).d = linear %\(p).m, weight(@\(p).down) : f32[T, \(size)]",
        "%\(p).x2 = add %\(p).x1, %\(p).d : f32[T, \(size)]",
      ]
      x = "%\(p).x2"
    }
    globals.append("weight @norm : \(weights)[\(size)]")
    body += [
      "%n = rmsnorm \(x), weight(@norm) {eps = 1e-06} : f32[T, \(size)]",
      "%logits = linear %n, weight(@embed) : f32[T, \(vocab)]",
      "return " + (["%logits"] + results).joined(separator: ", "),
    ]
    let cacheTypes = caches.map { $0.drop { $0 != "f" } }
    let arguments = (["%ids: i32[T]", "%pos: i32[T]"] + caches).joined(separator: ", ")
    let types = (["f32[T, \(vocab)]"] + cacheTypes.map(String.init)).joined(separator: ", ")
    return """
      dustin 1
      stage tensor

      dim T <= \(maxRows)
      dim L <= 256

      \(globals.joined(separator: "\n"))

      func @forward(\(arguments)) -> (\(types)) {
      \(body.map { "  " + $0 }.joined(separator: "\n"))
      }

      """
  }

  func module() throws -> Module { try readModule(text) }
}

func readModule(_ text: String) throws -> Module {
  try ModuleParser.parseVerified(SourceBuffer(name: "test.dust", text: text))
}

/// Runs a pipeline with every pass verified.
func runPasses(_ pipeline: String, on module: Module) throws {
  var manager = PassManager()
  manager.verifyEach = true
  try manager.run(try PassPipeline.parse(pipeline, registry: .standard), on: module)
}

/// The diagnostics that the closure throws.
func diagnostics(_ body: () throws -> Void, file: StaticString = #filePath, line: UInt = #line) -> [Diagnostic] {
  do {
    try body()
    XCTFail("nothing was thrown", file: file, line: line)
  } catch let error as DiagnosticError {
    return error.diagnostics
  } catch {
    XCTFail("\(error)", file: file, line: line)
  }
  return []
}
