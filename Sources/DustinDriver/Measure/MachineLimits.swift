import DustinCodegen
import DustinRunner
import DustinRuntime
import DustinSupport

/// What the machine does at best, measured with code that reads, or multiplies, and does nothing else.
struct MachineLimits {
  struct Rates {
    let threads: Int
    /// Bytes a second from memory.
    let readBytes: Double
    /// Floating-point operations a second, of pairs of bf16 and of f32.
    let bf16: Double
    let f32: Double
  }
  let rates: [Rates]
  let bufferBytes: Int
  /// Of the last-level cache; 0 when the machine does not say.
  let cacheBytes: Int

  /// With all threads of the team.
  var all: Rates { rates[rates.count - 1] }

  /// The best of two measurements, before and after the work that is judged by them: neighbours on the same machine come
  /// and go.
  func best(with other: MachineLimits) -> MachineLimits {
    MachineLimits(
      rates: zip(rates, other.rates).map { a, b in
        Rates(
          threads: a.threads, readBytes: max(a.readBytes, b.readBytes), bf16: max(a.bf16, b.bf16),
          f32: max(a.f32, b.f32)
        )
      }, bufferBytes: bufferBytes, cacheBytes: cacheBytes)
  }

  private init(rates: [Rates], bufferBytes: Int, cacheBytes: Int) {
    self.rates = rates
    self.bufferBytes = bufferBytes
    self.cacheBytes = cacheBytes
  }

  /// - Parameter runs: the best of so many is taken: a limit is what is possible.
  init(target: CPUTarget, threads: Int, runs: Int) throws {
    cacheBytes = lastLevelCacheBytes()
    bufferBytes = min(max(256 << 20, 4 * cacheBytes), 2 << 30)
    let limits = try LimitsProgram(for: target, readBytes: bufferBytes)
    let memory = try Memory(count: limits.output.program.weightBytes, for: "the buffer of the memory test")
    // Touched, page by page: untouched pages are all one.
    for offset in stride(from: 0, to: memory.count, by: 4096) {
      memory.base.storeBytes(of: 1, toByteOffset: offset, as: UInt8.self)
    }
    let model = try CompiledModel(
      program: limits.output.program, code: limits.output.code, weights: UnsafeRawPointer(memory.base),
      owners: [memory])
    let bytes = Double(limits.output.program.weightBytes)
    rates = try Set([1, threads]).sorted().map { count in
      let engine = try Engine(model: model, team: try ThreadTeam(threads: count))
      let cache = try KVCache(model, positions: 1)
      func best(_ function: String) throws -> Double {
        try (0...runs).map { _ in
          try checkInterruption()
          return try timed { _ = try engine.step(function, [StepRows(cache, [0])]) }
        }.min() ?? 0
      }
      func operations(_ function: String) throws -> Double {
        Double(count) * (limits.operations[function] ?? 0) / (try best(function))
      }
      return Rates(
        threads: count, readBytes: bytes / (try best(LimitsProgram.read)),
        bf16: try operations(LimitsProgram.bf16), f32: try operations(LimitsProgram.f32))
    }
  }
}

/// Wall time in seconds.
func timed(_ body: () throws -> Void) rethrows -> Double {
  let start = monotonicSeconds()
  try body()
  return monotonicSeconds() - start
}

func median(_ values: [Double]) -> Double {
  let sorted = values.sorted()
  guard !sorted.isEmpty else { return 0 }
  let middle = sorted.count / 2
  return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

private func lastLevelCacheBytes() -> Int {
  guard let text = try? readFile("/sys/devices/system/cpu/cpu0/cache/index3/size") else { return 0 }
  let digits = text.prefix { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }
  guard let number = Int(String(decoding: digits, as: UTF8.self)), number < 1 << 40 else { return 0 }
  switch text.dropFirst(digits.count).first {
  case UInt8(ascii: "K"): return number << 10
  case UInt8(ascii: "M"): return number << 20
  default: return number
  }
}
