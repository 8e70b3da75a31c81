import DustinIR
import DustinSupport

/// Makes a variant of a function: a copy under a new name, for one reader.
///
///     derive{from=forward as=verify rows=all role=verify}
///     func @forward(…) { … %a = attend … }   →   func @forward(…) { … }
///                                                func @verify(…) { … %a = attend … {role = verify} … }
///
/// `rows=last` returns the first result's last row only: `last_row` in front of it, which `canonicalize` moves up.
/// Legal always: the copy computes what the original does, and the caller asks for one row of it.
public struct Derive: Pass {
  public enum Rows: String, CaseIterable, PassOptionValue { case all, last }
  public enum Role: String, CaseIterable, PassOptionValue { case prefill, draft, verify }

  public let name = "derive"
  public let summary = "Copies a function under a new name, for one reader."
  @PassOption("from", "the function to copy") public var source = "forward"
  @PassOption("as", "name of the copy; required") public var copyName = ""
  @PassOption("rows", "rows of the first result that the copy returns: one per token, or the last one") public
    var rows =
    Rows.all
  @PassOption("role", "what every attend of the copy is marked with; unchanged when not given") public var role: Role? =
    nil

  public init() {}

  public func validate() -> String? {
    copyName.isEmpty ? "derive needs as=NAME, the name of the copy" : nil
  }

  public func run(on module: Module, context: PassContext) throws {
    let original = try context.function(source, of: module)
    if module.function(copyName) != nil {
      throw DiagnosticError("repeated-function", "derive: the module already has a function @\(copyName)")
    }
    let copy = original.clone(as: copyName)
    if rows == .last {
      guard let first = copy.returns.first, first.type.rank == 2, first.isRows else {
        throw DiagnosticError(
          "derive-rows", "derive: the first result of @\(source) must be rows [T, N] for rows=last")
      }
      let type = TensorType(first.type.element, [.fixed(1), first.type.shape[1]])
      context.rewrite(copy) { rewriter in
        let lastRow = Operation(.lastRow, [OperandGroup("", [first])], results: [(first.name, type)])
        rewriter.setReturn(0, rewriter.insertAtEnd(lastRow).result)
      }
    }
    if let role {
      for operation in copy.body where operation.name == "attend" {
        operation.attributes["role"] = .word(role.rawValue)
      }
    }
    module.functions.append(copy)
    context.noteChange()
    context.count("ops", copy.body.count)
  }
}
