import DustinSupport
import DustinText

/// What is woven into a text, and what is asked about it, word for word as the models learnt it:
///
///     needle, multi   The secret number of Alice Harper is 48213.        What is the secret number of Alice Harper?
///     multiquery      the same, eight of them                            What are the secret numbers of A, B and C?
///     password        The password of the silver castle is ember willow. What is the password of the silver castle?
///     ledger          Ledger: 2013 -> 28907; 7499 -> 80868; ... .        Ledger entry 7499 ->
struct RetrievalStatements {
  /// Paragraphs for the text, in no order.
  var paragraphs: [String]
  /// The paragraph that the answer stands in; of several, the first.
  var asked: Int
  var question: String
  var answer: String
  /// What must stand once in the whole prompt.
  var values: [String]
  var names: String?
  /// First names, places and keys by which questions tell statements apart.
  var subjects: Set<String> = []

  /// Nil for a task without statements.
  init?(_ task: RetrievalTask.Kind, number: Int, random: inout SplitMix) {
    paragraphs = []
    values = []
    asked = 0
    let isSeen = number % 2 == 0
    switch task {
    case .needle, .multi:
      names = isSeen ? "seen" : "unseen"
      let people = Self.people(task == .needle ? 1 : 8, isSeen: isSeen, &random)
      let numbers = Self.numbers(people.count, &random)
      subjects = Self.firstNames(people)
      asked = random.below(people.count)
      paragraphs = zip(people, numbers).map(Self.number)
      question = "What is the secret number of \(people[asked])?"
      answer = " \(numbers[asked])."
      values = [numbers[asked]]
    case .multiquery:
      names = isSeen ? "seen" : "unseen"
      let people = Self.people(8, isSeen: isSeen, &random)
      let numbers = Self.numbers(people.count, &random)
      subjects = Self.firstNames(people)
      let three = random.pick(3, of: Array(people.indices))
      guard three.count == 3 else { return nil }
      asked = three[0]
      paragraphs = zip(people, numbers).map(Self.number)
      question = "What are the secret numbers of \(people[three[0]]), \(people[three[1]]) and \(people[three[2]])?"
      answer = " \(numbers[three[0]]), \(numbers[three[1]]) and \(numbers[three[2]])."
      values = three.map { numbers[$0] }
    case .password:
      let places = Self.pairs(6, RetrievalWords.qualities, RetrievalWords.places, &random)
      let secrets = Self.pairs(6, RetrievalWords.secrets, RetrievalWords.secrets, &random)
      let people = Self.people(4, isSeen: true, &random)
      subjects = Self.firstNames(people).union(places)
      asked = random.below(places.count)
      paragraphs = zip(places, secrets).map { "The password of the \($0) is \($1)." }
      paragraphs += zip(people, Self.numbers(4, &random)).map(Self.number)
      question = "What is the password of the \(places[asked])?"
      answer = " \(secrets[asked])."
      values = [secrets[asked]]
    case .ledger:
      let keys = Self.numbers(16, of: 1000..<10_000, &random)
      let entries = Self.numbers(16, &random)
      let row = random.below(keys.count)
      subjects = Set(keys)
      paragraphs = ["Ledger: " + zip(keys, entries).map { "\($0) -> \($1)" }.joined(separator: "; ") + "."]
      question = "Ledger entry \(keys[row]) ->"
      answer = " \(entries[row])."
      values = [entries[row]]
    case .copy:
      return nil
    }
  }

  private static func number(_ person: String, _ number: String) -> String {
    "The secret number of \(person) is \(number)."
  }

  private static func firstNames(_ people: [String]) -> Set<String> {
    Set(people.map { String($0.prefix { $0 != " " }) })
  }

  /// Different people. One in four of the seen ones has no last name.
  private static func people(_ count: Int, isSeen: Bool, _ random: inout SplitMix) -> [String] {
    let firsts = isSeen ? RetrievalWords.seenFirst : RetrievalWords.unseenFirst
    return zip(random.pick(count, of: firsts), random.pick(count, of: RetrievalWords.last)).map { first, last in
      isSeen && count > 1 && random.below(4) == 0 ? first : "\(first) \(last)"
    }
  }

  private static func numbers(
    _ count: Int, of range: Range<Int> = 10_000..<100_000, _ random: inout SplitMix
  ) -> [String] {
    var numbers: [String] = []
    while numbers.count < count {
      let number = String(range.lowerBound + random.below(range.count))
      if !numbers.contains(number) { numbers.append(number) }
    }
    return numbers
  }

  /// Pairs of two words in which no word comes twice.
  private static func pairs(
    _ count: Int, _ a: [String], _ b: [String], _ random: inout SplitMix
  ) -> [String] {
    let firsts = random.pick(count, of: a)
    let seconds = random.pick(count, of: b.filter { !firsts.contains($0) })
    return zip(firsts, seconds).map { "\($0) \($1)" }
  }
}
