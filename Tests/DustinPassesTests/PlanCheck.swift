import DustinIR

/// Looks at a planned function as the kernels will: which bytes does every value hold, and does anybody overwrite
/// them while they are needed? It knows nothing about how the plan was made.
struct PlanCheck {
  struct Conflict: CustomStringConvertible {
    let description: String
  }
  private struct Place {
    let name: String
    let bytes: Range<Int>
    /// First operation during which the bytes belong to the value, and the last that reads them.
    let life: ClosedRange<Int>
    /// Values that are one memory by right.
    let group: Int
  }

  static func conflicts(in function: Function, maxRows: Int) -> [Conflict] {
    var places: [Place] = []
    var lastUse: [Value: Int] = [:]
    for (index, operation) in function.body.enumerated() {
      for operand in operation.allOperands { lastUse[operand] = index }
    }
    for value in function.returns { lastUse[value] = function.body.count }

    var groupOf: [Value: Int] = [:]
    var nextGroup = 0
    let arguments = Arena.argumentOffsets(of: function, maxRows: maxRows).offsets
    var offsetOf: [Value: Int] = [:]
    for (index, offset) in arguments {
      let argument = function.arguments[index]
      groupOf[argument] = nextGroup
      offsetOf[argument] = offset
      let size = Arena.byteCount(argument.type, maxRows: maxRows)
      places.append(
        Place(name: argument.name, bytes: offset..<(offset + size), life: -1...function.body.count, group: nextGroup))
      nextGroup += 1
    }
    var conflicts: [Conflict] = []
    for (index, operation) in function.body.enumerated() {
      var offsets: [Int] = []
      if case .array(let values)? = operation.attributes["at"] {
        offsets = values.compactMap { if case .int(let offset) = $0 { offset } else { nil } }
      }
      let rows = operation.results.filter(\.isRows)
      if offsets.count != rows.count {
        conflicts.append(
          Conflict(description: "\(operation.name) has \(offsets.count) places for \(rows.count) results"))
        continue
      }
      for (result, offset) in zip(rows, offsets) {
        var group = nextGroup
        nextGroup += 1
        var start = index
        if operation.name == "reshape", let source = offsetOf[operation.operands[0]] {
          group = groupOf[operation.operands[0]] ?? group
          if source != offset {
            conflicts.append(Conflict(description: "the reshape \(result.name) is not where its operand is"))
          }
        } else if operation.name == "linear", let residual = operation[group: "residual"].first,
          offsetOf[residual] == offset, lastUse[residual] == index, operation.operands[0] !== residual,
          residual.type == result.type
        {
          // In place: the residual's bytes become the result's while the op runs.
          start = index + 1
        }
        groupOf[result] = group
        offsetOf[result] = offset
        // A result that nobody reads holds its bytes during the op only, and in place these are the residual's.
        let end = lastUse[result] ?? index
        if start > end { continue }
        let size = Arena.byteCount(result.type, maxRows: maxRows)
        places.append(
          Place(name: result.name, bytes: offset..<(offset + size), life: start...end, group: group))
      }
      if let type = Arena.scratchType(of: operation) {
        guard let offset = operation.attributes.int("scratch") else {
          conflicts.append(Conflict(description: "\(operation.name) has no scratch rows"))
          continue
        }
        let size = Arena.byteCount(type, maxRows: maxRows)
        places.append(
          Place(name: "scratch \(index)", bytes: offset..<(offset + size), life: index...index, group: nextGroup))
        nextGroup += 1
      }
    }
    for (index, a) in places.enumerated() {
      for b in places[(index + 1)...]
      where a.group != b.group && a.bytes.overlaps(b.bytes) && a.life.overlaps(b.life) {
        conflicts.append(
          Conflict(description: "@\(function.name): %\(a.name) \(a.life) and %\(b.name) \(b.life) share bytes"))
      }
    }
    return conflicts
  }

  /// The end of the last place.
  static func arenaBytes(of function: Function, maxRows: Int) -> Int {
    var end = Arena.argumentOffsets(of: function, maxRows: maxRows).end
    for operation in function.body {
      if case .array(let values)? = operation.attributes["at"] {
        for (result, value) in zip(operation.results.filter(\.isRows), values) {
          if case .int(let offset) = value {
            end = max(end, offset + Arena.byteCount(result.type, maxRows: maxRows))
          }
        }
      }
      if let type = Arena.scratchType(of: operation), let offset = operation.attributes.int("scratch") {
        end = max(end, offset + Arena.byteCount(type, maxRows: maxRows))
      }
    }
    return end
  }
}
