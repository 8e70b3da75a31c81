import CDustin
import DustinIR
import DustinPasses
import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A dynamic library with passes: `--load PATH`. It uses the tool's own code, so that it must be built for this tool: what
/// can be told apart is refused here, with a cure.
struct PluginLibrary {
  let path: String

  /// Loads the library and adds its passes and pipelines. A library stays loaded until the process ends.
  ///
  /// - Throws: `DiagnosticError` that names the library: `plugin-file`, `plugin-host` (the tool cannot load any),
  ///   `plugin-symbol`, `plugin-entry`, `plugin-version`, `plugin-copy`, `plugin-compiler`, `pass-name`.
  func load(into registry: inout PassRegistry) throws {
    guard let resolved = realpath(path, nil) else {
      throw error("plugin-file", "cannot be opened: \(String(cString: strerror(errno)))")
    }
    defer { free(resolved) }
    // Symbol of the class Module: what a plug-in needs of the tool before anything else.
    let symbol = "$s" + (_mangledTypeName(Module.self) ?? "") + "N"
    guard let tool = dlopen(nil, RTLD_NOW), dlsym(tool, symbol) != nil else {
      throw DiagnosticError(
        "plugin-host", "this dustin shows no symbols, so that it cannot load the plug-in '\(path)'",
        notes: [.note("build it with 'make build', which links it with --export-dynamic")])
    }
    CrashReport.install()
    let plugin = try CrashReport.noting(plugin: path) {
      guard let library = dlopen(resolved, RTLD_NOW | RTLD_LOCAL) else { throw loadError() }
      var plugin = dustin_plugin()
      try entry(of: library)(&plugin)
      try check(plugin, library, symbol)
      return plugin
    }
    var host = PluginHost()
    CrashReport.noting(plugin: path) {
      withUnsafeMutablePointer(to: &host) { plugin.add?(UnsafeMutableRawPointer($0)) }
    }
    guard !host.passes.isEmpty || !host.pipelines.isEmpty else {
      throw error("plugin-entry", "brings no passes")
    }
    try registry.add(host.passes, from: path)
    for pipeline in host.pipelines where !registry.register(pipeline) {
      throw DiagnosticError("pass-name", "\(path): there is a pass or pipeline '\(pipeline.name)' already")
    }
    let names = CrashReport.noting(plugin: path) { host.passes.map { $0().name } }
    CrashReport.add(passes: names, of: path)
  }

  private func loadError() -> DiagnosticError {
    let text = dlerror().map { String(cString: $0) } ?? "for an unknown reason"
    if let range = text.firstRange(of: "undefined symbol: ") {
      let name = String(text[range.upperBound...].prefix { !$0.isWhitespace && $0 != "," })
      return error("plugin-symbol", "needs the symbol '\(name)', which this dustin has not", isBuild: true)
    }
    return error("plugin-file", "cannot be loaded: \(text)")
  }

  private func entry(of library: UnsafeMutableRawPointer) throws -> dustin_plugin_entry {
    let version = Int(DUSTIN_PLUGIN_VERSION)
    if let symbol = dlsym(library, "dustin_plugin_\(version)") {
      return unsafeBitCast(symbol, to: dustin_plugin_entry.self)
    }
    if let other = (1...99).first(where: { dlsym(library, "dustin_plugin_\($0)") != nil }) {
      throw error(
        "plugin-version",
        "is for version \(other) of the interface for plug-ins, and this dustin has version \(version)",
        isBuild: true)
    }
    throw DiagnosticError(
      "plugin-entry", "'\(path)' is no plug-in: it has no symbol 'dustin_plugin_\(version)'",
      notes: [.note("examples/plugin-library shows the entry of one")])
  }

  private func check(_ plugin: dustin_plugin, _ library: UnsafeMutableRawPointer, _ symbol: String) throws {
    let own = String(cString: dustin_compiler())
    let compiler = plugin.compiler.map { String(cString: $0) } ?? "none"
    guard compiler == own else {
      throw error(
        "plugin-compiler", "was built by another compiler than this dustin: '\(compiler)', not '\(own)'", isBuild: true)
    }
    // With a class of its own the passes would be given modules that they do not know, and match nothing.
    guard dlsym(library, symbol) == nil, plugin.identity == PluginHost.identity else {
      throw DiagnosticError(
        "plugin-copy", "the plug-in '\(path)' was linked with a copy of Dustin of its own, and would see no module",
        notes: [.note("link none of Dustin's libraries: the flags of 'dustin plugin-flags' are enough")])
    }
    guard plugin.add != nil else { throw error("plugin-entry", "brings no passes") }
  }

  private func error(_ id: String, _ message: String, isBuild: Bool = false) -> DiagnosticError {
    DiagnosticError(
      id, "the plug-in '\(path)' \(message)",
      notes: isBuild ? [.note("build it again for this dustin, with the flags of 'dustin plugin-flags'")] : [])
  }
}
