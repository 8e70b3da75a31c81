/// The candidate that a misspelt name most likely meant, or nil when none is close: at most a third of the letters may be
/// wrong. Upper and lower case count as equal; of several that are equally close the first one wins.
public func closestName<Names: Sequence>(to name: String, in candidates: Names) -> String?
where Names.Element == String {
  let letters = lowercased(name)
  // A name of one letter has nothing in common with any other.
  var limit = letters.count < 2 ? 0 : max(1, letters.count / 3)
  var best: String?
  for candidate in candidates {
    guard abs(candidate.utf8.count - letters.count) <= limit else { continue }
    let other = lowercased(candidate)
    let distance = editDistance(letters, other)
    if distance < limit || (best == nil && distance == limit) {
      best = candidate
      limit = distance
    }
  }
  return best
}

/// The end of a message about a name that there is not: `; did you mean 'cse'?`, or nothing.
public func suggestion<Names: Sequence>(for name: String, in candidates: Names) -> String
where Names.Element == String {
  closestName(to: name, in: candidates).map { "; did you mean '\($0)'?" } ?? ""
}

/// Levenshtein distance with adjacent transpositions.
func editDistance(_ first: String, _ second: String) -> Int {
  editDistance(Array(first.utf8), Array(second.utf8))
}

private func lowercased(_ name: String) -> [UInt8] {
  name.utf8.map { $0 >= UInt8(ascii: "A") && $0 <= UInt8(ascii: "Z") ? $0 + 32 : $0 }
}

private func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
  if a.isEmpty || b.isEmpty { return max(a.count, b.count) }
  var beforePrevious: [Int] = []
  var previous = Array(0...b.count)
  for i in 1...a.count {
    var current = [i]
    for j in 1...b.count {
      var cost = min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1))
      if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] { cost = min(cost, beforePrevious[j - 2] + 1) }
      current.append(cost)
    }
    beforePrevious = previous
    previous = current
  }
  return previous[b.count]
}
