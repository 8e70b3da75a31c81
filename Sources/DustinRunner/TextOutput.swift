import DustinRuntime

/// Text on its way to standard output, or token ids where there is no tokenizer.
struct TextOutput {
  let isOn: Bool
  private var needsLineEnd = false
  private var wroteToken = false

  init(isOn: Bool) { self.isOn = isOn }

  mutating func add(_ event: GenerationEvent, hasText: Bool) throws {
    if isOn { try write(event.text, event.tokens, hasText: hasText) }
  }

  mutating func all(_ result: GenerationResult, hasText: Bool) throws {
    try write(result.text, result.tokens, hasText: hasText)
  }

  private mutating func write(_ text: [UInt8], _ tokens: [Int32], hasText: Bool) throws {
    var output = String(decoding: text, as: UTF8.self)
    if !hasText {
      output = tokens.map(String.init).joined(separator: " ")
      if wroteToken, !output.isEmpty { output = " " + output }
      wroteToken = wroteToken || !output.isEmpty
    }
    guard let last = output.utf8.last else { return }
    needsLineEnd = last != UInt8(ascii: "\n")
    try Console.current.write(output)
  }

  /// Ends the last line.
  mutating func finish() throws {
    if needsLineEnd { try Console.current.write("\n") }
    needsLineEnd = false
  }
}
