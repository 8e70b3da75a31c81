import DustinSupport

extension ModelDirectory {
  /// Tells models apart: FNV-1a over every tensor's name, shape, element type and a sample of its bytes.
  ///
  /// Files that hold numbers found with a model name it by this, so that they are not used with another one.
  public func fingerprint() throws -> String {
    let store = try weights()
    defer { store.release() }
    var hash = ByteHash()
    for name in store.names {
      let tensor = try store.tensor(name)
      hash.add("\(name) \(tensor.element.rawValue) \(tensor.shape)".utf8)
      for index in stride(from: 0, to: tensor.bytes.count, by: max(1, tensor.bytes.count / 64)) {
        hash.add(tensor.bytes[index])
      }
    }
    return hash.text
  }
}
