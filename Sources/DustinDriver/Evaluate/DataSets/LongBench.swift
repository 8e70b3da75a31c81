import DustinRunner
import DustinSupport

/// LongBench (Bai et al. 2023): a folder with one `.jsonl` file for each data set, lines with `input`, `context`,
/// `answers`, `all_classes`, `dataset`, `length`, `language` and `_id`. The names of data sets, their metrics and the most
/// tokens of an answer are the benchmark's own.
struct LongBench {
  struct Item {
    let id: String
    let dataset: String
    let input: String
    let context: String
    let answers: [String]
    let classes: [String]
  }

  struct DataSet {
    let metric: TextMetric
    /// Most tokens of an answer.
    let answerTokens: Int
    /// Only the output's first line counts: few-shot prompts go on with the next example.
    var takesFirstLine = false
  }

  static let dataSets: [String: DataSet] = [
    "narrativeqa": DataSet(metric: .questionF1, answerTokens: 128),
    "qasper": DataSet(metric: .questionF1, answerTokens: 128),
    "multifieldqa_en": DataSet(metric: .questionF1, answerTokens: 64),
    "multifieldqa_zh": DataSet(metric: .questionF1Chinese, answerTokens: 64),
    "hotpotqa": DataSet(metric: .questionF1, answerTokens: 32),
    "2wikimqa": DataSet(metric: .questionF1, answerTokens: 32),
    "musique": DataSet(metric: .questionF1, answerTokens: 32),
    "dureader": DataSet(metric: .rougeLChinese, answerTokens: 128),
    "gov_report": DataSet(metric: .rougeL, answerTokens: 512),
    "qmsum": DataSet(metric: .rougeL, answerTokens: 512),
    "multi_news": DataSet(metric: .rougeL, answerTokens: 512),
    "vcsum": DataSet(metric: .rougeLChinese, answerTokens: 512),
    "trec": DataSet(metric: .classification, answerTokens: 64, takesFirstLine: true),
    "triviaqa": DataSet(metric: .questionF1, answerTokens: 32, takesFirstLine: true),
    "samsum": DataSet(metric: .rougeL, answerTokens: 128, takesFirstLine: true),
    "lsht": DataSet(metric: .classification, answerTokens: 64, takesFirstLine: true),
    "passage_count": DataSet(metric: .count, answerTokens: 32),
    "passage_retrieval_en": DataSet(metric: .retrieval, answerTokens: 32),
    "passage_retrieval_zh": DataSet(metric: .retrievalChinese, answerTokens: 32),
    "lcc": DataSet(metric: .codeSimilarity, answerTokens: 64),
    "repobench-p": DataSet(metric: .codeSimilarity, answerTokens: 64),
  ]

  /// The data set's rules; those of LongBench-E, whose names end in `_e`, are the same.
  static func dataSet(_ name: String) -> DataSet? {
    dataSets[name] ?? (name.hasSuffix("_e") ? dataSets[String(name.dropLast(2))] : nil)
  }

  /// The items of all `.jsonl` files of a folder.
  ///
  /// - Parameter limit: The first so many of each data set; nil: all.
  /// - Throws: `DiagnosticError` with id `longbench` that points into the file; `file`.
  static func read(_ folder: String, limit: Int?) throws -> [Item] {
    let names = try namesInFolder(folder).filter { $0.hasSuffix(".jsonl") }
    guard !names.isEmpty else { throw DiagnosticError("longbench", "'\(folder)' has no .jsonl files") }
    var items: [Item] = []
    for name in names {
      let buffer = try readSource("\(folder)/\(name)")
      var counts: [String: Int] = [:]
      try forEachJSONLine(buffer, id: "longbench") { value, number in
        let fields = JSONFields(value, id: "longbench")
        let dataset = try fields.string("dataset") ?? String(name.dropLast(".jsonl".count))
        guard dataSet(dataset) != nil else {
          let hint = suggestion(for: dataset, in: dataSets.keys.sorted())
          throw DiagnosticError(
            "longbench", "LongBench has no data set '\(dataset)', so that its metric is not known\(hint)",
            at: fields.place)
        }
        counts[dataset, default: 0] += 1
        if let limit, counts[dataset, default: 0] > limit { return }
        let answers = try fields.strings("answers")
        guard !answers.isEmpty else {
          throw DiagnosticError("longbench", "'answers' is missing or empty", at: fields.place)
        }
        items.append(
          Item(
            id: try fields.string("_id") ?? "\(number)", dataset: dataset, input: try fields.string("input") ?? "",
            context: try fields.required("context"), answers: answers, classes: try fields.strings("all_classes")))
      }
    }
    return items
  }

  /// The score of an output: that of the answer that it fits best.
  static func score(_ output: String, _ item: Item) -> Double {
    guard let dataset = dataSet(item.dataset) else { return 0 }
    var output = output
    if dataset.takesFirstLine { output = String(output.drop { $0 == "\n" }.prefix { $0 != "\n" }) }
    return item.answers.map { dataset.metric.score(output, answer: $0, classes: item.classes) }.max() ?? 0
  }
}

/// How an item becomes a prompt: `{context}` and `{input}` stand for the item's texts.
struct PromptTemplate {
  /// Ours, not the benchmark's: its own prompts ask chat models for short answers. They can be given with a file.
  static let plain = "{context}\n\n{input}"

  private let common: String
  private let byDataSet: [String: String]

  init() {
    common = Self.plain
    byDataSet = [:]
  }

  /// - Parameter path: A text, or a JSON object of texts by data set, as LongBench's `dataset2prompt.json`.
  /// - Throws: `DiagnosticError` with id `template`.
  init(file path: String) throws {
    let buffer = try readSource(path)
    if buffer.utf8.first(where: { $0 > 0x20 }) == UInt8(ascii: "{"), let value = try? JSONValue.parse(buffer),
      let entries = value.objectEntries
    {
      var templates: [String: String] = [:]
      for (key, value) in entries {
        guard let text = value.stringValue else {
          throw DiagnosticError("template", "the template of '\(key)' must be a string", at: value.range)
        }
        templates[key] = text
      }
      byDataSet = templates
      common = Self.plain
    } else {
      byDataSet = [:]
      common = String(decoding: buffer.utf8, as: UTF8.self)
    }
    for text in byDataSet.values + [common] where !text.contains("{context}") {
      throw DiagnosticError("template", "a template in '\(path)' has no '{context}'")
    }
  }

  func prompt(_ item: LongBench.Item) -> String {
    let plainName = item.dataset.hasSuffix("_e") ? String(item.dataset.dropLast(2)) : item.dataset
    let template = byDataSet[item.dataset] ?? byDataSet[plainName] ?? common
    // One pass: what stands in a context must not be taken for a place of the template.
    var result = ""
    var rest = template[...]
    while let open = rest.firstIndex(of: "{") {
      result += rest[..<open]
      rest = rest[open...]
      if rest.hasPrefix("{context}") {
        result += item.context
        rest = rest.dropFirst("{context}".count)
      } else if rest.hasPrefix("{input}") {
        result += item.input
        rest = rest.dropFirst("{input}".count)
      } else {
        result += "{"
        rest = rest.dropFirst()
      }
    }
    return result + rest
  }
}

/// Cuts the middle out of a prompt that is too long: the question may stand at either end.
func cutMiddle(_ tokens: [Int32], to limit: Int) -> [Int32] {
  if tokens.count <= limit { return tokens }
  let half = max(0, limit) / 2
  return Array(tokens.prefix(half) + tokens.suffix(half))
}
