import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Signals and sets of a sequence. In bounds: their places were checked when the model was made, and a set's count is
/// held to its bound wherever it is read.
extension KVCache {
  /// The ascending positions of a set, plane by plane; empty before it was ever chosen.
  /// - Throws: `DiagnosticError` with id `value` when the program has no such set.
  public func set(named name: String) throws -> [[Int32]] {
    let value = try value(named: name, "set")
    guard case .set = model.program.sequenceValues[value].kind else { throw noValue(name, "set") }
    return (0..<model.program.sequenceValues[value].planes).map { Array(positions(ofSet: value, plane: $0)) }
  }

  /// A signal's score of every committed position, plane by plane.
  /// - Throws: `DiagnosticError` with id `value` when the program has no such signal.
  public func signal(named name: String) throws -> [[Float]] {
    let value = try value(named: name, "signal")
    guard model.program.sequenceValues[value].kind == .signal else { throw noValue(name, "signal") }
    return (0..<model.program.sequenceValues[value].planes).map { Array(scores(ofSignal: value, plane: $0)) }
  }

  /// Copies the signals and sets that both programs declare alike, as far as they concern the first positions.
  ///
  /// - Parameters:
  ///   - other: The same tokens in another model.
  ///   - count: Committed positions of both.
  ///   - names: Only these; nil: all.
  /// - Returns: The names of what was copied.
  /// - Throws: `DiagnosticError` with id `context` when one of the caches does not hold the positions.
  @discardableResult
  public func copyValues(from other: KVCache, positions count: Int, names: Set<String>? = nil) throws -> [String] {
    guard 0...min(length, other.length) ~= count else {
      throw DiagnosticError(
        "context", "signals of \(count) positions cannot be copied: the caches hold \(other.length) and \(length)")
    }
    var copied: [String] = []
    for (source, value) in other.model.program.sequenceValues.enumerated() where names?.contains(value.name) ?? true {
      guard let target = model.program.sequenceValues.firstIndex(of: value) else { continue }
      for plane in 0..<value.planes {
        switch value.kind {
        case .signal:
          memcpy(address(target, plane: plane), other.address(source, plane: plane), count * MemoryLayout<Float>.size)
        case .set:
          let positions = other.positions(ofSet: source, plane: plane)
          setCount(positions.count, of: target, plane: plane)
          memcpy(
            address(target, plane: plane) + 64, other.address(source, plane: plane) + 64,
            positions.count * MemoryLayout<Int32>.size)
          forget(from: count, inSet: target, plane: plane)
        }
      }
      copied.append(value.name)
    }
    return copied
  }

  /// Makes signals zero and sets empty.
  func clearValues(_ values: [Int]) {
    for value in values {
      let declared = model.program.sequenceValues[value]
      for plane in 0..<declared.planes {
        if declared.kind == .signal {
          memset(address(value, plane: plane), 0, capacity * MemoryLayout<Float>.size)
        } else {
          setCount(0, of: value, plane: plane)
        }
      }
    }
  }

  /// Every plane of the set holds a position.
  func isChosen(set value: Int) -> Bool {
    (0..<model.program.sequenceValues[value].planes).allSatisfy { !positions(ofSet: value, plane: $0).isEmpty }
  }

  /// Positions of a set's plane. Valid until the next step, truncation or copy.
  func positions(ofSet value: Int, plane: Int) -> UnsafeBufferPointer<Int32> {
    guard case .set(let bound) = model.program.sequenceValues[value].kind, values != nil else {
      return UnsafeBufferPointer(start: nil, count: 0)
    }
    let base = address(value, plane: plane)
    let count = min(max(Int(base.load(as: Int32.self)), 0), bound)
    return UnsafeBufferPointer(start: (base + 64).assumingMemoryBound(to: Int32.self), count: count)
  }

  /// A signal's plane over the committed positions. Valid until the next step, truncation or copy.
  func scores(ofSignal value: Int, plane: Int) -> UnsafeBufferPointer<Float> {
    guard model.program.sequenceValues[value].kind == .signal, values != nil else {
      return UnsafeBufferPointer(start: nil, count: 0)
    }
    return UnsafeBufferPointer(
      start: address(value, plane: plane).assumingMemoryBound(to: Float.self), count: length)
  }

  /// What `truncate` means for signals and sets: zeros behind the new length, and no position of it.
  func forgetValues(from length: Int) {
    for (index, value) in model.program.sequenceValues.enumerated() {
      for plane in 0..<value.planes {
        if value.kind == .signal {
          let size = MemoryLayout<Float>.size
          memset(address(index, plane: plane) + length * size, 0, (self.length - length) * size)
        } else {
          forget(from: length, inSet: index, plane: plane)
        }
      }
    }
  }

  /// What `fork` means for signals and sets; the memory of this cache is still zero, and its length that of the other.
  func takeValues(from other: KVCache) {
    for (index, value) in model.program.sequenceValues.enumerated() {
      for plane in 0..<value.planes {
        let bytes = value.kind == .signal ? length * MemoryLayout<Float>.size : value.setBytes
        memcpy(address(index, plane: plane), other.address(index, plane: plane), bytes)
      }
    }
  }

  // MARK: Places

  private func value(named name: String, _ kind: String) throws -> Int {
    guard let value = model.program.sequenceValues.firstIndex(where: { $0.name == name }) else {
      throw noValue(name, kind)
    }
    return value
  }

  private func noValue(_ name: String, _ kind: String) -> DiagnosticError {
    let names = model.program.sequenceValues.filter { ($0.kind == .signal) == (kind == "signal") }.map(\.name)
    let hint = suggestion(for: name, in: names)
    return DiagnosticError("value", "the program has no \(kind) '\(name)'\(hint)")
  }

  /// Only for programs with values, which the callers' indices prove: then there is memory for them.
  private func address(_ value: Int, plane: Int) -> UnsafeMutableRawPointer {
    let declared = model.program.sequenceValues[value]
    let place = model.valuePlaces[value]
    let stride = declared.kind == .signal ? capacity * MemoryLayout<Float>.size : declared.setBytes
    return (values ?? memory).base + place.fixed + place.perPosition * capacity + plane * stride
  }

  private func setCount(_ count: Int, of value: Int, plane: Int) {
    address(value, plane: plane).storeBytes(of: Int32(clamping: count), as: Int32.self)
  }

  private func forget(from length: Int, inSet value: Int, plane: Int) {
    let positions = positions(ofSet: value, plane: plane)
    var count = positions.count
    while count > 0, Int(positions[count - 1]) >= length { count -= 1 }
    if count < positions.count { setCount(count, of: value, plane: plane) }
  }
}
