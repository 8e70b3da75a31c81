/// Where row tensors lie during a step; the one place that `plan-memory` and code generation ask.
public enum Arena {
  /// Every buffer starts at a multiple of this many bytes.
  public static let alignment = 64

  /// Sizes that no machine has are cut to this many bytes; whoever plans an arena refuses what reaches it. A few of them
  /// can be added without overflow.
  public static let largestByteCount = 1 << 56

  /// Distance of two rows. Rows of a matrix are padded to whole groups of 64 values, so that kernels may write full
  /// panels; a tensor of rank 1 is dense.
  public static func rowBytes(_ type: TensorType) -> Int {
    guard type.rank > 1 else { return type.element.byteCount }
    var count = 1
    for dim in type.shape.dropFirst() { count = product(count, dim.fixedValue ?? 0) }
    return rowBytes(columns: count, elementBytes: type.element.byteCount)
  }

  /// The same for a matrix of so many columns.
  public static func rowBytes(columns: Int, elementBytes: Int) -> Int {
    product((columns + 63) / 64 * 64, elementBytes)
  }

  /// Bytes of a row tensor with the most rows that a step may have; the first extent is `T` (one row per token) or 1
  /// (one row per sequence, and a step has at most as many sequences as rows).
  public static func byteCount(_ type: TensorType, maxRows: Int) -> Int {
    (product(rowBytes(type), maxRows) + alignment - 1) / alignment * alignment
  }

  static func product(_ a: Int, _ b: Int) -> Int {
    let (product, overflow) = a.multipliedReportingOverflow(by: b)
    return overflow ? largestByteCount : min(product, largestByteCount)
  }

  /// The arguments that are rows lie at the start of the arena, in order. Offsets by argument index, and the end.
  public static func argumentOffsets(of function: Function, maxRows: Int) -> (offsets: [Int: Int], end: Int) {
    var offsets: [Int: Int] = [:]
    var end = 0
    for (index, argument) in function.arguments.enumerated() where argument.isRows {
      offsets[index] = end
      end = min(end + byteCount(argument.type, maxRows: maxRows), largestByteCount)
    }
    return (offsets, end)
  }

  /// The scratch rows that an op's kernels need beside its results: the normed rows of a `linear` with a norm.
  public static func scratchType(of operation: Operation) -> TensorType? {
    guard operation.name == "linear", !operation[group: "norm"].isEmpty else { return nil }
    return operation.operands[0].type.with(element: operation.attributes.word("round") == "bf16" ? .bf16 : .f32)
  }
}
