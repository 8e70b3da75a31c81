import DustinRunner
import DustinSupport
import DustinText

/// Makes retrieval prompts from books: paragraphs of a book from a random place on, statements between them, and a
/// question at the end. The same seed gives the same prompts, and the first ones of a longer list are a shorter list.
struct RetrievalGenerator {
  let books: [Book]
  let tokenizer: Tokenizer
  let seed: UInt64

  /// Needles stand at these depths by turns.
  static let depths = stride(from: 0.0, through: 100, by: 10).map { $0 }

  /// `count` prompts and the copies that go with them. Prompt and answer together have at most `length` tokens, and at
  /// least as many as one sentence less.
  ///
  /// - Parameters:
  ///   - perText: Questions about one text, which then holds the statements of them all: a text is read once, and the
  ///     others' statements make each question harder.
  ///   - kinds: Others are left out of the list.
  /// - Throws: `DiagnosticError` with id `books` when no book is long enough.
  func prompts(
    length: Int, count: Int, perText: Int = 1, kinds: Set<RetrievalTask.Kind> = Set(RetrievalTask.Kind.allCases)
  ) throws -> [EvaluationPrompt] {
    var numbers: [RetrievalTask.Kind: Int] = [:]
    let wanted = RetrievalTask.kinds(count).compactMap { kind -> Wanted? in
      let number = numbers[kind, default: 0]
      numbers[kind] = number + 1
      return kinds.contains(kind) ? Wanted(kind: kind, number: number) : nil
    }
    if perText == 1 { return try wanted.flatMap { try prompts([$0], length: length) } }
    var groups: [[Wanted]] = []
    var questions = perText
    for one in wanted {
      if groups.isEmpty || (one.kind != .copy && questions == perText) {
        groups.append([])
        questions = 0
      }
      if one.kind != .copy { questions += 1 }
      groups[groups.count - 1].append(one)
    }
    return try groups.flatMap { try prompts($0, length: length) }
  }

  /// A question to be made; `number` counts those of its kind.
  struct Wanted {
    let kind: RetrievalTask.Kind
    let number: Int
  }

  /// One prompt; `number` counts those of its kind.
  func prompt(_ kind: RetrievalTask.Kind, number: Int, length: Int) throws -> EvaluationPrompt {
    try prompts([Wanted(kind: kind, number: number)], length: length)[0]
  }

  /// Questions about one text.
  private func prompts(_ wanted: [Wanted], length: Int) throws -> [EvaluationPrompt] {
    let kindNumber = RetrievalTask.Kind.allCases.firstIndex(of: wanted[0].kind) ?? 0
    var random = SplitMix(seed, UInt64(bitPattern: Int64(length)), UInt64(kindNumber), UInt64(wanted[0].number))
    let long = books.filter { $0.tokenCount >= length }
    guard !long.isEmpty else {
      throw DiagnosticError("books", "no book has \(grouped(length)) tokens, which a prompt of that length needs")
    }
    // A value or a name may stand in the book by chance, and a place may have no paragraph to copy: then another place.
    for _ in 0..<200 {
      guard let book = random.pick(long) else { break }
      guard let made = text(of: wanted, book: book, length: length, random: &random) else { continue }
      return zip(made, wanted).map { prompt, wanted in
        var prompt = prompt
        prompt.id = "\(wanted.kind.rawValue)-\(length)-\(seed)-\(wanted.number)"
        prompt.book = book.title
        return prompt
      }
    }
    throw DiagnosticError(
      "books", "the books leave no room for a '\(wanted[0].kind.rawValue)' prompt of \(grouped(length)) tokens")
  }

  private func text(
    of wanted: [Wanted], book: Book, length: Int, random: inout SplitMix
  ) -> [EvaluationPrompt]? {
    if wanted.allSatisfy({ $0.kind == .copy }) {
      guard let text = passage(book, room: length - Self.roomOfCopy(tokens), random: &random) else { return nil }
      let copies = wanted.compactMap { _ in copy(of: text, in: text, length: length, random: &random) }
      return copies.count == wanted.count ? copies : nil
    }
    var asked: [Asked] = []
    var subjects: Set<String> = []
    for one in wanted where one.kind != .copy {
      // Names and keys of one text differ from question to question.
      var statements: RetrievalStatements?
      for _ in 0..<200 where statements == nil {
        // Of the few names that training never used, one of the two long lists of a text takes its share.
        let number = wanted.count > 1 && one.kind == .multiquery ? one.number + 1 : one.number
        let made = RetrievalStatements(one.kind, number: number, random: &random)
        if let made, subjects.isDisjoint(with: made.subjects) { statements = made }
      }
      guard let statements else { return nil }
      subjects.formUnion(statements.subjects)
      asked.append(Asked(wanted: one, statements: statements, tokens))
    }
    let woven = asked.map { $0.statements.paragraphs.map { Piece($0, tokens($0 + "\n\n").count) } }
    var ending = asked.map { $0.most + tokens($0.statements.question).count }.max() ?? 0
    if wanted.contains(where: { $0.kind == .copy }) { ending = max(ending, Self.roomOfCopy(tokens)) }
    let room = length - ending - woven.joined().reduce(0) { $0 + $1.tokens }
    guard var text = passage(book, room: room, random: &random) else { return nil }
    while !text.isEmpty {
      let placed = weave(woven, asked, into: text, random: &random)
      let body = placed.map { $0.piece.text + "\n\n" }.joined()
      var prompts: [EvaluationPrompt]? = []
      for one in asked.indices where prompts != nil {
        guard let made = question(asked[one], number: one, about: placed, body: body, length: length) else {
          return nil
        }
        if made.tokens.count + made.maxNewTokens <= length { prompts?.append(made) } else { prompts = nil }
      }
      if var prompts {
        for (place, one) in wanted.enumerated() where one.kind == .copy {
          guard let made = copy(of: text, in: placed.map(\.piece), length: length, random: &random) else { return nil }
          prompts.insert(made, at: place)
        }
        return prompts
      }
      // A tokenizer may need more tokens for the whole than for its paragraphs.
      text.removeLast()
    }
    return nil
  }

  // MARK: Questions about statements

  private struct Asked {
    let wanted: Wanted
    let statements: RetrievalStatements
    let answerTokens: [Int32]
    var most: Int { answerTokens.count + 2 }

    init(wanted: Wanted, statements: RetrievalStatements, _ tokens: (String) -> [Int32]) {
      self.wanted = wanted
      self.statements = statements
      answerTokens = tokens(statements.answer)
    }
  }

  /// A paragraph of the text, or a statement: the question that it belongs to and its number there.
  private typealias Placed = (piece: Piece, statement: (question: Int, number: Int)?)

  private func weave(
    _ woven: [[Piece]], _ asked: [Asked], into text: [Piece], random: inout SplitMix
  ) -> [Placed] {
    // Places are drawn before any statement is in: a boundary may hold several.
    var places: [(question: Int, number: Int, place: Int)] = []
    for (question, pieces) in woven.enumerated() {
      let wanted = asked[question].wanted
      for number in pieces.indices {
        let place =
          wanted.kind == .needle
          ? boundary(text, depth: Self.depths[wanted.number % Self.depths.count]) : random.below(text.count + 1)
        places.append((question, number, place))
      }
    }
    var placed: [Placed] = text.map { ($0, nil) }
    for one in places.sorted(by: { ($0.place, $0.question, $0.number) > ($1.place, $1.question, $1.number) }) {
      placed.insert((woven[one.question][one.number], (one.question, one.number)), at: one.place)
    }
    return placed
  }

  /// Nil when a value stands in the text by chance.
  private func question(
    _ asked: Asked, number: Int, about placed: [Placed], body: String, length: Int
  ) -> EvaluationPrompt? {
    let statements = asked.statements
    let whole = body + statements.question
    guard statements.values.allSatisfy({ occurrences(of: $0, in: whole) == 1 }) else { return nil }
    let before = placed.prefix { $0.statement.map { $0 != (number, statements.asked) } ?? true }
      .reduce(0) { $0 + $1.piece.tokens }
    let total = max(1, placed.reduce(0) { $0 + $1.piece.tokens })
    let kind = asked.wanted.kind
    let depth =
      kind == .needle
      ? Self.depths[asked.wanted.number % Self.depths.count] : (1000 * Double(before) / Double(total)).rounded() / 10
    return EvaluationPrompt(
      id: "", task: kind.rawValue, length: length, depth: depth, names: statements.names, text: whole,
      tokens: tokenizer.encode(whole), answer: statements.answer, answerTokens: asked.answerTokens,
      maxNewTokens: asked.most)
  }

  /// Before which paragraph a statement stands that is to have `depth` percent of the text before it.
  private func boundary(_ text: [Piece], depth: Double) -> Int {
    let wanted = depth / 100 * Double(text.reduce(0) { $0 + $1.tokens })
    var before = 0.0
    var best = (place: 0, distance: wanted)
    for (index, piece) in text.enumerated() {
      before += Double(piece.tokens)
      if abs(before - wanted) < best.distance { best = (index + 1, abs(before - wanted)) }
    }
    return best.place
  }

  // MARK: Copies

  private static let askedTokens = 40...130
  private static let order = "Repeat the paragraph that begins with these words.\n\n"

  /// Tokens behind the text of a copy: the first words of the paragraph are a part of its tokens.
  private static func roomOfCopy(_ tokens: (String) -> [Int32]) -> Int {
    askedTokens.upperBound + 2 + tokens(order).count + 16
  }

  /// - Parameters:
  ///   - text: The book's paragraphs, one of which is asked for.
  ///   - placed: They and the statements between them: what the prompt begins with.
  private func copy(
    of text: [Piece], in placed: [Piece], length: Int, random: inout SplitMix
  ) -> EvaluationPrompt? {
    let body = placed.map { $0.text + "\n\n" }.joined()
    // The last piece may be a part of a paragraph.
    let candidates = text.dropLast().indices.filter { Self.askedTokens.contains(text[$0].tokens) }
    for place in random.pick(candidates.count, of: Array(candidates)) {
      let paragraph = text[place].text
      let words = paragraph.split(separator: " ", omittingEmptySubsequences: false)
      let count = 4 + random.below(4)
      guard words.count > count + 8, !paragraph.contains("\n") else { continue }
      let beginning = words[..<count].joined(separator: " ")
      let answer = " " + words[count...].joined(separator: " ") + "\n\n"
      guard occurrences(of: beginning, in: body) == 1, occurrences(of: answer, in: body) == 1 else { continue }
      let whole = body + Self.order + beginning
      let all = tokenizer.encode(whole)
      let answerTokens = tokens(answer)
      guard all.count + answerTokens.count + 2 <= length else { continue }
      let before = text[..<place].reduce(0) { $0 + $1.tokens }
      let total = max(1, text.reduce(0) { $0 + $1.tokens })
      return EvaluationPrompt(
        id: "", task: "copy", length: length, depth: (1000 * Double(before) / Double(total)).rounded() / 10,
        text: whole,
        tokens: all, answer: answer, answerTokens: answerTokens, maxNewTokens: answerTokens.count + 2)
    }
    return nil
  }

  // MARK: Text

  struct Piece {
    let text: String
    /// With the blank line behind it.
    let tokens: Int

    init(_ text: String, _ tokens: Int) {
      self.text = text
      self.tokens = tokens
    }
  }

  private func tokens(_ text: String) -> [Int32] {
    tokenizer.encode(Array(text.utf8), addSpecialTokens: false)
  }

  /// Paragraphs from a random one on that fill `room` tokens, and as many sentences of the next one as still fit.
  private func passage(_ book: Book, room: Int, random: inout SplitMix) -> [Piece]? {
    // Counting tokens, not paragraphs: every place of the book is as likely.
    let last = book.tokenCount - room
    guard room > 0, last >= 0 else { return nil }
    let token = random.below(last + 1)
    let start = max(0, (book.starts.firstIndex { $0 > token } ?? 1) - 1)
    var pieces: [Piece] = []
    var used = 0
    for index in book.paragraphs.indices[start...] {
      let count = book.tokens[index].count
      if used + count > room {
        if let part = beginning(of: book.paragraphs[index], room: room - used) { pieces.append(part) }
        break
      }
      pieces.append(Piece(book.paragraphs[index], count))
      used += count
    }
    return pieces.isEmpty ? nil : pieces
  }

  /// The longest part of whole sentences that fits.
  private func beginning(of paragraph: String, room: Int) -> Piece? {
    let bytes = Array(paragraph.utf8)
    var best: Piece?
    for (index, byte) in bytes.enumerated() where byte == UInt8(ascii: " ") && index > 0 {
      let isQuoted = bytes[index - 1] == UInt8(ascii: "\"")
      let end = isQuoted && index > 1 ? bytes[index - 2] : bytes[index - 1]
      guard end == UInt8(ascii: ".") || end == UInt8(ascii: "!") || end == UInt8(ascii: "?") else { continue }
      let text = String(decoding: bytes[..<index], as: UTF8.self)
      let count = tokens(text + "\n\n").count
      if count > room { break }
      best = Piece(text, count)
    }
    return best
  }
}

/// How often a text stands in another, overlapping places included.
func occurrences(of pattern: String, in text: String) -> Int {
  let pattern = Array(pattern.utf8)
  var copy = text
  return copy.withUTF8 { bytes in
    guard let first = pattern.first, bytes.count >= pattern.count else { return 0 }
    var count = 0
    for start in 0...(bytes.count - pattern.count) where bytes[start] == first {
      if pattern.indices.allSatisfy({ bytes[start + $0] == pattern[$0] }) { count += 1 }
    }
    return count
  }
}
