import CDustin
import DustinIR

/// What `dustin --load` asks for: who built this, for which Dustin, and its passes.
@_cdecl("dustin_plugin_1")
public func entry(_ plugin: UnsafeMutablePointer<dustin_plugin>) {
  plugin.pointee = dustin_plugin(
    compiler: dustin_compiler(), identity: PluginHost.identity,
    add: { PluginHost.register([RecentShare.init, SteadyDustin.init], at: $0) })
}
