/// A value read from a JSON text (RFC 8259), with the place where it stands.
///
/// The reader is strict: no comments, no trailing commas, no duplicate keys, no NaN, no lone surrogates, no invalid UTF-8.
public struct JSONValue: Sendable {
  public enum Kind: Sendable {
    case null
    case bool(Bool)
    /// A number without fraction and exponent that fits into an Int.
    case int(Int)
    /// Every other number, also a whole one beyond Int (some files state 10^30 for "no limit").
    case double(Double)
    case string(String)
    case array([JSONValue])
    /// In the order of the text.
    case object([(key: String, value: JSONValue)])
  }

  public let kind: Kind
  private let buffer: SourceBuffer
  // 32 bits each: a vocabulary has half a million values. The parser refuses longer texts.
  private let start: UInt32
  private let end: UInt32

  init(_ kind: Kind, in buffer: SourceBuffer, _ start: Int, _ end: Int) {
    self.kind = kind
    self.buffer = buffer
    self.start = UInt32(truncatingIfNeeded: start)
    self.end = UInt32(truncatingIfNeeded: end)
  }

  /// The bytes of the text from the first to the last of this value.
  public var range: SourceRange { SourceRange(buffer, Int(start), Int(end)) }

  /// Reads a whole text as one value.
  ///
  /// - Parameter depthLimit: Arrays and objects nested deeper are refused.
  /// - Throws: `DiagnosticError` with id `json` that points at the first wrong byte.
  public static func parse(_ buffer: SourceBuffer, depthLimit: Int = 64) throws -> JSONValue {
    var parser = JSONParser(buffer: buffer, depthLimit: depthLimit)
    return try parser.parseText()
  }
}

extension JSONValue {
  /// The member of an object; nil for other values and missing keys. Linear in the number of members.
  public subscript(key: String) -> JSONValue? {
    guard case .object(let entries) = kind else { return nil }
    return entries.first { $0.key == key }?.value
  }

  public var isNull: Bool {
    if case .null = kind { return true }
    return false
  }

  public var boolValue: Bool? {
    if case .bool(let value) = kind { return value }
    return nil
  }

  public var intValue: Int? {
    if case .int(let value) = kind { return value }
    return nil
  }

  /// Any number.
  public var doubleValue: Double? {
    switch kind {
    case .int(let value): return Double(value)
    case .double(let value): return value
    default: return nil
    }
  }

  public var stringValue: String? {
    if case .string(let value) = kind { return value }
    return nil
  }

  public var arrayValue: [JSONValue]? {
    if case .array(let value) = kind { return value }
    return nil
  }

  /// The members of an object in the order of the text.
  public var objectEntries: [(key: String, value: JSONValue)]? {
    if case .object(let value) = kind { return value }
    return nil
  }

  /// What a message calls the kind of this value: `a string`, `an object`.
  public var kindDescription: String {
    switch kind {
    case .null: return "null"
    case .bool: return "a truth value"
    case .int: return "an integer"
    case .double: return "a number"
    case .string: return "a string"
    case .array: return "an array"
    case .object: return "an object"
    }
  }
}
