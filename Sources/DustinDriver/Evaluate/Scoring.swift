/// Whether greedy text answers a question: it begins with the answer. The answer's full stop may come as a part of a
/// token that holds more, such as a full stop and a blank line: texts are compared, not tokens.
func answers(_ text: [UInt8], _ answer: String) -> Bool { text.starts(with: answer.utf8) }

/// The share of an answer's tokens that the output has in the same order: the length of the longest common subsequence
/// over the answer's. A word too many or too few costs that word and not all that follows.
func tokensRight(_ output: [Int32], _ answer: [Int32]) -> Double {
  answer.isEmpty ? 1 : Double(longestCommonSubsequence(output, answer)) / Double(answer.count)
}

/// Length of the longest sequence that both contain in order, not necessarily without gaps.
func longestCommonSubsequence<Element: Equatable>(_ a: [Element], _ b: [Element]) -> Int {
  var row = Array(repeating: 0, count: b.count + 1)
  for x in a {
    var diagonal = 0
    for (index, y) in b.enumerated() {
      let above = row[index + 1]
      row[index + 1] = x == y ? diagonal + 1 : max(above, row[index])
      diagonal = above
    }
  }
  return row[b.count]
}
