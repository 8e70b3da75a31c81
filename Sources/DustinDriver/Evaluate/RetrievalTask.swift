/// The questions about long texts that the bundled models were trained to answer.
enum RetrievalTask {
  enum Kind: String, CaseIterable {
    case needle, multi, multiquery, password, ledger, copy
  }

  /// Half needles, an eighth of each other task, and one `copy` on top of every eight.
  static let cycle: [Kind] = [.needle, .multi, .needle, .multiquery, .needle, .password, .needle, .ledger]

  /// The tasks of `count` prompts and the copies that go with them; a longer list begins with a shorter one.
  static func kinds(_ count: Int) -> [Kind] {
    (0..<max(count, 0)).flatMap { number in
      let place = number % cycle.count
      return place == cycle.count - 1 ? [cycle[place], .copy] : [cycle[place]]
    }
  }
}
