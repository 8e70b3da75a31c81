import DustinSupport

/// Passes in order. `canonicalize,derive{as=verify rows=all}` is its text, which parses and prints.
public struct PassPipeline: CustomStringConvertible {
  public var passes: [any Pass]

  public init(_ passes: [any Pass] = []) { self.passes = passes }

  /// Parses a pipeline text. Throws all misspelt names and wrong values of it, with carets.
  /// - Parameter source: what messages call the text: the option that it came from.
  public static func parse(
    _ text: String, registry: PassRegistry, source: String = "--passes"
  ) throws -> PassPipeline {
    try parse(SourceBuffer(name: source, text: text), registry: registry)
  }

  public static func parse(_ buffer: SourceBuffer, registry: PassRegistry) throws -> PassPipeline {
    var parser = PipelineParser(buffer: buffer, registry: registry, open: [])
    return PassPipeline(try parser.parse())
  }

  /// Options that somebody set are printed, in the order of their declarations.
  public var description: String { passes.map(Self.text(of:)).joined(separator: ",") }

  public static func text(of pass: any Pass) -> String {
    let set = pass.options.filter { $0.isSet && !$0.text.isEmpty }
    let options = set.map { "\($0.name)=\(PipelineParser.quoted($0.text))" }
    return options.isEmpty ? pass.name : "\(pass.name){\(options.joined(separator: " "))}"
  }
}
