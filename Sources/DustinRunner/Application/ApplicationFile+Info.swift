import DustinSupport

extension ApplicationFile {
  /// `--info`: what it was made from, what its code needs, and how it keeps keys and values.
  func infoText() throws -> String {
    let info = try info()
    var lines: [(String, String)] = []
    for model in info.models {
      lines.append((model.role, "\(model.name), hash \(model.hash), \(grouped(model.vocabularySize)) tokens"))
      let context = "\(grouped(model.contextSize)) positions"
      lines.append(
        (
          "  context",
          model.contextSize == model.contextLength ? context : "\(context) of \(grouped(model.contextLength))"
        ))
      lines.append(("  passes", model.passes))
      if let level = info.levels.first {
        for line in Self.layout(try program(model.role, level)) { lines.append(("  KV layout", line)) }
      }
      let weights = try section("\(model.role)/weights")
      let place = weights.isElsewhere ? " in '\(info.weightsFile ?? "")'" : ""
      lines.append(("  weights", "\(grouped(weights.count)) bytes, packed\(place)"))
    }
    lines.append(("preset", info.preset.map { $0.text + ($0.budget.map { ", budget \($0)" } ?? "") } ?? "none"))
    lines.append(("numerics", info.numerics))
    let here = CPULevel.runnable.first { info.levels.contains($0) }.map { "; here it runs '\($0)'" }
    lines.append(("CPU levels", info.levels.map(\.rawValue).joined(separator: ", ") + (here ?? "; none runs here")))
    lines.append(("compiled by", "dustin \(info.dustin), LLVM \(info.llvm)"))
    let width = lines.map(\.0.count).max() ?? 0
    return lines.map { $0 + String(repeating: " ", count: width + 2 - $0.count) + $1 + "\n" }.joined()
  }

  /// The same for machines: the info with sizes, layouts and the level that runs here.
  func infoJSON() throws -> JSON {
    let info = try info()
    guard case .object(var entries) = info.json else { return info.json }
    let levels = info.levels
    let here = CPULevel.runnable.first { levels.contains($0) }
    entries.append((key: "runs", value: here.map { .string($0.rawValue) } ?? .null))
    entries.append(
      (
        key: "kv",
        value: .object(
          try info.models.map { model in
            let program = try levels.first.map { try self.program(model.role, $0) }
            return (
              key: model.role,
              value: .object([
                (key: "bytes_per_position", value: .int(program?.cacheBytesPerPosition ?? 0)),
                (key: "layout", value: .array((program.map(Self.layout) ?? []).map { .string($0) })),
              ])
            )
          })
      ))
    entries.append(
      (
        key: "sections",
        value: .object(table.sections.map { section in (key: section.name, value: .int(section.count)) })
      ))
    return .object(entries)
  }

  /// `10 layers of 2 x 64 bf16, in packed blocks of 16 positions, 5,120 bytes a position`, a line for each kind.
  private static func layout(_ program: Program) -> [String] {
    var kinds: [(region: Program.CacheRegion, count: Int)] = []
    for var region in program.cacheRegions {
      region.isKeys = true
      if let known = kinds.firstIndex(where: { $0.region == region }) {
        kinds[known].count += 1
      } else {
        kinds.append((region, 1))
      }
    }
    var lines = kinds.map { region, count in
      let how = region.layout == .packed ? "packed blocks of 16 positions" : "rows, one behind the other by position"
      return
        "keys and values of \(counted(count / 2, "layer")), \(counted(region.heads, "head")) of \(region.dim) \(region.element) each: "
        + "\(how), \(grouped(region.bytesPerPosition * count)) bytes a position"
    }
    for value in program.sequenceValues {
      switch value.kind {
      case .signal: lines.append("signal %\(value.name): \(value.bytesPerPosition) bytes a position")
      case .set(let bound):
        let planes = value.planes > 1 ? "\(value.planes) times " : ""
        lines.append("set %\(value.name): \(planes)up to \(bound) positions")
      }
    }
    return lines
  }
}
