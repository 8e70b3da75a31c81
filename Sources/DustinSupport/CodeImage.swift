/// Machine code that runs wherever it is mapped: instructions and their constants, nothing left to relocate, nothing
/// that is written. It is mapped at the start of a page; the entry is a `dustin_entry` (CDustin.h).
public struct CodeImage: Sendable, Equatable {
  public var bytes: [UInt8]
  /// Where the entry's first instruction lies in `bytes`.
  public var entryOffset: Int

  public init(bytes: [UInt8], entryOffset: Int) {
    self.bytes = bytes
    self.entryOffset = entryOffset
  }
}
