import CBundle
import DustinRunner
import DustinSupport

// The functions of dustin.h: errors become a text for dustin_error and a result that says so.

@_cdecl("dustin_open")
func open(_ weights: UnsafePointer<CChar>?, _ threads: Int32) -> OpaquePointer? {
  attempt(nil) {
    guard let weights else { throw DiagnosticError("weights", "dustin_open needs the path of the weights") }
    let model = try OpenModel(weights: String(cString: weights), threads: Int(threads))
    return OpaquePointer(Unmanaged.passRetained(model).toOpaque())
  }
}

@_cdecl("dustin_default_settings")
func defaultSettings() -> dustin_settings {
  let usual = RunSettings()
  return dustin_settings(
    max_new_tokens: Int64(usual.count), draft_max: Int64(usual.draftMax), temperature: usual.sampling.temperature,
    top_k: Int64(usual.sampling.topK), top_p: usual.sampling.topP, min_p: usual.sampling.minP,
    seed: usual.sampling.seed, ignore_eos: 0, exact: 0)
}

@_cdecl("dustin_generate")
func generate(
  _ model: OpaquePointer?, _ prompt: UnsafePointer<CChar>?, _ bytes: Int,
  _ settings: UnsafePointer<dustin_settings>?, _ callback: dustin_callback?, _ context: UnsafeMutableRawPointer?
) -> Int64 {
  attempt(-1) {
    let model = try opened(model)
    let text = try values(prompt, bytes).map { UInt8(bitPattern: $0) }
    return Int64(try model.generate(model.encode(text), settings?.pointee ?? defaultSettings(), callback, context))
  }
}

@_cdecl("dustin_generate_tokens")
func generateTokens(
  _ model: OpaquePointer?, _ prompt: UnsafePointer<Int32>?, _ count: Int,
  _ settings: UnsafePointer<dustin_settings>?, _ callback: dustin_callback?, _ context: UnsafeMutableRawPointer?
) -> Int64 {
  attempt(-1) {
    let tokens = try values(prompt, count)
    // Every id is checked against the vocabulary, from below too.
    guard tokens.allSatisfy({ $0 >= 0 }) else { throw DiagnosticError("token", "a token id must be 0 or more") }
    return Int64(try opened(model).generate(tokens, settings?.pointee ?? defaultSettings(), callback, context))
  }
}

@_cdecl("dustin_close")
func close(_ model: OpaquePointer?) {
  if let model { Unmanaged<OpenModel>.fromOpaque(UnsafeRawPointer(model)).release() }
}

private func opened(_ model: OpaquePointer?) throws -> OpenModel {
  guard let model else {
    throw DiagnosticError("model", "the model is null: dustin_open failed, and dustin_error told why")
  }
  return Unmanaged<OpenModel>.fromOpaque(UnsafeRawPointer(model)).takeUnretainedValue()
}

private func values<Value>(_ start: UnsafePointer<Value>?, _ count: Int) throws -> [Value] {
  guard count >= 0, start != nil || count == 0 else { throw DiagnosticError("prompt", "the prompt's pointer is null") }
  return Array(UnsafeBufferPointer(start: start, count: count))
}

private func attempt<Result>(_ failed: Result, _ body: () throws -> Result) -> Result {
  // Nothing is printed: where standard error goes is the program's affair.
  Console.$current.withValue(Console(input: [])) {
    do {
      let result = try body()
      dustin_set_error("")
      return result
    } catch {
      dustin_set_error((error as? DiagnosticError)?.description ?? "\(error)")
      return failed
    }
  }
}
