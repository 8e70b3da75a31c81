import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Cores that the process may use, at least 1: `taskset` and containers leave fewer than the machine has.
package func usableCores() -> Int {
  let online = max(1, min(1024, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))))
  let allowed = (try? readFile("/proc/self/status")).flatMap { allowedCores($0) } ?? online
  let quota = (try? readFile("/sys/fs/cgroup/cpu.max")).flatMap { coresOfQuota($0) } ?? online
  return min(online, allowed, quota)
}

/// Cores in the mask of a `/proc/self/status`; nil when it has none.
package func allowedCores(_ status: [UInt8]) -> Int? {
  let name = "Cpus_allowed:"
  for line in String(decoding: status, as: UTF8.self).split(separator: "\n") where line.hasPrefix(name) {
    // Hexadecimal digits in groups, one bit a core.
    let count = line.dropFirst(name.count).compactMap(\.hexDigitValue).reduce(0) { $0 + $1.nonzeroBitCount }
    if count > 0 { return count }
  }
  return nil
}

/// Cores that the quota of a control group (version 2) pays for: `150000 100000` means that in every 100 ms the group may
/// compute for 150 ms, for which it needs two. Nil for `max`, which is no limit.
package func coresOfQuota(_ text: [UInt8]) -> Int? {
  let parts = String(decoding: text, as: UTF8.self).split { $0.isWhitespace }
  guard parts.count == 2, let quota = Int(parts[0]), let period = Int(parts[1]), quota > 0, period > 0 else {
    return nil
  }
  return (quota - 1) / period + 1
}
