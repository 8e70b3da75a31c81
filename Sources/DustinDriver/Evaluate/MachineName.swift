import DustinSupport

/// What the system calls the processor.
func processorName() -> String {
  let text = (try? readFile("/proc/cpuinfo")).map { String(decoding: $0, as: UTF8.self) } ?? ""
  for line in text.split(separator: "\n") where line.hasPrefix("model name") {
    let name = line.drop { $0 != ":" }.dropFirst().drop { $0 == " " }
    if !name.isEmpty { return String(name) }
  }
  return "a processor without a name"
}

/// A word as a shell takes it.
func shellWord(_ word: String) -> String {
  let plain = word.utf8.allSatisfy { byte in
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: "-_./,:=+@%".utf8.contains(byte)
    }
  }
  if plain, !word.isEmpty { return word }
  return "'" + word.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
}
