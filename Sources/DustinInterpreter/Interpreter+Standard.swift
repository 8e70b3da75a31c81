extension Interpreter {
  /// The implementations of the language's ops, by name.
  public static let standard: [String: OpImplementation] = [
    "embed": { try $0.embed() },
    "rmsnorm": { try $0.rmsnorm() },
    "linear": { try $0.linear() },
    "add": { try $0.elementwise { $0 + $1 } },
    "mul": { try $0.elementwise { $0 * $1 } },
    "silu": { try $0.siluRows() },
    "cast": { try $0.cast() },
    "reshape": { try $0.reshape() },
    "slice": { try $0.slice() },
    "last_row": { try $0.lastRow() },
    "rope": { try $0.rope() },
    "append": { try $0.append() },
    "attend": { try $0.attend() },
    "rope_append": { try $0.ropeAppend() },
    "score": { try $0.score() },
    "pool": { try $0.pool() },
    "select": { try $0.select() },
    "gather": { try $0.gather() },
  ]
}
