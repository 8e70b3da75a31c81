import DustinRunner
import DustinSupport
import DustinText

/// A question about a long text, with the answer that greedy decoding must give.
struct EvaluationPrompt {
  var id: String
  /// `needle`, `multi`, `multiquery`, `password`, `ledger`, `copy`, or what a file calls it.
  var task: String
  /// The length class in tokens: 4096, 8192, ….
  var length: Int
  /// Share of the text before the statement, in percent; nil when there is none.
  var depth: Double?
  var book: String?
  /// `seen` or `unseen` first names.
  var names: String?
  var text: String
  var tokens: [Int32]
  var answer: String
  var answerTokens: [Int32]
  var maxNewTokens: Int

  /// The tasks that ask for a whole paragraph, where one wrong word fails it: reported by tokens right, and left out of
  /// the accuracy.
  var isCopy: Bool { task == "copy" }

  /// The nearest of 0, 10, …, 100.
  var depthBin: Int? { depth.map { 10 * Int(($0 / 10).rounded()) } }
}

/// Reads prompts from a file with one JSON object a line: `id`, `task`, `length`, `depth`, `book`, `names`,
/// `max_new_tokens`, `prompt` and `answer`. Only the last two must be there.
///
/// - Parameters:
///   - lengths: Prompts of other length classes are left out; empty: all are taken. A line without `length` belongs to
///     the smallest class that holds it.
///   - count: The most prompts of each length, taken evenly over the tasks' lines; nil: all.
/// - Throws: `DiagnosticError` with id `prompts` that points into the file.
func readEvaluationPrompts(
  _ path: String, tokenizer: Tokenizer, lengths: [Int] = [], count: Int? = nil
) throws -> [EvaluationPrompt] {
  let buffer = try readSource(path)
  var found: [Int: [EvaluationPrompt]] = [:]
  try forEachJSONLine(buffer, id: "prompts") { value, number in
    let fields = JSONFields(value, id: "prompts")
    let task = try fields.string("task") ?? "prompt"
    // The reference texts of a book's own continuation are no question.
    if task == "continue" { return }
    let text = try fields.required("prompt")
    let answer = try fields.required("answer")
    let stated = try fields.number("length").map { Int($0) }
    if let stated, !lengths.isEmpty, !lengths.contains(stated) { return }
    let tokens = tokenizer.encode(text)
    let length = stated ?? lengths.first { $0 >= tokens.count } ?? tokens.count
    let answerTokens = tokenizer.encode(Array(answer.utf8), addSpecialTokens: false)
    let most = try fields.number("max_new_tokens").map { Int($0) } ?? answerTokens.count + 2
    guard !tokens.isEmpty, !answer.isEmpty, most > 0 else {
      throw DiagnosticError("prompts", "a prompt, its answer and 'max_new_tokens' must not be empty", at: fields.place)
    }
    found[length, default: []].append(
      EvaluationPrompt(
        id: try fields.string("id") ?? "\(number)", task: task, length: length, depth: try fields.number("depth"),
        book: try fields.string("book"), names: try fields.string("names"), text: text, tokens: tokens,
        answer: answer, answerTokens: answerTokens, maxNewTokens: most))
  }
  guard !found.isEmpty else {
    throw DiagnosticError(
      "prompts",
      lengths.isEmpty
        ? "'\(path)' holds no prompts"
        : "'\(path)' holds no prompts of \(lengths.map(grouped).joined(separator: ", ")) tokens")
  }
  return found.keys.sorted().flatMap { spread(found[$0] ?? [], count) }
}

/// The first prompts of every task, by turns, in the file's order.
private func spread(_ prompts: [EvaluationPrompt], _ count: Int?) -> [EvaluationPrompt] {
  guard let count, prompts.filter({ !$0.isCopy }).count > count else { return prompts }
  // Needles stand by depth: a share of each task is spread over its lines.
  let share = Double(count) / Double(prompts.filter { !$0.isCopy }.count)
  var seen: [String: Int] = [:]
  return prompts.filter { prompt in
    let number = seen[prompt.task, default: 0]
    seen[prompt.task] = number + 1
    return Int(Double(number + 1) * share) > Int(Double(number) * share)
  }
}

/// Calls `body` with every line of a file of JSON objects and its number; messages point into the whole file.
func forEachJSONLine(_ buffer: SourceBuffer, id: String, _ body: (JSONValue, Int) throws -> Void) throws {
  var number = 0
  for line in buffer.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
    if line.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }) { continue }
    do {
      let value = try JSONValue.parse(SourceBuffer(name: buffer.name, utf8: Array(line)))
      guard value.objectEntries != nil else {
        throw DiagnosticError(id, "a line must be an object, not \(value.kindDescription)", at: value.range)
      }
      try body(value, number)
    } catch let error as DiagnosticError {
      throw DiagnosticError(
        error.diagnostics.map { one in
          let range = one.range.flatMap { range in
            range.buffer.name != buffer.name
              ? range : SourceRange(buffer, line.startIndex + range.start, line.startIndex + range.end)
          }
          return Diagnostic(one.id, one.message, at: range, severity: one.severity, notes: one.notes)
        })
    }
    number += 1
  }
}

/// Members of one object; a member of the wrong kind is an error that names it, null is none.
struct JSONFields {
  let value: JSONValue
  let id: String

  init(_ value: JSONValue, id: String) {
    self.value = value
    self.id = id
  }

  /// The object's first byte: it may be long.
  var place: SourceRange { SourceRange(value.range.buffer, value.range.start, value.range.start + 1) }

  private func member(_ key: String) -> JSONValue? { value[key].flatMap { $0.isNull ? nil : $0 } }

  private func wrong(_ key: String, _ wanted: String, _ member: JSONValue) -> DiagnosticError {
    let range = member.range
    return DiagnosticError(
      id, "'\(key)' must be \(wanted), not \(member.kindDescription)",
      at: SourceRange(range.buffer, range.start, range.start + 1))
  }

  func string(_ key: String) throws -> String? {
    guard let member = member(key) else { return nil }
    if let number = member.intValue, key == "id" || key == "_id" { return String(number) }
    guard let string = member.stringValue else { throw wrong(key, "a string", member) }
    return string
  }

  func required(_ key: String) throws -> String {
    guard let string = try string(key) else { throw DiagnosticError(id, "the object has no '\(key)'", at: place) }
    return string
  }

  /// A finite number within ± 10^12.
  func number(_ key: String) throws -> Double? {
    guard let member = member(key) else { return nil }
    guard let number = member.doubleValue, abs(number) < 1e12 else { throw wrong(key, "a number", member) }
    return number
  }

  func strings(_ key: String) throws -> [String] {
    guard let member = member(key) else { return [] }
    guard let items = member.arrayValue else { throw wrong(key, "an array of strings", member) }
    return try items.map { item in
      guard let string = item.stringValue else { throw wrong(key, "an array of strings", item) }
      return string
    }
  }
}
