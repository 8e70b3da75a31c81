/// Splits a text into words, as the regular expressions do that tokenizer files state; the merges never cross a word's end.
///
/// Each known expression has a hand-written scanner: every word is found in one look at its scalars, without backtracking.
enum PreTokenizer: Sendable, Equatable {
  /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,n}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
  /// with at most `digits` digits a word: 1 in Qwen 2, 3 in Llama 3.
  case modern(digits: Int)
  /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
  case gpt2
  /// Digits for themselves, one a word or a run a word; the rest as it is.
  case digits(individual: Bool)

  /// The words that tile `bytes[range]`, which must be valid UTF-8, in order.
  func forEachWord(_ bytes: [UInt8], _ range: Range<Int>, _ body: (Range<Int>) -> Void) {
    let scanner = WordScanner(bytes: bytes, end: range.upperBound)
    var start = range.lowerBound
    while start < range.upperBound {
      let end: Int
      switch self {
      case .modern(let digits): end = scanner.modernWord(start, digits)
      case .gpt2: end = scanner.gpt2Word(start)
      case .digits(let individual): end = scanner.digitsWord(start, individual)
      }
      body(start..<end)
      start = end
    }
  }
}

/// What the expressions ask of a scalar.
enum ScalarClass: UInt8 {
  /// `\p{L}`
  case letter
  /// `\p{N}`
  case number
  /// `\s`, which is White_Space
  case space
  case other

  init(_ scalar: Unicode.Scalar) {
    if scalar.value < 128 {
      self = ScalarClass.ascii[Int(scalar.value)]
    } else {
      self.init(slowly: scalar)
    }
  }

  private init(slowly scalar: Unicode.Scalar) {
    switch scalar.properties.generalCategory {
    case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: self = .letter
    case .decimalNumber, .letterNumber, .otherNumber: self = .number
    default: self = scalar.properties.isWhitespace ? .space : .other
    }
  }

  private static let ascii = (UInt8(0)..<128).map { ScalarClass(slowly: Unicode.Scalar($0)) }
}

/// Finds the end of the word that begins at a place of a text.
private struct WordScanner {
  let bytes: [UInt8]
  let end: Int

  private func scalar(_ position: Int) -> (scalar: Unicode.Scalar, next: Int) {
    let (scalar, count) = UTF8Scalar.read(bytes, position)
    return (scalar, position + count)
  }

  private func isClass(_ wanted: ScalarClass, at position: Int) -> Bool {
    position < end && ScalarClass(scalar(position).scalar) == wanted
  }

  /// Behind the scalars of a class, at most `limit` of them.
  private func run(_ wanted: ScalarClass, _ start: Int, limit: Int = .max) -> Int {
    var position = start
    var count = 0
    while position < end, count < limit {
      let (scalar, next) = scalar(position)
      guard ScalarClass(scalar) == wanted else { break }
      position = next
      count += 1
    }
    return position
  }

  private func isNewline(_ byte: UInt8) -> Bool { byte == 0x0A || byte == 0x0D }

  func modernWord(_ start: Int, _ digits: Int) -> Int {
    let (first, second) = scalar(start)
    if first == "'", let end = contraction(second, ignoringCase: true) { return end }
    let firstClass = ScalarClass(first)
    switch firstClass {
    case .letter: return run(.letter, second)
    case .number: return run(.number, start, limit: digits)
    case .space, .other: break
    }
    let startsWithNewline = first == "\n" || first == "\r"
    if !startsWithNewline, isClass(.letter, at: second) { return run(.letter, second) }
    if firstClass == .other || (first == " " && isClass(.other, at: second)) {
      var position = run(.other, second)
      while position < end, isNewline(bytes[position]) { position += 1 }
      return position
    }
    return spaces(start, breaksAfterNewlines: true)
  }

  func gpt2Word(_ start: Int) -> Int {
    let (first, second) = scalar(start)
    if first == "'", let end = contraction(second, ignoringCase: false) { return end }
    let firstClass = ScalarClass(first)
    if firstClass != .space { return run(firstClass, second) }
    if first == " ", second < end {
      let secondClass = ScalarClass(scalar(second).scalar)
      if secondClass != .space { return run(secondClass, second) }
    }
    return spaces(start, breaksAfterNewlines: false)
  }

  func digitsWord(_ start: Int, _ individual: Bool) -> Int {
    let (first, second) = scalar(start)
    if ScalarClass(first) == .number { return individual ? second : run(.number, second) }
    var position = second
    while position < end {
      let (scalar, next) = scalar(position)
      if ScalarClass(scalar) == .number { break }
      position = next
    }
    return position
  }

  /// `\s*[\r\n]+|\s+(?!\S)|\s+`: through the last newline; else without the last space if a word follows.
  private func spaces(_ start: Int, breaksAfterNewlines: Bool) -> Int {
    var position = start
    var lastStart = start
    var behindNewline: Int?
    while position < end {
      let (scalar, next) = scalar(position)
      guard ScalarClass(scalar) == .space else { break }
      if isNewline(bytes[position]) { behindNewline = next }
      lastStart = position
      position = next
    }
    if breaksAfterNewlines, let behindNewline { return behindNewline }
    return position == end || lastStart == start ? position : lastStart
  }

  /// Behind `s`, `t`, `re`, `ve`, `m`, `ll` or `d`.
  private func contraction(_ start: Int, ignoringCase: Bool) -> Int? {
    guard start < end else { return nil }
    let fold: UInt8 = ignoringCase ? 0x20 : 0
    switch bytes[start] | fold {
    case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"): return start + 1
    case UInt8(ascii: "r"), UInt8(ascii: "v"):
      return start + 1 < end && bytes[start + 1] | fold == UInt8(ascii: "e") ? start + 2 : nil
    case UInt8(ascii: "l"):
      return start + 1 < end && bytes[start + 1] | fold == UInt8(ascii: "l") ? start + 2 : nil
    default: break
    }
    // U+017F, the long s, is an s to an expression that ignores case.
    if ignoringCase, start + 1 < end, bytes[start] == 0xC5, bytes[start + 1] == 0xBF { return start + 2 }
    return nil
  }
}
