import DustinIR

/// Query heads of some layers: `1:all`, `6:1.4.5`, `0:1+1:0.2`. Layers are numbered from 0.
public struct HeadChoice: PassOptionValue, Sendable, Hashable {
  public struct Layer: Sendable, Hashable {
    public var layer: Int
    /// Ascending; nil: all of them.
    public var heads: [Int]?

    public init(_ layer: Int, _ heads: [Int]?) {
      self.layer = layer
      self.heads = heads
    }
  }
  public var layers: [Layer]

  public init(_ layers: [Layer]) { self.layers = layers }

  public static var optionKind: String { "layers with heads, as in 6:1.4+7:all" }

  public init?(optionText: String) {
    var layers: [Layer] = []
    for part in optionText.split(separator: "+", omittingEmptySubsequences: false) {
      let pieces = part.split(separator: ":", omittingEmptySubsequences: false)
      guard pieces.count == 2, let layer = Int(pieces[0]), 0..<65_536 ~= layer,
        layers.allSatisfy({ $0.layer != layer })
      else { return nil }
      if pieces[1] == "all" {
        layers.append(Layer(layer, nil))
        continue
      }
      let heads = pieces[1].split(separator: ".", omittingEmptySubsequences: false).map { Int($0) }
      let numbers = heads.compactMap { $0 }.sorted()
      guard !numbers.isEmpty, numbers.count == heads.count, numbers[0] >= 0, Set(numbers).count == numbers.count else {
        return nil
      }
      layers.append(Layer(layer, numbers))
    }
    self.layers = layers.sorted { $0.layer < $1.layer }
  }

  public var optionText: String {
    layers.map { layer in
      "\(layer.layer):\(layer.heads.map { $0.map(String.init).joined(separator: ".") } ?? "all")"
    }.joined(separator: "+")
  }
}
