/// A table in plain text: the first column to the left, the others to the right.
package struct TextTable {
  private var rows: [[String]]

  package init(_ header: [String]) { rows = [header] }

  package mutating func add(_ cells: [String]) { rows.append(cells) }

  package var text: String {
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0 }
    func line(_ cells: [String]) -> String {
      let padded = cells.enumerated().map { column, cell in
        let space = String(repeating: " ", count: widths[column] - cell.count)
        return column == 0 ? cell + space : space + cell
      }
      let text = padded.joined(separator: "  ")
      return String(text.reversed().drop { $0 == " " }.reversed())
    }
    let rule = widths.map { String(repeating: "-", count: $0) }.joined(separator: "  ")
    return ([line(rows[0]), rule] + rows.dropFirst().map(line)).joined(separator: "\n") + "\n"
  }
}

/// A number with a fixed count of decimals: `12.30`.
package func fixed(_ value: Double, _ decimals: Int) -> String {
  guard value.isFinite, abs(value) < 1e15 else { return "\(value)" }
  var scale = 1.0
  for _ in 0..<decimals { scale *= 10 }
  let scaled = (abs(value) * scale).rounded()
  let whole = Int(scaled / scale)
  let sign = value < 0 && scaled > 0 ? "-" : ""
  if decimals == 0 { return "\(sign)\(whole)" }
  let fraction = String(Int(scaled - Double(whole) * scale))
  return "\(sign)\(whole)." + String(repeating: "0", count: max(0, decimals - fraction.count)) + fraction
}

/// A number with groups of three digits: `32,768`.
package func grouped(_ value: Int) -> String {
  let digits = Array(String(value.magnitude))
  var text = ""
  for (index, digit) in digits.enumerated() {
    if index > 0, (digits.count - index) % 3 == 0 { text += "," }
    text.append(digit)
  }
  return (value < 0 ? "-" : "") + text
}

/// `1 block`, `2 blocks`.
package func counted(_ count: Int, _ one: String) -> String { "\(grouped(count)) \(one)\(count == 1 ? "" : "s")" }
