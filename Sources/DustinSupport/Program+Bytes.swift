// A program as bytes, in the order of its declarations. The runtime checks what the numbers mean (`CompiledModel.init`);
// here only the form is checked.

extension Program {
  /// Changes whenever the bytes or their meaning do.
  public static let formatVersion: UInt32 = 1

  public func serialized() -> [UInt8] {
    var writer = ByteWriter()
    writer.add(Self.formatVersion)
    writer.add(functions) { $0.write(to: &$1) }
    writer.add(kernelCount)
    writer.add(cacheRegions) { region, writer in
      writer.add(region.isKeys)
      writer.add(region.heads)
      writer.add(region.dim)
      writer.add(region.element.rawValue)
      writer.add(region.layout.rawValue)
    }
    for size in [arenaBytes, weightBytes, scratchBytesPerThread] { writer.add(size) }
    writer.add(sequenceValues) { value, writer in
      writer.add(value.name)
      switch value.kind {
      case .signal: writer.add(0)
      case .set(let bound): writer.add(bound)
      }
      writer.add(value.planes)
    }
    for number in [policy.refresh, policy.denseEvery, policy.observe] { writer.add(number) }
    return writer.bytes
  }

  /// - Throws: `DiagnosticError` with id `damaged`, or `program` for a program of another version.
  public init(serialized bytes: [UInt8], _ what: String = "the program") throws {
    var reader = ByteReader(bytes, what)
    let version = try reader.read(UInt32.self)
    guard version == Self.formatVersion else {
      throw DiagnosticError("program", "\(what) has the format \(version); only \(Self.formatVersion) is known")
    }
    let functions = try reader.elements { try Function(from: &$0) }
    let kernels = try reader.read(Int.self)
    let regions = try reader.elements { reader in
      CacheRegion(
        isKeys: try reader.bool(), heads: try reader.read(Int.self), dim: try reader.read(Int.self),
        element: try Element(from: &reader), layout: try CacheRegion.Layout(from: &reader))
    }
    self.init(
      functions: functions, kernelCount: kernels, cacheRegions: regions, arenaBytes: try reader.read(Int.self),
      weightBytes: try reader.read(Int.self), scratchBytesPerThread: try reader.read(Int.self))
    sequenceValues = try reader.elements { reader in
      let name = try reader.text()
      let bound = try reader.read(Int.self)
      return SequenceValue(
        name: name, kind: bound == 0 ? .signal : .set(bound: bound), planes: try reader.read(Int.self))
    }
    policy = Policy(
      refresh: try reader.read(Int.self), denseEvery: try reader.read(Int.self), observe: try reader.read(Int.self))
    try reader.finish()
  }
}

extension Program.Function {
  fileprivate func write(to writer: inout ByteWriter) {
    writer.add(name)
    writer.add(maxRows)
    writer.add(table)
    writer.add(arguments) { $0.write(to: &$1) }
    writer.add(results) { $0.write(to: &$1) }
    writer.add(isExact)
    writer.add(tokenLimit)
    writer.add(reads.perPosition)
    writer.add(reads.densePerPosition)
    writer.add(reads.perSelected) { selected, writer in
      writer.add(selected.set)
      writer.add(selected.bytes)
    }
    writer.add(partialBytes)
  }

  fileprivate init(from reader: inout ByteReader) throws {
    self.init(
      name: try reader.text(), maxRows: try reader.read(Int.self), table: try reader.integers(Int64.self),
      arguments: try reader.elements { try Program.Port(from: &$0) },
      results: try reader.elements { try Program.Port(from: &$0) }, isExact: try reader.bool(),
      tokenLimit: try reader.read(Int.self))
    reads.perPosition = try reader.read(Int.self)
    reads.densePerPosition = try reader.read(Int.self)
    reads.perSelected = try reader.elements { reader in
      Program.CacheReads.Selected(set: try reader.read(Int.self), bytes: try reader.read(Int.self))
    }
    partialBytes = try reader.read(Int.self)
  }
}

extension Program.Port {
  fileprivate func write(to writer: inout ByteWriter) {
    writer.add(name)
    writer.add(role)
    switch place {
    case .arena(let offset, let rowBytes, let count, let element, let perSequence):
      writer.add(0 as UInt8)
      for number in [offset, rowBytes, count] { writer.add(number) }
      writer.add(element.rawValue)
      writer.add(perSequence)
    case .cache(let region):
      writer.add(1 as UInt8)
      writer.add(region)
    case .sequence(let value):
      writer.add(2 as UInt8)
      writer.add(value)
    }
  }

  fileprivate init(from reader: inout ByteReader) throws {
    let (name, role) = (try reader.text(), try reader.text())
    switch try reader.read(UInt8.self) {
    case 0:
      let (offset, rowBytes) = (try reader.read(Int.self), try reader.read(Int.self))
      let (count, element) = (try reader.read(Int.self), try Program.Element(from: &reader))
      self.init(
        name: name, role: role,
        place: .arena(
          offset: offset, rowBytes: rowBytes, count: count, element: element, perSequence: try reader.bool()))
    case 1: self.init(name: name, role: role, place: .cache(region: try reader.read(Int.self)))
    case 2: self.init(name: name, role: role, place: .sequence(value: try reader.read(Int.self)))
    default: throw reader.damaged("a port lies nowhere")
    }
  }
}

extension RawRepresentable where RawValue == UInt8 {
  fileprivate init(from reader: inout ByteReader) throws {
    guard let value = Self(rawValue: try reader.read(UInt8.self)) else {
      throw reader.damaged("a value is none of its kind")
    }
    self = value
  }
}
