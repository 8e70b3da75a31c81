import DustinIR

/// Removes a function. Legal because functions do not call each other; the runtime finds them by name.
public struct Drop: Pass {
  public let name = "drop"
  public let summary = "Removes a function."
  @PassOption("function", "name of the function; required") public var functionName = ""

  public init() {}

  public func validate() -> String? {
    functionName.isEmpty ? "drop needs function=NAME" : nil
  }

  public func run(on module: Module, context: PassContext) throws {
    let function = try context.function(functionName, of: module)
    module.functions.removeAll { $0 === function }
    context.noteChange()
  }
}
