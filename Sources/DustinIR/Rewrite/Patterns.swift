import DustinSupport

/// One rewrite, before → after, around a root operation.
public protocol RewritePattern {
  /// Kebab-case; the name of its counter in the statistics.
  var name: String { get }
  /// Names of the ops that can be the root.
  var roots: [String] { get }
  /// Applies the rewrite if it fits at the root and says whether it did. A pattern that returns false has changed
  /// nothing.
  func apply(at root: Operation, _ rewriter: Rewriter) throws -> Bool
}

extension Rewriter {
  /// Applies the patterns until none fits, and drops what becomes dead on the way.
  ///
  /// A worklist holds the operations whose surroundings changed, so that the cost follows the number of rewrites.
  /// Patterns are tried in order; the result is the same for the same input.
  /// - Throws: what a pattern throws, or a diagnostic if the patterns undo each other for ever.
  public func apply(_ patterns: [any RewritePattern]) throws {
    var byRoot: [String: [any RewritePattern]] = [:]
    for pattern in patterns {
      for root in pattern.roots { byRoot[root, default: []].append(pattern) }
    }
    var worklist = Worklist(operations.reversed())
    didTouch = { operation in
      worklist.push(operation)
      for operand in operation.allOperands {
        if let definition = operand.definingOperation { worklist.push(definition) }
      }
      for result in operation.results {
        for user in self.users(of: result) { worklist.push(user) }
      }
    }
    willDropOperands = { operation in
      // The operands lose a user: they may be dead, or used only once, now.
      for operand in operation.allOperands {
        if let definition = operand.definingOperation { worklist.push(definition) }
      }
    }
    defer {
      didTouch = nil
      willDropOperands = nil
    }
    // Every pattern of a sound set makes progress in some measure; far more rewrites than this mean a cycle.
    var remaining = 64 * (operations.count + 64)
    while let operation = worklist.pop() {
      guard contains(operation) else { continue }
      if isDead(operation) {
        erase(operation)
        context.count("dead-ops")
        continue
      }
      for pattern in byRoot[operation.name] ?? [] where try pattern.apply(at: operation, self) {
        context.count(pattern.name)
        remaining -= 1
        if remaining == 0 {
          throw DiagnosticError(
            "endless-rewriting",
            "\(context.passName) did not come to an end in @\(function.name); the last pattern was '\(pattern.name)'")
        }
        if contains(operation) { worklist.push(operation) }
        break
      }
    }
  }
}

/// A stack in which every operation stands at most once.
private struct Worklist {
  private var stack: [Operation]
  private var members: Set<Operation>

  init(_ operations: some Sequence<Operation>) {
    stack = Array(operations)
    members = Set(stack)
  }

  mutating func push(_ operation: Operation) {
    if members.insert(operation).inserted { stack.append(operation) }
  }

  mutating func pop() -> Operation? {
    guard let operation = stack.popLast() else { return nil }
    members.remove(operation)
    return operation
  }
}
