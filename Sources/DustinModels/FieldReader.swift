import DustinSupport

/// Reads the members of one JSON object and collects every complaint, so that a user sees all of a file's errors at once.
///
/// A member at fault yields a harmless stand-in; nobody may use the values before `finish()` has returned.
final class FieldReader {
  let object: JSONValue
  /// What messages call the object: `config.json`, `rope_scaling`.
  let what: String
  private(set) var errors: [Diagnostic] = []
  private var faulty: Set<String> = []

  init(_ object: JSONValue, _ what: String) {
    self.object = object
    self.what = what
    if object.objectEntries == nil { report("\(what) must be an object, not \(object.kindDescription)", at: object) }
  }

  /// Throws what was found, if anything was.
  func finish() throws {
    if !errors.isEmpty { throw DiagnosticError(errors) }
  }

  func report(_ message: String, at value: JSONValue, notes: [Diagnostic] = []) {
    errors.append(Diagnostic("model-config", message, at: value.range, notes: notes))
  }

  /// Takes over the complaints about a nested object.
  func absorb(_ other: FieldReader) { errors += other.errors }

  /// Whether the members were read without complaint, so that it makes sense to compare them.
  func areSound(_ keys: String...) -> Bool { faulty.isDisjoint(with: keys) }

  /// The member, or nil when it is absent or null: the two mean the same in these files.
  func value(_ key: String) -> JSONValue? {
    guard let value = object[key], !value.isNull else { return nil }
    return value
  }

  func int(_ key: String, in range: ClosedRange<Int>, default fallback: Int? = nil) -> Int {
    number(key, in: range, fallback, "an integer", \.intValue)
  }

  func double(_ key: String, in range: ClosedRange<Double>, default fallback: Double? = nil) -> Double {
    number(key, in: range, fallback, "a number", \.doubleValue)
  }

  private func number<Number: Comparable>(
    _ key: String, in range: ClosedRange<Number>, _ fallback: Number?, _ kind: String, _ read: (JSONValue) -> Number?
  ) -> Number {
    guard let value = value(key) else { return fallback ?? missing(key, range.lowerBound) }
    guard let number = read(value) else {
      return fault(key, "must be \(kind), not \(describe(value))", at: value, range.lowerBound)
    }
    guard range.contains(number) else {
      return fault(
        key, "is \(number); it must be from \(range.lowerBound) to \(range.upperBound)", at: value, range.lowerBound)
    }
    return number
  }

  func bool(_ key: String, default fallback: Bool) -> Bool {
    guard let value = value(key) else { return fallback }
    guard let flag = value.boolValue else {
      return fault(key, "must be true or false, not \(describe(value))", at: value, fallback)
    }
    return flag
  }

  func string(_ key: String) -> String? {
    guard let value = value(key) else { return nil }
    guard let text = value.stringValue else {
      return fault(key, "must be a string, not \(describe(value))", at: value, nil)
    }
    return text
  }

  /// Token ids: one integer or an array of them.
  func tokenIDs(_ key: String) -> [Int] {
    guard let value = value(key) else { return [] }
    var ids: [Int] = []
    for item in value.arrayValue ?? [value] {
      guard let id = item.intValue, (0...Int(Int32.max)).contains(id) else {
        return fault(key, "must hold token ids, not \(describe(item))", at: item, [])
      }
      if !ids.contains(id) { ids.append(id) }
    }
    return ids
  }

  /// Complains about members that are not in `known`: each could change what the others mean.
  func refuseUnknown(besides known: [String]) {
    for (key, value) in object.objectEntries ?? [] where !known.contains(key) && !value.isNull {
      let hint = closestName(to: key, in: known).map { [Diagnostic.note("did you mean '\($0)'?")] } ?? []
      report("'\(key)' in \(what) is not supported", at: value, notes: hint)
    }
  }

  private func fault<Value>(_ key: String, _ message: String, at value: JSONValue, _ standIn: Value) -> Value {
    faulty.insert(key)
    report("'\(key)' \(message)", at: value)
    return standIn
  }

  private func missing<Value>(_ key: String, _ standIn: Value) -> Value {
    faulty.insert(key)
    let others = (object.objectEntries ?? []).map(\.key)
    let hint = closestName(to: key, in: others).map { [Diagnostic.note("did you mean '\(key)' by '\($0)'?")] } ?? []
    // The object's first byte: a caret below the whole file would say nothing.
    let range = object.range
    errors.append(
      Diagnostic(
        "model-config", "\(what) lacks '\(key)'", at: SourceRange(range.buffer, range.start, range.start + 1),
        notes: hint))
    return standIn
  }

  private func describe(_ value: JSONValue) -> String {
    switch value.kind {
    case .int(let number): "\(number)"
    case .double(let number): "\(number)"
    case .bool(let flag): "\(flag)"
    case .string(let text) where text.utf8.count <= 40: JSON.quoted(text)
    default: value.kindDescription
    }
  }
}
