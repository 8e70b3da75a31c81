/// Changes the body of a function one operation at a time, with the users of every value at hand.
///
/// Everything here costs time in proportion to the operands and users concerned, never to the length of the body: the
/// body is a linked list in two arrays, positions carry order numbers with gaps, and users are counted per value. The
/// function itself sees the new body when the rewriting ends; until then ask the rewriter, not `function.body`.
///
/// Every op is pure (caches are values, used linearly), so that an operation may be moved or dropped whenever its
/// operands stand above it and nobody needs its results. Get one from `PassContext.rewrite`.
public final class Rewriter {
  public let function: Function
  public let context: PassContext

  /// Called after an operation was inserted, or its operands or result types changed.
  var didTouch: ((Operation) -> Void)?
  /// Called before an operation gives up its operands: it changes them or leaves the body.
  var willDropOperands: ((Operation) -> Void)?

  private struct Node {
    var operation: Operation
    var previous: Int
    var next: Int
    var order: Int
  }
  private static let none = -1
  /// Distance of order numbers at the start: that many halvings fit between two neighbours before all are renumbered.
  private static let gap = 1 << 32

  private var nodes: [Node] = []
  private var indexOf: [Operation: Int] = [:]
  private var first = none
  private var last = none
  private var uses: [Value: [Operation: Int]] = [:]
  private var returnUses: [Value: Int] = [:]
  private var isChanged = false

  init(_ function: Function, context: PassContext) {
    self.function = function
    self.context = context
    nodes.reserveCapacity(function.body.count)
    for operation in function.body {
      link(operation, after: last)
      addUses(of: operation)
    }
    for value in function.returns { returnUses[value, default: 0] += 1 }
  }

  /// Hands the new body to the function.
  func finish() {
    if isChanged { function.setBody(operations) }
  }

  // MARK: Questions

  /// The body as it now is, in order.
  public var operations: [Operation] {
    var result: [Operation] = []
    result.reserveCapacity(indexOf.count)
    var index = first
    while index != Self.none {
      result.append(nodes[index].operation)
      index = nodes[index].next
    }
    return result
  }

  /// Whether the operation is (still) part of the body.
  public func contains(_ operation: Operation) -> Bool { indexOf[operation] != nil }

  /// The operations that use the value, in body order, each once.
  public func users(of value: Value) -> [Operation] {
    guard let users = uses[value] else { return [] }
    if users.count == 1 { return Array(users.keys) }
    return users.keys.sorted { order(of: $0) < order(of: $1) }
  }

  /// Operand slots and returns that hold the value.
  public func useCount(of value: Value) -> Int {
    (uses[value]?.values.reduce(0, +) ?? 0) + (returnUses[value] ?? 0)
  }

  public func isReturned(_ value: Value) -> Bool { returnUses[value] != nil }

  /// Whether the value is a result that goes to other functions, which find it by its name: neither plain nor a cache.
  public func isPassedOn(_ value: Value) -> Bool {
    isReturned(value)
      && zip(function.returns, function.returnRoles).contains { $0 === value && $1 != .plain && $1 != .cache }
  }

  /// The operation that uses the value, if exactly one operand slot does and no return.
  public func onlyUser(of value: Value) -> Operation? {
    guard !isReturned(value), let users = uses[value], users.count == 1, let (user, count) = users.first, count == 1
    else { return nil }
    return user
  }

  /// Whether nobody needs any result of the operation.
  public func isDead(_ operation: Operation) -> Bool { operation.results.allSatisfy { useCount(of: $0) == 0 } }

  /// Whether `a` stands above `b` in the body.
  public func isBefore(_ a: Operation, _ b: Operation) -> Bool { order(of: a) < order(of: b) }

  /// Whether the value can be an operand of an operation that stands where `anchor` stands.
  public func isAvailable(_ value: Value, at anchor: Operation) -> Bool {
    guard let definition = value.definingOperation else { return true }
    return contains(definition) && isBefore(definition, anchor)
  }

  // MARK: Changes

  @discardableResult
  public func insert(_ operation: Operation, before anchor: Operation) -> Operation {
    insert(operation, afterIndex: indexOf[anchor].map { nodes[$0].previous } ?? last)
  }

  @discardableResult
  public func insert(_ operation: Operation, after anchor: Operation) -> Operation {
    insert(operation, afterIndex: indexOf[anchor] ?? last)
  }

  @discardableResult
  public func insertAtStart(_ operation: Operation) -> Operation { insert(operation, afterIndex: Self.none) }

  @discardableResult
  public func insertAtEnd(_ operation: Operation) -> Operation { insert(operation, afterIndex: last) }

  /// Every use of `old` becomes a use of `new`, also in the returns: a result keeps its name there, since functions find
  /// each other's values by name.
  public func replaceUses(of old: Value, with new: Value) {
    if old === new { return }
    if isReturned(old), !isReturned(new), new.definingOperation != nil { new.name = old.name }
    let users = users(of: old)
    for user in users {
      update(user) {
        for group in user.groups.indices {
          for index in user.groups[group].values.indices where user.groups[group].values[index] === old {
            user.groups[group].values[index] = new
          }
        }
      }
    }
    for index in function.returns.indices where function.returns[index] === old { setReturn(index, new) }
  }

  /// Puts `new` where `old` stands; its results take over uses and names, one for one.
  @discardableResult
  public func replace(_ old: Operation, with new: Operation) -> Operation {
    insert(new, before: old)
    for (before, after) in zip(old.results, new.results) { after.name = before.name }
    replace(old, withValues: new.results)
    return new
  }

  /// Every result of the operation becomes the value in its place, and the operation goes.
  public func replace(_ old: Operation, withValues values: [Value]) {
    for (before, after) in zip(old.results, values) { replaceUses(of: before, with: after) }
    erase(old)
  }

  /// Takes the operation out of the body. Nobody may use its results any more.
  public func erase(_ operation: Operation) {
    guard let index = indexOf[operation] else { return }
    assert(isDead(operation), "\(operation.name) still has users")
    willDropOperands?(operation)
    removeUses(of: operation)
    let node = nodes[index]
    if node.previous == Self.none { first = node.next } else { nodes[node.previous].next = node.next }
    if node.next == Self.none { last = node.previous } else { nodes[node.next].previous = node.previous }
    indexOf[operation] = nil
    noteChange()
  }

  /// Erases the operation if it is dead, then those that only fed it.
  public func eraseIfDead(_ operation: Operation) {
    var pending = [operation]
    while let next = pending.popLast() {
      guard contains(next), isDead(next) else { continue }
      let operands = next.allOperands
      erase(next)
      pending += operands.compactMap(\.definingOperation)
    }
  }

  /// Changes groups or attributes of an operation in place.
  public func update(_ operation: Operation, _ change: () throws -> Void) rethrows {
    willDropOperands?(operation)
    removeUses(of: operation)
    defer {
      addUses(of: operation)
      noteChange()
      didTouch?(operation)
    }
    try change()
  }

  /// Gives a result another type; the users must accept it.
  public func retype(_ value: Value, _ type: TensorType) {
    value.type = type
    noteChange()
    if let operation = value.definingOperation { didTouch?(operation) }
    for user in users(of: value) { didTouch?(user) }
  }

  public func setReturn(_ index: Int, _ value: Value) {
    let old = function.returns[index]
    if let count = returnUses[old] { returnUses[old] = count == 1 ? nil : count - 1 }
    returnUses[value, default: 0] += 1
    function.returns[index] = value
    noteChange()
  }

  // MARK: The list

  private func noteChange() {
    isChanged = true
    context.noteChange()
  }

  private func order(of operation: Operation) -> Int { indexOf[operation].map { nodes[$0].order } ?? .max }

  private func insert(_ operation: Operation, afterIndex index: Int) -> Operation {
    link(operation, after: index)
    addUses(of: operation)
    noteChange()
    didTouch?(operation)
    return operation
  }

  private func link(_ operation: Operation, after previous: Int) {
    let next = previous == Self.none ? first : nodes[previous].next
    let index = nodes.count
    nodes.append(Node(operation: operation, previous: previous, next: next, order: 0))
    if previous == Self.none { first = index } else { nodes[previous].next = index }
    if next == Self.none { last = index } else { nodes[next].previous = index }
    indexOf[operation] = index
    number(index)
  }

  private func number(_ index: Int) {
    let node = nodes[index]
    switch (node.previous, node.next) {
    case (Self.none, Self.none): nodes[index].order = 0
    case (let previous, Self.none): nodes[index].order = nodes[previous].order + Self.gap
    case (Self.none, let next): nodes[index].order = nodes[next].order - Self.gap
    case (let previous, let next):
      let low = nodes[previous].order
      let high = nodes[next].order
      if high - low >= 2 {
        nodes[index].order = low + (high - low) / 2
      } else {
        renumber()
      }
    }
  }

  private func renumber() {
    var order = 0
    var index = first
    while index != Self.none {
      nodes[index].order = order
      order += Self.gap
      index = nodes[index].next
    }
  }

  private func addUses(of operation: Operation) {
    for group in operation.groups {
      for value in group.values { uses[value, default: [:]][operation, default: 0] += 1 }
    }
  }

  private func removeUses(of operation: Operation) {
    for value in operation.allOperands { uses[value]?[operation] = nil }
  }
}
