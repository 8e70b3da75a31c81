import DustinSupport

extension ModelDirectory {
  /// Tells models apart: FNV-1a over every tensor's name, shape, element type and a sample of its bytes.
  ///
  /// Files that hold numbers found with a model name it by this, so that they are not used with another one.
  public func fingerprint() throws -> String {
    let store = try weights()
    defer { store.release() }
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    func add(_ byte: UInt8) { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
    for name in store.names {
      let tensor = try store.tensor(name)
      for byte in "\(name) \(tensor.element.rawValue) \(tensor.shape)".utf8 { add(byte) }
      for index in stride(from: 0, to: tensor.bytes.count, by: max(1, tensor.bytes.count / 64)) {
        add(tensor.bytes[index])
      }
    }
    let digits = String(hash, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}
