/// What the entry of a plug-in talks to. A whole plug-in beside its passes:
///
///     import CDustin
///     import DustinIR
///
///     @_cdecl("dustin_plugin_1")
///     public func entry(_ plugin: UnsafeMutablePointer<dustin_plugin>) {
///       plugin.pointee = dustin_plugin(
///         compiler: dustin_compiler(), identity: PluginHost.identity,
///         add: { PluginHost.register([MyPass.init, MyPreset.init], at: $0) })
///     }
///
/// It is built with the flags that `dustin plugin-flags` prints and links none of Dustin's libraries: their symbols are
/// the tool's own. `CDustin.h` declares the struct and the version that stands in the entry's name.
public struct PluginHost {
  /// What the plug-in registered.
  public private(set) var passes: [@Sendable () -> any Pass] = []
  public private(set) var pipelines: [NamedPipeline] = []

  public init() {}

  /// The class of modules: another one in a plug-in that was linked with a copy of its own, whose passes would see nothing.
  public static var identity: UnsafeRawPointer { unsafeBitCast(Module.self as AnyClass, to: UnsafeRawPointer.self) }

  /// Adds passes, presets and pipelines of a plug-in.
  /// - Parameter host: what `dustin_plugin.add` was given.
  public static func register(
    _ passes: [@Sendable () -> any Pass], pipelines: [NamedPipeline] = [], at host: UnsafeMutableRawPointer?
  ) {
    guard let host = host?.assumingMemoryBound(to: PluginHost.self) else { return }
    host.pointee.passes += passes
    host.pointee.pipelines += pipelines
  }
}
