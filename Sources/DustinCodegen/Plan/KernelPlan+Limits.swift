import DustinSupport

/// A program that finds out what a machine can do, run like any other one.
public struct LimitsProgram {
  /// Reads `program.weightBytes` bytes once, on all threads.
  public static let read = "read"
  /// Products in registers: of pairs of bf16 where the CPU has them, and of f32.
  public static let bf16 = "bf16"
  public static let f32 = "f32"

  public let output: Compiler.Output
  /// Floating-point operations of one thread in one call of a function.
  public let operations: [String: Double]

  /// - Parameter readBytes: more than the caches hold; rounded up to whole blocks. The caller provides the memory, as the
  ///   weights, and touches it first: pages that nobody wrote share one page of zeros.
  public init(for target: CPUTarget, readBytes: Int) throws {
    var plan = KernelPlan(target: target)
    let blocks = max(1, (readBytes + ReadKernel.blockBytes - 1) / ReadKernel.blockBytes)
    let sums = min(12, target.tile.rows * target.tile.vectors)
    let (firstPlace, threads) = (64, 1024)
    var operations: [String: Double] = [:]
    func add(_ name: String, _ kernel: any Kernel, _ arguments: [Int64]) {
      let table = [Int64(plan.number(of: kernel)), 1, Int64(arguments.count)] + arguments
      // The runtime gives every function token ids; this one ignores them.
      let ids = Program.Port(
        name: "ids", role: "plain",
        place: .arena(offset: 0, rowBytes: 4, count: 1, element: .i32, perSequence: false))
      plan.program.functions.append(
        Program.Function(name: name, maxRows: 1, table: table, arguments: [ids], results: [], isExact: true))
    }
    add(Self.read, ReadKernel(blocks: blocks), [0, Int64(firstPlace)])
    let dots: [(String, Dot)] = [(Self.bf16, target.hasBF16Dot ? .bf16Dot : .bf16FMA), (Self.f32, .f32FMA)]
    for (name, dot) in dots {
      let kernel = PeakKernel(dot: dot, sums: sums, repetitions: 1 << 20)
      operations[name] = kernel.operations
      add(name, kernel, [Int64(firstPlace)])
    }
    plan.program.arenaBytes = firstPlace + threads * 256
    plan.program.weightBytes = blocks * ReadKernel.blockBytes
    plan.program.scratchBytesPerThread = 64
    plan.program.kernelCount = plan.kernels.count
    output = Compiler.Output(plan: plan, code: try plan.codeImage())
    self.operations = operations
  }
}
