import DustinSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Cores that the process may run on, at least 1: `taskset` and containers leave fewer than the machine has.
func usableCores() -> Int {
  let online = max(1, min(1024, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))))
  guard let status = try? readFile("/proc/self/status") else { return online }
  let name = "Cpus_allowed:"
  for line in String(decoding: status, as: UTF8.self).split(separator: "\n") where line.hasPrefix(name) {
    // Hexadecimal digits in groups, one bit a core.
    let count = line.dropFirst(name.count).compactMap(\.hexDigitValue).reduce(0) { $0 + $1.nonzeroBitCount }
    if count > 0 { return min(count, online) }
  }
  return online
}
