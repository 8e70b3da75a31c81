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
  /// - Throws: `DiagnosticError` with id `books` when no book is long enough.
  func prompts(length: Int, count: Int) throws -> [EvaluationPrompt] {
    var numbers: [RetrievalTask.Kind: Int] = [:]
    return try RetrievalTask.kinds(count).map { kind in
      let number = numbers[kind, default: 0]
      numbers[kind] = number + 1
      return try prompt(kind, number: number, length: length)
    }
  }

  /// One prompt; `number` counts those of its kind.
  func prompt(_ kind: RetrievalTask.Kind, number: Int, length: Int) throws -> EvaluationPrompt {
    let kindNumber = RetrievalTask.Kind.allCases.firstIndex(of: kind) ?? 0
    var random = SplitMix(seed, UInt64(bitPattern: Int64(length)), UInt64(kindNumber), UInt64(number))
    let long = books.filter { $0.tokenCount >= length }
    guard !long.isEmpty else {
      throw DiagnosticError("books", "no book has \(grouped(length)) tokens, which a prompt of that length needs")
    }
    // A value or a name may stand in the book by chance, and a place may have no paragraph to copy: then another place.
    for _ in 0..<200 {
      guard let book = random.pick(long) else { break }
      let made =
        kind == .copy
        ? copy(book, length: length, random: &random)
        : question(kind, number: number, book: book, length: length, random: &random)
      if var made {
        made.id = "\(kind.rawValue)-\(length)-\(seed)-\(number)"
        made.book = book.title
        return made
      }
    }
    throw DiagnosticError(
      "books", "the books leave no room for a '\(kind.rawValue)' prompt of \(grouped(length)) tokens")
  }

  // MARK: Questions about statements

  private func question(
    _ kind: RetrievalTask.Kind, number: Int, book: Book, length: Int, random: inout SplitMix
  ) -> EvaluationPrompt? {
    guard let statements = RetrievalStatements(kind, number: number, random: &random) else { return nil }
    let answerTokens = tokens(statements.answer)
    let most = answerTokens.count + 2
    let ending = tokens(statements.question).count
    let woven = statements.paragraphs.map { Piece($0, tokens($0 + "\n\n").count) }
    let room = length - most - ending - woven.reduce(0) { $0 + $1.tokens }
    guard var text = passage(book, room: room, random: &random) else { return nil }
    let depth = Self.depths[number % Self.depths.count]
    while !text.isEmpty {
      var placed = text.map { (piece: $0, statement: Int?.none) }
      if kind == .needle {
        placed.insert((woven[0], 0), at: boundary(text, depth: depth))
      } else {
        // Places are drawn before any statement is in: a boundary may hold several.
        let places = woven.indices.map { (statement: $0, place: random.below(text.count + 1)) }
        for (statement, place) in places.sorted(by: { ($0.place, $0.statement) > ($1.place, $1.statement) }) {
          placed.insert((woven[statement], statement), at: place)
        }
      }
      let whole = placed.map { $0.piece.text + "\n\n" }.joined() + statements.question
      let all = tokenizer.encode(whole)
      if all.count + most <= length {
        guard statements.values.allSatisfy({ occurrences(of: $0, in: whole) == 1 }) else { return nil }
        let before = placed.prefix { $0.statement != statements.asked }.reduce(0) { $0 + $1.piece.tokens }
        let total = max(1, placed.reduce(0) { $0 + $1.piece.tokens })
        let actual = (1000 * Double(before) / Double(total)).rounded() / 10
        return EvaluationPrompt(
          id: "", task: kind.rawValue, length: length, depth: kind == .needle ? depth : actual, names: statements.names,
          text: whole, tokens: all, answer: statements.answer, answerTokens: answerTokens, maxNewTokens: most)
      }
      // A tokenizer may need more tokens for the whole than for its paragraphs.
      text.removeLast()
    }
    return nil
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

  private func copy(_ book: Book, length: Int, random: inout SplitMix) -> EvaluationPrompt? {
    let order = "Repeat the paragraph that begins with these words.\n\n"
    let most = Self.askedTokens.upperBound + 2
    // The first words of the paragraph are a part of its tokens.
    let room = length - most - tokens(order).count - 16
    guard let text = passage(book, room: room, random: &random) else { return nil }
    let body = text.map { $0.text + "\n\n" }.joined()
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
      let whole = body + order + beginning
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
