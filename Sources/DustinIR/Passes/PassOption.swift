/// A value that an option of a pass can hold. Whole numbers, fractions, flags, texts, enums of words, optionals and
/// lists of these are ready to use; an enum needs only the conformance: `enum Rows: String, CaseIterable, PassOptionValue`.
public protocol PassOptionValue: Equatable {
  /// What may be written: `a whole number`, `all or last`.
  static var optionKind: String { get }
  /// The words that may be written, if they are few: for suggestions.
  static var optionWords: [String] { get }
  /// Nil when the text is not of the kind.
  init?(optionText: String)
  /// Reads back to the same value.
  var optionText: String { get }
}

extension PassOptionValue {
  public static var optionWords: [String] { [] }
}

extension Int: PassOptionValue {
  public static var optionKind: String { "a whole number" }
  public init?(optionText: String) { self.init(optionText) }
  public var optionText: String { String(self) }
}

extension Double: PassOptionValue {
  public static var optionKind: String { "a number" }
  public init?(optionText: String) {
    guard let value = Double(optionText), value.isFinite else { return nil }
    self = value
  }
  public var optionText: String { String(self) }
}

extension Bool: PassOptionValue {
  public static var optionKind: String { "true or false" }
  public static var optionWords: [String] { ["true", "false"] }
  public init?(optionText: String) { self.init(optionText) }
  public var optionText: String { String(self) }
}

extension String: PassOptionValue {
  public static var optionKind: String { "a text" }
  public init?(optionText: String) { self = optionText }
  public var optionText: String { self }
}

extension PassOptionValue where Self: RawRepresentable & CaseIterable, RawValue == String {
  public static var optionWords: [String] { allCases.map(\.rawValue) }
  public static var optionKind: String {
    let words = optionWords
    guard let last = words.last, words.count > 1 else { return words.joined() }
    return words.dropLast().joined(separator: ", ") + " or " + last
  }
  public init?(optionText: String) { self.init(rawValue: optionText) }
  public var optionText: String { rawValue }
}

extension Optional: PassOptionValue where Wrapped: PassOptionValue {
  public static var optionKind: String { Wrapped.optionKind }
  public static var optionWords: [String] { Wrapped.optionWords }
  public init?(optionText: String) {
    guard let value = Wrapped(optionText: optionText) else { return nil }
    self = value
  }
  public var optionText: String { self?.optionText ?? "" }
}

/// `[1,4,9]`
extension Array: PassOptionValue where Element: PassOptionValue {
  public static var optionKind: String { "a list in brackets, each \(Element.optionKind)" }
  public init?(optionText: String) {
    guard optionText.first == "[", optionText.last == "]", optionText.count >= 2 else { return nil }
    var values: [Element] = []
    for part in optionText.dropFirst().dropLast().split(separator: ",", omittingEmptySubsequences: true) {
      var text = part
      while text.first == " " { text.removeFirst() }
      while text.last == " " { text.removeLast() }
      guard let value = Element(optionText: String(text)) else { return nil }
      values.append(value)
    }
    self = values
  }
  public var optionText: String { "[" + map(\.optionText).joined(separator: ",") + "]" }
}

/// One declared option, whatever its type: what the pipeline parser, `dustin passes` and the documentation see.
public protocol PassOptionProtocol {
  var name: String { get }
  /// Meaning with unit, constraint, cost and source.
  var summary: String { get }
  /// What may be written.
  var kind: String { get }
  var words: [String] { get }
  /// Nil when the default is "not given".
  var defaultText: String? { get }
  /// Whether somebody set it, to whatever value.
  var isSet: Bool { get }
  /// The value as a pipeline text shows it.
  var text: String { get }
  /// False when the text is not of the option's kind.
  func read(_ text: String) -> Bool
}

/// Declares an option of a pass: `@PassOption("budget", "positions a set may hold, at least 1") var budget = 512`.
///
/// The value lies in a box that `Pass.options` finds by reflection, so a copy of a pass shares its options with the
/// original: make a new pass rather than copy and change one.
@propertyWrapper
public struct PassOption<Value: PassOptionValue>: PassOptionProtocol {
  private final class Box {
    var value: Value
    var isSet = false
    init(_ value: Value) { self.value = value }
  }
  public let name: String
  public let summary: String
  private let defaultValue: Value
  private let box: Box

  public init(wrappedValue: Value, _ name: String, _ summary: String) {
    self.name = name
    self.summary = summary
    defaultValue = wrappedValue
    box = Box(wrappedValue)
  }

  public var wrappedValue: Value {
    get { box.value }
    nonmutating set {
      box.value = newValue
      box.isSet = true
    }
  }
  public var kind: String { Value.optionKind }
  public var words: [String] { Value.optionWords }
  public var defaultText: String? {
    let text = defaultValue.optionText
    return text.isEmpty ? nil : text
  }
  public var isSet: Bool { box.isSet }
  public var text: String { box.value.optionText }

  public func read(_ text: String) -> Bool {
    guard let value = Value(optionText: text) else { return false }
    box.value = value
    box.isSet = true
    return true
  }
}
