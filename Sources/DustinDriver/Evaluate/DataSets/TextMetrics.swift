/// How outputs are scored against reference answers, by the public definitions of LongBench (Bai et al. 2023). All give
/// 0 … 1.
enum TextMetric: String {
  /// Token F1 after normalisation (Rajpurkar et al. 2016); of Chinese text by characters, where LongBench uses words.
  case questionF1, questionF1Chinese
  /// ROUGE-L, summary level, F with equal weights (Lin 2004); of Chinese text by characters.
  case rougeL, rougeLChinese
  /// 1 / (classes named in the output) when the right one is among them.
  case classification
  /// Share of the numbers in the output that are the wanted paragraph's.
  case retrieval, retrievalChinese
  /// Share of the numbers in the output that are the wanted one.
  case count
  /// Edit similarity of the first line of code: matching characters without substitutions, twice, over both lengths,
  /// rounded to whole percent.
  case codeSimilarity

  /// The name in tables and JSON.
  var name: String {
    switch self {
    case .questionF1, .questionF1Chinese: "F1"
    case .rougeL, .rougeLChinese: "ROUGE-L"
    case .classification: "accuracy"
    case .retrieval, .retrievalChinese: "retrieval"
    case .count: "count"
    case .codeSimilarity: "edit similarity"
    }
  }

  func score(_ output: String, answer: String, classes: [String]) -> Double {
    switch self {
    case .questionF1: return f1(normalizedWords(output), normalizedWords(answer))
    case .questionF1Chinese: return f1(normalizedCharacters(output), normalizedCharacters(answer))
    case .rougeL: return Self.rougeL(output, answer)
    case .rougeLChinese: return Self.rougeL(spaced(output), spaced(answer))
    case .classification: return Self.classification(output, answer, classes)
    case .retrieval: return Self.retrieval(output, number(after: "Paragraph ", in: answer))
    case .retrievalChinese: return Self.retrieval(output, number(after: "段落", in: answer))
    case .count: return Self.retrieval(output, answer)
    case .codeSimilarity: return Self.codeSimilarity(output, answer)
    }
  }

  // MARK: F1

  /// 2PR / (P + R) over the words that both have, each as often as the one that has it less often.
  private func f1(_ output: [String], _ answer: [String]) -> Double {
    var left = answer.reduce(into: [String: Int]()) { $0[$1, default: 0] += 1 }
    var same = 0
    for word in output where left[word, default: 0] > 0 {
      left[word, default: 0] -= 1
      same += 1
    }
    if same == 0 { return 0 }
    let precision = Double(same) / Double(output.count)
    let recall = Double(same) / Double(answer.count)
    return 2 * precision * recall / (precision + recall)
  }

  // MARK: ROUGE-L

  /// The summary-level form of the package that LongBench calls: sentences end at full stops; for each sentence of the
  /// answer the words of its longest common subsequences with all sentences of the output are united; different words
  /// count once.
  static func rougeL(_ output: String, _ answer: String) -> Double {
    let (outputSentences, answerSentences) = (sentences(output), sentences(answer))
    let outputWords = Set(outputSentences.flatMap { $0 })
    let answerWords = Set(answerSentences.flatMap { $0 })
    if outputWords.isEmpty || answerWords.isEmpty { return 0 }
    var union: Set<String> = []
    for sentence in answerSentences {
      for other in outputSentences { union.formUnion(commonWords(sentence, other)) }
    }
    let recall = Double(union.count) / Double(answerWords.count)
    let precision = Double(union.count) / Double(outputWords.count)
    return 2 * (precision * recall / (precision + recall + 1e-8))
  }

  private static func sentences(_ text: String) -> [[String]] {
    // An empty sentence is one word of no letters, as the package has it.
    text.split(separator: ".").map { sentence in
      let words = words(of: String(sentence))
      return words.isEmpty ? [""] : words
    }
  }

  /// The words of one longest common subsequence; of several, the one that the package finds.
  private static func commonWords(_ a: [String], _ b: [String]) -> Set<String> {
    let width = b.count + 1
    var table = Array(repeating: 0, count: (a.count + 1) * width)
    for i in a.indices {
      for j in b.indices {
        table[(i + 1) * width + j + 1] =
          a[i] == b[j] ? table[i * width + j] + 1 : max(table[i * width + j + 1], table[(i + 1) * width + j])
      }
    }
    var found: Set<String> = []
    var (i, j) = (a.count, b.count)
    while i > 0, j > 0 {
      if a[i - 1] == b[j - 1] {
        found.insert(a[i - 1])
        (i, j) = (i - 1, j - 1)
      } else if table[(i - 1) * width + j] > table[i * width + j - 1] {
        i -= 1
      } else {
        j -= 1
      }
    }
    return found
  }

  // MARK: Others

  /// A class whose name is a part of the right one's is not held against the output, but for the second of two such in a
  /// row: the published code skips it.
  static func classification(_ output: String, _ answer: String, _ classes: [String]) -> Double {
    var named = classes.filter { occurrences(of: $0, in: output) > 0 }
    var index = 0
    while index < named.count {
      if named[index] != answer, occurrences(of: named[index], in: answer) > 0 {
        let name = named[index]
        if let first = named.firstIndex(of: name) { named.remove(at: first) }
      }
      index += 1
    }
    return named.contains(answer) ? 1 / Double(named.count) : 0
  }

  static func retrieval(_ output: String, _ wanted: String?) -> Double {
    let numbers = numbers(in: output)
    guard let wanted, !numbers.isEmpty else { return 0 }
    return Double(numbers.filter { $0 == wanted }.count) / Double(numbers.count)
  }

  static func codeSimilarity(_ output: String, _ answer: String) -> Double {
    let lines = String(output.drop { $0 == "\n" }).split(separator: "\n", omittingEmptySubsequences: false)
    let line = lines.first { !$0.contains("`") && !$0.contains("#") && !$0.contains("//") } ?? ""
    let (a, b) = (Array(line.unicodeScalars), Array(answer.unicodeScalars))
    if a == b { return 1 }
    if a.isEmpty || b.isEmpty { return 0 }
    let ratio = 2 * Double(longestCommonSubsequence(a, b)) / Double(a.count + b.count)
    return (100 * ratio).rounded(.toNearestOrEven) / 100
  }

  // MARK: Text

  private static func words(of text: String) -> [String] {
    String.UnicodeScalarView(text.unicodeScalars).split { $0.properties.isWhitespace }.map { String($0) }
  }

  private static let punctuation = Set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~".unicodeScalars)
  private static let chinesePunctuation = Set(
    "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿–—‘’‛“”„‟…‧﹏."
      .unicodeScalars)

  /// Lower case, without ASCII punctuation and without a, an, the.
  func normalizedWords(_ text: String) -> [String] {
    let kept = text.lowercased().unicodeScalars.filter { !Self.punctuation.contains($0) }
    // An article ends where a word ends, which need not be white space: other alphabets' punctuation is still there.
    var result = String.UnicodeScalarView()
    var word = String.UnicodeScalarView()
    func flush() {
      let text = String(word)
      if text == "a" || text == "an" || text == "the" { result.append(" ") } else { result += word }
      word = String.UnicodeScalarView()
    }
    for scalar in kept {
      if scalar.properties.isAlphabetic || scalar.properties.numericType != nil {
        word.append(scalar)
      } else {
        flush()
        result.append(scalar)
      }
    }
    flush()
    return Self.words(of: String(result))
  }

  private func normalizedCharacters(_ text: String) -> [String] {
    text.lowercased().unicodeScalars.filter {
      !Self.punctuation.contains($0) && !Self.chinesePunctuation.contains($0) && !$0.properties.isWhitespace
    }.map { String($0) }
  }

  private func spaced(_ text: String) -> String { text.unicodeScalars.map { String($0) }.joined(separator: " ") }

  private static func numbers(in text: String) -> [String] {
    text.unicodeScalars.split { $0.properties.numericType != .decimal }.map { String($0) }
  }

  /// The digits behind the first place where a text and a digit stand together.
  private func number(after prefix: String, in text: String) -> String? {
    let (text, prefix) = (Array(text.unicodeScalars), Array(prefix.unicodeScalars))
    for start in text.indices where text[start...].starts(with: prefix) {
      let digits = text[(start + prefix.count)...].prefix { $0.properties.numericType == .decimal }
      if !digits.isEmpty { return String(String.UnicodeScalarView(digits)) }
    }
    return nil
  }
}
