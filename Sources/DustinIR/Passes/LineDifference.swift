/// What distinguishes two printed modules, line by line.
///
/// A line that defines something has a key, the function and the names that it defines; lines with the same key belong
/// together, so that an operation that got an attribute stands as `-` and `+` one below the other.
struct LineDifference {
  enum Edit: Equatable {
    case same(Substring)
    case removed(Substring)
    case added(Substring)
  }
  let edits: [Edit]
  private let oldKeys: [LineKey]
  private let newKeys: [LineKey]

  init(from old: String, to new: String) {
    let (oldLines, newLines) = (Self.lines(old), Self.lines(new))
    (oldKeys, newKeys) = (LineKey.keys(of: oldLines), LineKey.keys(of: newLines))
    var edits: [Edit] = []
    var (a, b) = (0, 0)
    for (i, j) in Self.pairs(oldKeys, newKeys) + [(oldLines.count, newLines.count)] {
      while a < i {
        edits.append(.removed(oldLines[a]))
        a += 1
      }
      while b < j {
        edits.append(.added(newLines[b]))
        b += 1
      }
      guard i < oldLines.count, j < newLines.count else { break }
      edits += oldLines[i] == newLines[j] ? [.same(oldLines[i])] : [.removed(oldLines[i]), .added(newLines[j])]
      (a, b) = (i + 1, j + 1)
    }
    self.edits = edits
  }

  var isEmpty: Bool { edits.allSatisfy { if case .same = $0 { true } else { false } } }

  private static func lines(_ text: String) -> [Substring] {
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    if lines.last == "" { lines.removeLast() }
    return lines
  }

  /// The longest run of common keys that ascends in both texts; a key stands at most once in each.
  private static func pairs(_ old: [LineKey], _ new: [LineKey]) -> [(Int, Int)] {
    let places = Dictionary(new.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
    let common = old.enumerated().compactMap { index, key in places[key].map { (index, $0) } }
    // The smallest end of a run of every length, and how it came to be.
    var ends: [Int] = []
    var previous = [Int?](repeating: nil, count: common.count)
    for (number, (_, place)) in common.enumerated() {
      var (low, high) = (0, ends.count)
      while low < high {
        let middle = (low + high) / 2
        if common[ends[middle]].1 < place { low = middle + 1 } else { high = middle }
      }
      previous[number] = low > 0 ? ends[low - 1] : nil
      if low < ends.count { ends[low] = number } else { ends.append(number) }
    }
    var run: [(Int, Int)] = []
    var number = ends.last
    while let current = number {
      run.append(common[current])
      number = previous[current]
    }
    return run.reversed()
  }

  /// Operations that stand only in the old text, only in the new one, or in both with another line.
  var operationCounts: (changed: Int, added: Int, removed: Int) {
    func operations(_ keys: [LineKey], _ isChanged: (Edit) -> Bool) -> Set<LineKey> {
      var result: Set<LineKey> = []
      var index = 0
      for edit in edits {
        if isChanged(edit) {
          if keys[index].isOperation { result.insert(keys[index]) }
          index += 1
        } else if case .same = edit {
          index += 1
        }
      }
      return result
    }
    let removed = operations(oldKeys) { if case .removed = $0 { true } else { false } }
    let added = operations(newKeys) { if case .added = $0 { true } else { false } }
    let both = removed.intersection(added).count
    return (both, added.count - both, removed.count - both)
  }

  /// A unified diff: parts with three lines around every change, each headed by its function. Empty without a change.
  func unified(from oldName: String, to newName: String) -> String {
    let context = 3
    let changed = edits.indices.filter { if case .same = edits[$0] { false } else { true } }
    guard !changed.isEmpty else { return "" }
    var hunks: [Range<Int>] = []
    for index in changed {
      let range = max(0, index - context)..<min(edits.count, index + context + 1)
      if let last = hunks.last, last.upperBound >= range.lowerBound {
        hunks[hunks.count - 1] = last.lowerBound..<range.upperBound
      } else {
        hunks.append(range)
      }
    }
    var text = "--- \(oldName)\n+++ \(newName)\n"
    var (oldLine, newLine, place) = (1, 1, 0)
    var function = ""
    func advance(_ edit: Edit) {
      switch edit {
      case .same(let line):
        (oldLine, newLine) = (oldLine + 1, newLine + 1)
        note(line)
      case .removed: oldLine += 1
      case .added(let line):
        newLine += 1
        note(line)
      }
      place += 1
    }
    func note(_ line: Substring) {
      if line.hasPrefix("func ") { function = " " + line.prefix { $0 != "(" } }
      if line == "}" { function = "" }
    }
    for hunk in hunks {
      while place < hunk.lowerBound { advance(edits[place]) }
      let (oldStart, newStart, title) = (oldLine, newLine, function)
      var body = ""
      while place < hunk.upperBound {
        switch edits[place] {
        case .same(let line): body += " \(line)\n"
        case .removed(let line): body += "-\(line)\n"
        case .added(let line): body += "+\(line)\n"
        }
        advance(edits[place])
      }
      func range(_ start: Int, _ count: Int) -> String { "\(count == 0 ? start - 1 : start),\(count)" }
      text += "@@ -\(range(oldStart, oldLine - oldStart)) +\(range(newStart, newLine - newStart)) @@\(title)\n" + body
    }
    return text
  }
}

/// What a line of a printed module defines. No two lines of a text have the same key.
private struct LineKey: Hashable {
  var function: Substring
  var head: Substring
  /// Lines of the same function and head above it: blank lines, and functions of one name in a module that is not valid.
  var number: Int
  var isOperation: Bool

  static func keys(of lines: [Substring]) -> [LineKey] {
    var function: Substring = ""
    var counts: [LineKey: Int] = [:]
    return lines.map { line in
      if line.hasPrefix("func ") { function = line.prefix { $0 != "(" } }
      var head = line
      let isOperation = line.hasPrefix("  ") && !line.hasPrefix("  return")
      if isOperation {
        if line.hasPrefix("  %"), let end = line.firstRange(of: " = ") { head = line[..<end.lowerBound] }
      } else if line.hasPrefix("func ") {
        head = function
      } else if let word = ["dustin ", "stage ", "  return"].first(where: { line.hasPrefix($0) }) {
        head = line.prefix(word.count)
      } else if line.hasPrefix("dim ") {
        head = line.dropFirst(4).prefix { $0 != " " }
      } else if line.hasPrefix("weight ") || line.hasPrefix("constant ") {
        head = line.firstRange(of: " : ").map { line[..<$0.lowerBound] } ?? line
      }
      var key = LineKey(function: function, head: head, number: 0, isOperation: isOperation)
      counts[key, default: 0] += 1
      key.number = counts[key, default: 1] - 1
      if line == "}" { function = "" }
      return key
    }
  }
}
