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
    text(of: pass.name, pass.options.filter { $0.isSet && !$0.text.isEmpty }.map { ($0.name, $0.text) })
  }

  /// `name{key=value key=value}`, values quoted where they must be.
  public static func text(of name: String, _ options: [(key: String, value: String)]) -> String {
    let texts = options.map { "\($0.key)=\(PipelineParser.quoted($0.value))" }
    return texts.isEmpty ? name : "\(name){\(texts.joined(separator: " "))}"
  }
}
