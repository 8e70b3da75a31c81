import DustinCodegen
import DustinIR
import DustinInterpreter
import DustinPasses
import DustinRuntime
import DustinSupport

/// A small module, run through a pipeline and compiled for one CPU path.
struct CompiledModule {
  let module: Module
  let model: CompiledModel
  let plan: KernelPlan
  private let bytes: WeightBytes

  init(_ source: Module, weights: DictionaryWeights, pipeline: String, target: CPUTarget) throws {
    module = source.copy()
    var manager = PassManager()
    manager.verifyEach = true
    _ = try manager.run(PassPipeline.parse(pipeline, registry: .standard), on: module)
    let output = try Compiler.compile(module, for: target)
    plan = output.plan
    let memory = try Memory(count: output.program.weightBytes, for: "weights")
    bytes = WeightBytes(module, weights)
    try output.plan.packWeights(into: memory.base) { [bytes] in try bytes.lookup($0) }
    model = try CompiledModel(
      program: output.program, code: output.code, weights: UnsafeRawPointer(memory.base),
      owners: [memory])
  }

  init(_ random: RandomModule, pipeline: String, target: CPUTarget) throws {
    try self.init(random.module, weights: random.weights, pipeline: pipeline, target: target)
  }
}

extension CompiledModule {
  /// Packs the weights once more.
  func packWeights(into target: UnsafeMutableRawPointer) throws {
    try plan.packWeights(into: target) { [bytes] in try bytes.lookup($0) }
  }
}

/// The bytes of weights as files hold them, in the element types that the module declares.
private final class WeightBytes: @unchecked Sendable {
  // Immutable after init.
  private let tensors: [String: (ElementType, UnsafeMutableRawBufferPointer)]

  init(_ module: Module, _ weights: DictionaryWeights) {
    var tensors: [String: (ElementType, UnsafeMutableRawBufferPointer)] = [:]
    for global in module.globals {
      guard let floats = weights.tensors[global.name]?.floats else { continue }
      let size = global.type.element.byteCount
      let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: floats.count * size, alignment: 64)
      for (index, value) in floats.enumerated() {
        switch global.type.element {
        case .bf16: bytes.storeBytes(of: UInt16(value.bitPattern >> 16), toByteOffset: index * 2, as: UInt16.self)
        case .f16: bytes.storeBytes(of: Float16(value).bitPattern, toByteOffset: index * 2, as: UInt16.self)
        default: bytes.storeBytes(of: value, toByteOffset: index * 4, as: Float.self)
        }
      }
      tensors[global.name] = (global.type.element, bytes)
    }
    self.tensors = tensors
  }
  deinit { for (_, bytes) in tensors.values { bytes.deallocate() } }

  func lookup(_ name: String) throws -> (element: ElementType, bytes: UnsafeRawBufferPointer) {
    guard let (element, bytes) = tensors[name] else { throw DiagnosticError("unknown-weight", "no weight '\(name)'") }
    return (element, UnsafeRawBufferPointer(bytes))
  }
}

/// What the CPU paths of a test run are: all that this machine can execute.
func runnableTargets() throws -> [CPUTarget] {
  _ = try CPUTarget.host()
  return CPULevel.runnable.map { CPUTarget($0) }
}

/// The CPU paths of one round of a test that repeats itself with other numbers: all of them in the first round (0), then
/// the best and one of the others in turn.
func runnableTargets(round: Int) throws -> [CPUTarget] {
  let all = try runnableTargets()
  guard round > 0, all.count > 2 else { return all }
  let others = all.count - 1
  return [all[0], all[1 + (round + round / others) % others]]
}

/// FNV-1a over bytes: what the invariance tests compare.
struct BitHash: Hashable {
  private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325

  mutating func add(_ bytes: UnsafeRawBufferPointer) {
    for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01b3 }
  }
}
