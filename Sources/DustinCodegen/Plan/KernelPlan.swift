import DustinIR
import DustinSupport

/// What a module becomes before LLVM: kernels of fixed shape, calls in order with the places they work on, weights.
public struct KernelPlan {
  /// One 64-bit word of a call.
  enum Argument: Equatable {
    case arena(Int)
    case weights(Int)
    /// Bytes per position of the cache regions before this one.
    case region(Int)
    /// Bytes in the sequence's memory of values; the second word of a pair counts them per position.
    case value(Int)

    var word: Int64 {
      switch self {
      case .arena(let offset), .weights(let offset), .region(let offset), .value(let offset): Int64(offset)
      }
    }
    var text: String {
      switch self {
      case .arena(let offset): "arena+\(offset)"
      case .weights(let offset): "weights+\(offset)"
      case .region(let offset): "cache+\(offset)"
      case .value(let offset): "values+\(offset)"
      }
    }
  }
  struct Call {
    let kernel: Int
    let arguments: [Argument]
    /// The op that the call computes, for dumps and for comparing with the interpreter.
    let operation: Operation
    /// All threads meet behind the call.
    let barrier = true
  }
  struct PlannedFunction {
    let name: String
    var calls: [Call]
  }

  public let target: CPUTarget
  var kernels: [any Kernel] = []
  var functions: [PlannedFunction] = []
  var weights = WeightLayout()
  /// Filled by the lowering.
  public internal(set) var program = Program(
    functions: [], kernelCount: 0, cacheRegions: [], arenaBytes: 0, weightBytes: 0, scratchBytesPerThread: 0)
  private var kernelNumbers: [String: Int] = [:]

  init(target: CPUTarget) { self.target = target }

  mutating func number(of kernel: any Kernel) -> Int {
    if let number = kernelNumbers[kernel.name] { return number }
    kernelNumbers[kernel.name] = kernels.count
    kernels.append(kernel)
    return kernels.count - 1
  }

  /// The plan as text: kernels, then every function's calls with buffers and barriers.
  public func text() -> String {
    var lines = ["plan for \(target)"]
    lines.append(
      "arena \(program.arenaBytes) bytes, weights \(program.weightBytes) bytes,"
        + " scratch \(program.scratchBytesPerThread) bytes a thread")
    for (index, region) in program.cacheRegions.enumerated() {
      lines.append(
        "cache \(index): \(region.isKeys ? "keys" : "values") \(region.heads) x \(region.dim) \(region.element),"
          + " \(region.bytesPerPosition) bytes a position")
    }
    for (index, kernel) in kernels.enumerated() {
      lines.append("kernel \(index): \(kernel.name)(\(kernel.argumentNames.joined(separator: ", ")))")
    }
    for function in functions {
      lines.append("func @\(function.name)")
      for call in function.calls {
        let kernel = kernels[call.kernel]
        let arguments = zip(kernel.argumentNames, call.arguments).map { "\($0) = \($1.text)" }
        lines.append("  \(kernel.name) \(arguments.joined(separator: ", "))\(call.barrier ? "; barrier" : "")")
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }
}
